"""The glossary has one line for each term, and the code that it names exists."""

import re
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_GLOSSARY = _ROOT / "docs/glossary.md"
_FOLDERS = (
    ".",
    "backup",
    "operator/platform_operator",
    "e2e",
    "hack",
    *(f"services/{path.name}" for path in _ROOT.glob("services/*")),
)
"""Paths of the glossary are below one of these."""


def _rows() -> Iterator[tuple[str, str]]:
    """Yields the first and the last cell of each row of three cells."""
    for line in _GLOSSARY.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3 and cells[0] != "term":
            yield cells[0], cells[2]


def test_no_term_has_two_lines() -> None:
    terms = [term for term, _ in _rows()]

    assert len(terms) > 100
    assert sorted(terms) == sorted(set(terms))


def test_the_code_of_every_term_exists() -> None:
    paths = {path for _, code in _rows() for path in re.findall(r"`([\w./-]+\.(?:py|md|toml|sql|yaml))`", code)}

    assert [path for path in sorted(paths) if not any((_ROOT / folder / path).exists() for folder in _FOLDERS)] == []


def test_the_terms_of_each_table_are_in_alphabetical_order() -> None:
    for table in _GLOSSARY.read_text().split("| term |")[1:]:
        _, _, *rows = table.partition("\n\n")[0].splitlines()
        terms = [row.split(" | ")[0].strip("| `").lower() for row in rows]
        assert terms == sorted(terms)
