"""Folding of text: what is left of it for search and in slugs. Pure.

The database folds the names of products by the same rules, in fold_text() of its schema. A test compares the two
for every character.
"""

import re
import string
import unicodedata

_LATIN = (
    "đd ðd øo łl ħh ıi ĸq ŋn ŧt ƀb ɓb ƃb ƈc ɖd ɗd ƌd ɛe əe ǝe ɔo ƒf ɠg ǥg ƙk ƚl ɲn ƞn ƥp ƭt ʈt ʋv ƴy ƶz ȥz ɨi ʉu ɇe ɉj"  # noqa: RUF001 - they look like others
    " ɍr ɏy ßss æae œoe þth"
)
"""Letters that Unicode does not decompose, each with its transliteration as CLDR's transform Latin-ASCII has it.

CLDR leaves out the open vowels of Azerbaijani, Ewe and others, which are typed as the plain ones.
"""
_FOLDED = {
    **dict.fromkeys(range(0x300, 0x370), ""),  # accents
    **{ord(pair[0]): pair[1:] for pair in _LATIN.split()},
    ord("ς"): "\N{GREEK SMALL LETTER SIGMA}",  # at the end of a word
}
_PUNCTUATION = dict.fromkeys(map(ord, string.punctuation), " ")
_BLANKS = re.compile(r"[\t-\r\x1c- \x85\u1680\u2028\u2029]+")
_UNSPACED = (
    r"\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecf\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u1780-\u17d3\u2e80-\u2fdf\u3005-\u3007"
    r"\u3041-\u309f\u30a1-\u30fa\u30fc-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""The letters of scripts that are written without spaces, in the order of their numbers.

They are Thai, Lao, Burmese, Khmer, Chinese and Japanese; Korean has spaces.
"""
_RUN = re.compile(f"[{_UNSPACED}]+")


def transliterate(text: str) -> str:
    """Returns the text in lower case without accents, and with Latin letters only that ASCII has: `Łódź` as `lodz`."""
    return unicodedata.normalize("NFKD", text).lower().translate(_FOLDED)


def fold_text(text: str) -> str:
    """Returns the words of a text as search compares them, separated by single blanks.

    They are transliterated, punctuation separates them, and so does the change to a script without spaces and back.
    """
    words = transliterate(text).translate(_PUNCTUATION)
    return _BLANKS.sub(" ", _RUN.sub(r" \g<0> ", words)).strip(" ")


def is_unspaced(word: str) -> bool:
    """Returns whether a folded word is of a script without spaces, so that any part of it may be a word."""
    return _RUN.match(word) is not None


def bigrams(word: str) -> list[str]:
    """Returns the pairs of neighbouring letters, in their order; of a single letter, nothing."""
    return [word[start : start + 2] for start in range(len(word) - 1)]
