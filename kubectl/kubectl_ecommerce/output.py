"""Text for people: trees and tables, in colours where a terminal shows them. Pure.

Messages in a status come from pods and webhooks too: control characters in them never reach the terminal.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple


class Tone(Enum):
    """What a text means, with the SGR code of its colour."""

    PLAIN = ""
    GOOD = "32"
    BAD = "31"
    WAIT = "33"
    NAME = "1"
    FAINT = "2"


class Text(NamedTuple):
    """A text and what it means."""

    value: str
    tone: Tone = Tone.PLAIN


Cell = Text | str


@dataclass(frozen=True)
class Style:
    """What the output can show. Without a width no line is wrapped, so that a search finds whole messages."""

    colour: bool = False
    unicode: bool = True
    width: int | None = None

    def paint(self, cell: Cell, width: int = 0) -> str:
        """Returns a cell, padded to a width."""
        text = cell if isinstance(cell, Text) else Text(cell)
        value = clean(text.value)
        padding = " " * (width - len(value))
        if not self.colour or text.tone is Tone.PLAIN or not value:
            return value + padding
        return f"\x1b[{text.tone.value}m{value}\x1b[0m{padding}"

    def mark(self, tone: Tone) -> Text:
        unicode, ascii_ = _MARKS[tone]
        return Text(unicode if self.unicode else ascii_, tone)


_MARKS = {Tone.GOOD: ("✓", "+"), Tone.BAD: ("✗", "x"), Tone.WAIT: ("…", "~"), Tone.FAINT: ("·", "-")}
_CONTROLS = ("Cc", "Cf", "Zl", "Zp")
"""The categories of control characters in Unicode, with those that end a line or a paragraph."""
_BRANCHES = {True: ("├─ ", "└─ ", "│  ", "   "), False: ("|- ", "`- ", "|  ", "   ")}


@dataclass(frozen=True)
class Node:
    """A line of a tree: cells that are aligned with those of its neighbours, a message below it, and branches."""

    cells: Sequence[Cell]
    message: str = ""
    branches: Sequence[Node] = ()


def tree(root: Node, style: Style) -> str:
    return "\n".join([_row(root.cells, style, []), *_branches(root.branches, style, "")]) + "\n"


def _branches(nodes: Sequence[Node], style: Style, indent: str) -> Iterator[str]:
    tee, corner, line, space = _BRANCHES[style.unicode]
    widths = _widths([node.cells for node in nodes])
    for node in nodes:
        last = node is nodes[-1]
        below = indent + (space if last else line)
        yield indent + (corner if last else tee) + _row(node.cells, style, widths)
        rail = below + (line if node.branches else space)
        yield from (rail + part for part in wrapped(node.message, style, len(rail)))
        yield from _branches(node.branches, style, below)


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], style: Style) -> str:
    """Returns rows below their head, in columns. The last column is as long as it is."""
    widths = _widths([head, *rows])
    names = [Text(name, Tone.FAINT) for name in head]
    return "".join(f"{_row(cells, style, widths, gap=3)}\n" for cells in (names, *rows))


def wrapped(message: str, style: Style, indent: int) -> list[str]:
    """Returns the lines of a message, none without one."""
    text = clean(message)
    if style.width is None or not text:
        return [text] if text else []
    return textwrap.wrap(text, max(40, style.width - indent), break_long_words=False, break_on_hyphens=False)


def _row(cells: Sequence[Cell], style: Style, widths: Sequence[int], gap: int = 2) -> str:
    padded = [*widths[: len(cells) - 1], 0] if widths else [0] * len(cells)
    parts = [style.paint(cell, width) for cell, width in zip(cells, padded, strict=True)]
    return (" " * gap).join(parts).rstrip()


def _widths(rows: Sequence[Sequence[Cell]]) -> list[int]:
    columns = max((len(row) for row in rows), default=0)
    return [max((_length(row[i]) for row in rows if i < len(row)), default=0) for i in range(columns)]


def _length(cell: Cell) -> int:
    return len(clean(cell.value if isinstance(cell, Text) else cell))


def clean(text: str) -> str:
    """Returns a text in one line, with its control characters written as escapes."""
    line = " ".join(text.split()) if "\n" in text else text
    return "".join(_escape(one) if unicodedata.category(one) in _CONTROLS else one for one in line)


def is_printable(text: str) -> bool:
    """Tells whether a text of several lines has no control characters."""
    return not any(unicodedata.category(one) in _CONTROLS and one != "\n" for one in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def age(since: str, now: datetime) -> str:
    """Returns how long ago a time was, in its largest unit; empty for a time that cannot be read."""
    try:
        passed = now - datetime.fromisoformat(since)
    except (ValueError, TypeError):
        return ""
    seconds = max(0, int(passed / timedelta(seconds=1)))
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length or (unit == "d" and seconds >= length):
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
