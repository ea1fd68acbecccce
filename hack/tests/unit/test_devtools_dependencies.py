"""The direct dependencies of the repository: docs/dependencies.md lists each, and each has one oldest version."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_PAGE = (_ROOT / "docs/dependencies.md").read_text()
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?(.*)")
"""A requirement: the name of the library, its extras, and the versions that it allows."""
_ROW = re.compile(r"^\| `([\w.-]+)` \|", re.MULTILINE)


def _direct_dependencies() -> Iterator[tuple[str, str]]:
    """Yields the name of a library and the versions that a project allows, once for each project that needs it."""
    projects = [tomllib.loads(path.read_text()) for path in (_ROOT / "pyproject.toml", *_ROOT.glob("*/pyproject.toml"))]
    projects += [tomllib.loads(path.read_text()) for path in _ROOT.glob("services/*/pyproject.toml")]
    members = {project["project"]["name"] for project in projects}
    for project in projects:
        extras = project["project"].get("optional-dependencies", {}).values()
        groups = project.get("dependency-groups", {}).values()
        for requirements in (project["project"].get("dependencies", []), *extras, *groups):
            for requirement in requirements:
                match = _REQUIREMENT.fullmatch(requirement)
                if match is not None and match[1] not in members:
                    yield match[1], match[2]


def test_the_page_lists_every_direct_dependency_and_no_other() -> None:
    assert set(_ROW.findall(_PAGE)) == {name for name, _ in _direct_dependencies()}


def test_all_projects_allow_the_same_versions_of_a_library() -> None:
    allowed = defaultdict[str, set[str]](set)
    for name, versions in _direct_dependencies():
        allowed[name].add(versions)
    assert {name: versions for name, versions in allowed.items() if len(versions) > 1 or "" in versions} == {}
