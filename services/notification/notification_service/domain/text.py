"""Makes text that users and sellers have written safe for one line of a message."""

import re
import unicodedata

_LINK_LIKE = re.compile(r"https?:|www\.|[^\s.]\.[^\s.]|[@/\\<>\[\]{}|]", re.IGNORECASE)
_MAX_NAME_LENGTH = 60
_MAX_LINE_LENGTH = 200


def single_line(text: str, max_length: int = _MAX_LINE_LENGTH) -> str:
    """Removes control and formatting characters (line ends, reversed writing), and cuts the text at `max_length`."""
    spaced = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    plain = " ".join("".join(c for c in spaced if unicodedata.category(c) not in ("Cf", "Cs", "Co", "Cn")).split())
    return plain if len(plain) <= max_length else plain[: max_length - 1] + "…"


def greeting_name(display_name: str) -> str:
    """Returns the name for the greeting of a mail; empty if the display name is too long or looks like a link.

    Anyone can register with another person's address and an advertisement as their name: our mail must not carry it.
    """
    name = single_line(display_name, _MAX_NAME_LENGTH + 1)
    return "" if len(name) > _MAX_NAME_LENGTH or _LINK_LIKE.search(name) else name
