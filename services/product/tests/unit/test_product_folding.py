"""Folding of text for search and slugs."""

# ruff: noqa: RUF001 - letters that resemble others are what is tested

import pytest
from product_service.domain.folding import bigrams, fold_text, is_unspaced, transliterate


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Straße Łódź Smørrebrød", "strasse lodz smorrebrod"),
        ("STRAẞE", "strasse"),
        ("Kılıç seti", "kilic seti"),
        ("İstanbul", "istanbul"),
        ("Œuvre d'art", "oeuvre d art"),
        ("Ærø, Ǽ", "aero ae"),
        ("Þórður", "thordur"),
        ("Đặng", "dang"),
        ("Ħaż-Żebbuġ", "haz zebbug"),
        ("ΟΔΟΣ", "οδοσ"),
        ("  a -\tb\u2003c\u2028", "a b c"),
        ("iPhone手机壳 X", "iphone 手机壳 x"),
        ("ｺｰﾋｰ", "コーヒー"),
        ("", ""),
        ("!?", ""),
    ],
)
def test_folding_keeps_words_without_case_accents_and_punctuation(text: str, folded: str) -> None:
    assert fold_text(text) == folded
    assert fold_text(folded) == folded


def test_transliteration_leaves_only_letters_that_ascii_has() -> None:
    assert transliterate("Łódź-ÞÆR!") == "lodz-thaer!"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("咖啡", True),
        ("กาแฟ", True),
        ("カップ", True),
        ("々", True),
        ("kaffee", False),
        ("кофе", False),
        ("커피", False),
    ],
)
def test_words_of_scripts_without_spaces_are_known_by_their_letters(word: str, expected: bool) -> None:
    assert is_unspaced(fold_text(word)) is expected


def test_bigrams_are_the_pairs_of_neighbours() -> None:
    assert bigrams("意式咖啡") == ["意式", "式咖", "咖啡"]
    assert bigrams("杯") == []
