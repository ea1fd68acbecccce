"""Search terms, and the spelling correction of misspelt ones. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from product_service.domain.folding import fold_text

MAX_WORDS = 16
"""Words of a search that count; further ones are ignored."""
MIN_CORRECTED_LENGTH, MAX_CORRECTED_LENGTH = 4, 40
"""The lengths of words that are corrected: shorter ones resemble too many others, longer ones are not words."""
MAX_CORRECTED_WORDS = 4
"""Words of a search that are corrected at most."""


class SearchLanguage(StrEnum):
    """The languages whose words are also found by their stems: the text search configurations of PostgreSQL 17.

    `simple` finds words only as they are written.
    """

    SIMPLE = "simple"
    ARABIC = "arabic"
    ARMENIAN = "armenian"
    BASQUE = "basque"
    CATALAN = "catalan"
    DANISH = "danish"
    DUTCH = "dutch"
    ENGLISH = "english"
    FINNISH = "finnish"
    FRENCH = "french"
    GERMAN = "german"
    GREEK = "greek"
    HINDI = "hindi"
    HUNGARIAN = "hungarian"
    INDONESIAN = "indonesian"
    IRISH = "irish"
    ITALIAN = "italian"
    LITHUANIAN = "lithuanian"
    NEPALI = "nepali"
    NORWEGIAN = "norwegian"
    PORTUGUESE = "portuguese"
    ROMANIAN = "romanian"
    RUSSIAN = "russian"
    SERBIAN = "serbian"
    SPANISH = "spanish"
    SWEDISH = "swedish"
    TAMIL = "tamil"
    TURKISH = "turkish"
    YIDDISH = "yiddish"


@dataclass(frozen=True, slots=True)
class SearchTerms:
    """The folded words of a search; or its symbols, if it has no words."""

    words: tuple[str, ...]
    symbols: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def parse_search_terms(query: str) -> SearchTerms | None:
    """Returns the terms of a search query, None if it is blank."""
    words = [word for word in fold_text(query).split(" ") if any(map(str.isalnum, word))]
    if words:
        return SearchTerms(tuple(words[:MAX_WORDS]))
    symbols = sorted(set("".join(query.split())))
    return SearchTerms((), tuple(symbols[:MAX_WORDS])) if symbols else None


def is_correctable(word: str) -> bool:
    """Returns whether a word has a length at which its spelling is corrected."""
    return MIN_CORRECTED_LENGTH <= len(word) <= MAX_CORRECTED_LENGTH


def find_corrections(word: str, vocabulary: Iterable[str]) -> list[str]:
    """Returns the words of the vocabulary that a misspelt word may stand for, the nearest first.

    One mistake is allowed in a word of four to seven letters, two in a longer one. A mistake is a letter too many, one
    too few, a wrong one, or two letters that changed places.
    """
    if not is_correctable(word):
        return []
    allowed = 1 if len(word) < 8 else 2
    near = [(edit_distance(word, known), known) for known in vocabulary if abs(len(known) - len(word)) <= allowed]
    return [known for mistakes, known in sorted(near) if mistakes <= allowed]


def edit_distance(one: str, other: str) -> int:
    """Returns the number of mistakes between two words (optimal string alignment distance)."""
    previous: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before_previous, previous, row = previous, row, [i]
        for j, expected in enumerate(other, 1):
            cost = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (letter != expected))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == expected:
                cost = min(cost, before_previous[j - 2] + 1)
            row.append(cost)
    return row[-1]
