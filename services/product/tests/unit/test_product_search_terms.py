"""Search terms, and the spelling correction of misspelt ones."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from product_service.domain.search_terms import (
    MAX_WORDS,
    SearchTerms,
    edit_distance,
    find_corrections,
    parse_search_terms,
)

LETTERS = st.text("abcdé", max_size=9)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("Espresso cup", ("espresso", "cup")),
        ("  CAFÉ-crème!  ", ("cafe", "creme")),
        ("v1.5 (new)", ("v1", "5", "new")),
        ("o'neill", ("o", "neill")),
        ("咖啡 杯", ("咖啡", "杯")),
        ("\uff46\uff55\uff4c\uff4c\uff07\uff57\uff49\uff44\uff54\uff48", ("full", "width")),
        ("\u202e\u200dcup\u2028", ("\u202e\u200dcup",)),
    ],
)
def test_search_terms_are_words_without_case_accents_and_punctuation(query: str, words: tuple[str, ...]) -> None:
    assert parse_search_terms(query) == SearchTerms(words)


@pytest.mark.parametrize(("query", "symbols"), [("%", ("%",)), (" ' \\ % ' ", ("%", "'", "\\")), ("🙂", ("🙂",))])
def test_a_search_without_words_is_for_its_symbols(query: str, symbols: tuple[str, ...]) -> None:
    assert parse_search_terms(query) == SearchTerms((), symbols)


@pytest.mark.parametrize("query", ["", "   ", "\t\n\u2003"])
def test_a_blank_search_has_no_terms(query: str) -> None:
    assert parse_search_terms(query) is None


@given(st.text(max_size=200))
@example("'" * 200)
@example("\\':*&|!()<->" * 10)
def test_no_search_term_contains_operator_characters(query: str) -> None:
    terms = parse_search_terms(query)

    words = terms.words if terms else ()
    assert len(words) <= MAX_WORDS
    assert not any(character in string.punctuation or character.isspace() for word in words for character in word)


@pytest.mark.parametrize(
    ("one", "other", "mistakes"),
    [
        ("cup", "cup", 0),
        ("cup", "cups", 1),
        ("cup", "cap", 1),
        ("cup", "cpu", 1),
        ("", "cup", 3),
        ("espreso", "espresso", 1),
    ],
)
def test_edit_distance_counts_mistakes(one: str, other: str, mistakes: int) -> None:
    assert edit_distance(one, other) == mistakes


@given(LETTERS, LETTERS)
def test_edit_distance_is_symmetric(one: str, other: str) -> None:
    assert edit_distance(one, other) == edit_distance(other, one)
    assert (edit_distance(one, other) == 0) == (one == other)
    assert abs(len(one) - len(other)) <= edit_distance(one, other) <= max(len(one), len(other))


@given(LETTERS, st.integers(0, 8), st.characters(codec="ascii"))
def test_an_extra_letter_is_one_mistake(word: str, position: int, letter: str) -> None:
    assert edit_distance(word, word[:position] + letter + word[position:]) == 1


def test_longer_words_may_have_more_mistakes() -> None:
    vocabulary = ["cup", "cups", "espresso", "expressos", "lamp"]

    assert find_corrections("cpu", vocabulary) == []
    assert find_corrections("lmap", vocabulary) == ["lamp"]
    assert find_corrections("expresso", vocabulary) == ["espresso", "expressos"]
    assert find_corrections("esprsseo", vocabulary) == ["espresso"]
    assert find_corrections("exprssseo", ["espresso"]) == []
    assert find_corrections("x" * 41, ["x" * 41]) == []
