"""Every test that a document of promises names exists."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_TEST = re.compile(r"`(test_\w+)`")


@pytest.mark.parametrize("document", ["docs/operator-faults.md", "docs/promises.md", "docs/security.md"])
def test_every_test_that_a_document_names_exists(document: str) -> None:
    named = set(_TEST.findall((_ROOT / document).read_text()))
    known = {name for path in _test_files() for name in re.findall(r"def (test_\w+)", path.read_text())}
    files = {path.stem for path in _test_files()}

    assert named
    assert sorted(named - known - files) == []


def _test_files() -> list[Path]:
    return [
        path
        for folder in ("services", "operator", "charts", "e2e", "hack", "kubectl", "backup")
        for path in (_ROOT / folder).rglob("test_*.py")
    ]
