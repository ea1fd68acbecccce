"""Other people's words, made fit to stand in a line of a message. Pure."""

import re
import unicodedata

_LINK_LIKE = re.compile(r"https?:|www\.|[^\s.]\.[^\s.]|[@/\\<>\[\]{}|]", re.IGNORECASE)
_MAX_NAME = 60
_MAX_LINE = 200


def one_line(text: str, longest: int = _MAX_LINE) -> str:
    """Without control and formatting characters (line ends, reversed writing), of bounded length."""
    spaced = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    plain = " ".join("".join(c for c in spaced if unicodedata.category(c) not in ("Cf", "Cs", "Co", "Cn")).split())
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def salutation(display_name: str) -> str:
    """A name to greet with; empty for what is no name.

    Anybody can register with somebody else's address and an advertisement as their name: our mail must not carry it.
    """
    name = one_line(display_name, _MAX_NAME + 1)
    return "" if len(name) > _MAX_NAME or _LINK_LIKE.search(name) else name
