import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[4]


def test_the_security_document_names_tests_that_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (REPOSITORY / "docs/security.md").read_text()))
    files = [
        path for part in ("services", "operator", "charts", "e2e") for path in (REPOSITORY / part).rglob("test_*.py")
    ]
    existing = {name for path in files for name in re.findall(r"def (test_\w+)", path.read_text())}
    assert named
    assert not named - existing
