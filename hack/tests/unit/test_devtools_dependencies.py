"""docs/dependencies.md lists every direct dependency of the repository, with the version that constraints.txt pins."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_PAGE = (_ROOT / "docs/dependencies.md").read_text()
_REQUIREMENT = re.compile(r"[\w.-]+")
_ROW = re.compile(r"^\| `([\w.-]+)` \|", re.MULTILINE)


def _direct_dependencies() -> Iterator[str]:
    projects = [tomllib.loads(path.read_text()) for path in (_ROOT / "pyproject.toml", *_ROOT.glob("*/pyproject.toml"))]
    projects += [tomllib.loads(path.read_text()) for path in _ROOT.glob("services/*/pyproject.toml")]
    members = {project["project"]["name"] for project in projects}
    for project in projects:
        extras = project["project"].get("optional-dependencies", {}).values()
        groups = project.get("dependency-groups", {}).values()
        for requirements in (project["project"].get("dependencies", []), *extras, *groups):
            names = {match[0] for requirement in requirements if (match := _REQUIREMENT.match(requirement))}
            yield from names - members


def test_the_page_lists_every_direct_dependency_and_no_other() -> None:
    assert set(_ROW.findall(_PAGE)) == set(_direct_dependencies())
