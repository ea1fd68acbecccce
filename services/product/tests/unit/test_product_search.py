"""What a search asks for, and what may have been meant."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from product_service.domain.search import MAX_WORDS, Question, distance, meant, question

LETTERS = st.text("abcdé", max_size=9)


@pytest.mark.parametrize(
    ("said", "words"),
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
def test_a_question_is_its_words_without_case_accents_and_punctuation(said: str, words: tuple[str, ...]) -> None:
    assert question(said) == Question(words)


@pytest.mark.parametrize(("said", "symbols"), [("%", ("%",)), (" ' \\ % ' ", ("%", "'", "\\")), ("🙂", ("🙂",))])
def test_punctuation_is_asked_for_where_there_is_nothing_else(said: str, symbols: tuple[str, ...]) -> None:
    assert question(said) == Question((), symbols)


@pytest.mark.parametrize("said", ["", "   ", "\t\n\u2003"])
def test_blanks_ask_for_nothing(said: str) -> None:
    assert question(said) is None


@given(st.text(max_size=200))
@example("'" * 200)
@example("\\':*&|!()<->" * 10)
def test_no_word_has_anything_that_an_operator_is_made_of(said: str) -> None:
    asked = question(said)

    words = asked.words if asked else ()
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
def test_mistakes_are_counted(one: str, other: str, mistakes: int) -> None:
    assert distance(one, other) == mistakes


@given(LETTERS, LETTERS)
def test_mistakes_are_as_many_either_way(one: str, other: str) -> None:
    assert distance(one, other) == distance(other, one)
    assert (distance(one, other) == 0) == (one == other)
    assert abs(len(one) - len(other)) <= distance(one, other) <= max(len(one), len(other))


@given(LETTERS, st.integers(0, 8), st.characters(codec="ascii"))
def test_one_letter_more_is_one_mistake(word: str, place: int, letter: str) -> None:
    assert distance(word, word[:place] + letter + word[place:]) == 1


def test_longer_words_may_have_more_mistakes() -> None:
    known = ["cup", "cups", "espresso", "expressos", "lamp"]

    assert meant("cpu", known) == []
    assert meant("lmap", known) == ["lamp"]
    assert meant("expresso", known) == ["espresso", "expressos"]
    assert meant("esprsseo", known) == ["espresso"]
    assert meant("exprssseo", ["espresso"]) == []
    assert meant("x" * 41, ["x" * 41]) == []
