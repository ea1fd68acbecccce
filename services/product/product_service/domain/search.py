"""What somebody searches for: its words, and which words they may have meant. Pure."""

import string
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

MAX_WORDS = 16
"""What is written beyond that is not searched for."""
MIN_LETTERS, MAX_LETTERS = 4, 40
"""Shorter words would be taken for too many others, longer ones are no words."""
MAX_CORRECTED = 4
"""Who misspells more words than that is not understood."""
_BARE = {**dict.fromkeys(map(ord, string.punctuation), " "), **dict.fromkeys(range(0x300, 0x370))}
"""Punctuation parts words, accents go: both as search_text() does it."""


@dataclass(frozen=True, slots=True)
class Question:
    """Words in lower case and without accents, of which none has punctuation; or, where nothing else was written, punctuation."""

    words: tuple[str, ...]
    symbols: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def question(said: str) -> Question | None:
    """What `said` asks for; None where it says nothing. As the database's search_text() has it."""
    decomposed = unicodedata.normalize("NFKD", said).lower()
    words = [word for word in decomposed.translate(_BARE).split() if any(map(str.isalnum, word))]
    if words:
        return Question(tuple(words[:MAX_WORDS]))
    symbols = sorted(set("".join(said.split())))
    return Question((), tuple(symbols[:MAX_WORDS])) if symbols else None


def may_be_misspelt(written: str) -> bool:
    """Whether it is worth looking for a word that was meant by this one."""
    return MIN_LETTERS <= len(written) <= MAX_LETTERS


def meant(written: str, known: Iterable[str]) -> list[str]:
    """Of the words that are known, those that may have been meant: one mistake in four to seven letters, two in more. A mistake is a
    letter too many, too few, another one, or two that changed places.
    """
    if not may_be_misspelt(written):
        return []
    allowed = 1 if len(written) < 8 else 2
    near = [(distance(written, word), word) for word in known if abs(len(word) - len(written)) <= allowed]
    return [word for mistakes, word in sorted(near) if mistakes <= allowed]


def distance(one: str, other: str) -> int:
    """How many mistakes lie between two words (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
    return row[-1]
