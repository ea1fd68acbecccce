"""docs/api is current: the OpenAPI documents and the catalogue of errors say what the code does."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from devtools.services import SERVICES

_ROOT = Path(__file__).parents[3]
_CATALOGUE = _ROOT / "docs/api/errors.md"
_SECTION = re.compile(r"^## (\w+)$", re.MULTILINE)
_ROW = re.compile(r"^\| `(\w+)` \| ([\w ]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
_EVERYWHERE = "Everywhere"

Code = tuple[str, str]
"""A problem code with its status."""


def test_the_openapi_documents_are_those_of_the_services() -> None:
    checked = subprocess.run([_ROOT / "docs/api/generate", "--check"], capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("section", [_EVERYWHERE, *SERVICES])
def test_every_error_code_is_in_the_catalogue_and_no_other(section: str) -> None:
    shared = set(_raised_in("chassis"))
    raised = shared if section == _EVERYWHERE else set(_raised_in(section)) - shared

    listed = _listed()[section]

    assert sorted(listed) == sorted(raised)


def test_the_catalogue_has_a_section_for_each_service() -> None:
    assert set(_listed()) == {_EVERYWHERE, *SERVICES}


def _listed() -> dict[str, list[Code]]:
    _preface, *parts = _SECTION.split(_CATALOGUE.read_text())
    return {
        section: [(code, status) for code, status, _means, _what_to_do in _ROW.findall(text)]
        for section, text in zip(parts[::2], parts[1::2], strict=True)
    }


def _raised_in(service: str) -> Iterator[Code]:
    """Returns the codes of all `Problem`s in a service's sources. A code must be a literal there, so that a search
    finds it.
    """
    package = service if service == "chassis" else f"{service}_service"
    for path in (_ROOT / "services" / service / package).rglob("*.py"):
        yield from (_code(path, call) for call in ast.walk(ast.parse(path.read_text())) if _makes_problem(call))


def _makes_problem(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem"


def _code(path: Path, call: ast.AST) -> Code:
    assert isinstance(call, ast.Call)
    status, code = call.args[:2]
    assert isinstance(code, ast.Constant), f"{path}:{call.lineno}: write the code as a literal"
    return str(code.value), str(status.value) if isinstance(status, ast.Constant) else "any 4xx"
