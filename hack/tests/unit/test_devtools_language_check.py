"""Text that is not plain technical English does not pass `make lint`."""

import pytest
from devtools.language_check import MAX_SUBJECT, WORDS, check, check_subject


@pytest.mark.parametrize("word", sorted(WORDS))
def test_a_word_that_the_glossary_replaces_is_refused(word: str) -> None:
    (complaint,) = check("docs/page.md", f"First line.\n{word.capitalize()} reads this.\n")

    assert complaint.startswith(f"docs/page.md:2: '{word.capitalize()}'")


def test_a_longer_word_that_contains_a_refused_one_passes() -> None:
    assert list(check("docs/page.md", "The class AnybodyElse is an example.")) == []


@pytest.mark.parametrize(
    "source",
    [
        '"""Of a module."""',
        'def f() -> None:\n    """Until it is cancelled."""',
        'class A:\n    """With attributes."""',
        'LIMIT = 3\n"""By caller."""',
        'async def f() -> None:\n    """Whether it is ready."""',
    ],
)
def test_a_docstring_that_begins_with_a_preposition_is_refused(source: str) -> None:
    (complaint,) = check("module.py", source)

    assert "begins with" in complaint


def test_a_docstring_that_is_a_sentence_passes() -> None:
    source = (
        '"""Relays events."""\ndef f() -> bool:\n    """Returns whether it is ready.\n\n    Of no matter here.\n    """'
    )

    assert list(check("module.py", source)) == []


@pytest.mark.parametrize(
    "subject", ["Say how long it took", "order: Claim the key", "order: claim the key.", f"order: {'a' * MAX_SUBJECT}"]
)
def test_a_subject_without_an_area_or_of_more_than_72_characters_is_refused(subject: str) -> None:
    assert list(check_subject(subject))


@pytest.mark.parametrize(
    "subject", ["order: claim the key inside the placing transaction", "hack, e2e: move the scripts"]
)
def test_a_subject_that_names_an_area_passes(subject: str) -> None:
    assert list(check_subject(subject)) == []


@pytest.mark.parametrize("path", ["hack/cluster/up", "Makefile", "charts/common/templates/_names.tpl", "compose.yaml"])
def test_a_line_of_more_than_120_characters_is_refused_where_ruff_does_not_look(path: str) -> None:
    (complaint,) = check(path, f"# {'a' * 119}\n# {'a' * 118}\n")

    assert complaint.startswith(f"{path}:1: 121 characters")
