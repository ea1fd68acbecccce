"""Shows the output of a shop's services in one terminal: each line after its service's name, in its colour."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TextIO

_COLOURS = (36, 32, 33, 35, 34, 96, 92, 95)
"""ANSI foregrounds in the order of the services; red is left to errors."""
_LEVEL_COLOURS = {"debug": 2, "warning": 33, "error": 31, "critical": 31}
_BOLD, _FAINT = 1, 2
_CHUNK = 65536
_KNOWN_WITHOUT = {"timestamp", "level", "message", "service", "tenant", "logger", "trace_id", "span_id", "exception"}


def wants_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Returns whether to use colour: on a terminal that can show it, unless NO_COLOR has a value (no-color.org)."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


class Terminal:
    def __init__(self, stream: TextIO, services: Sequence[str], *, coloured: bool) -> None:
        self._stream = stream
        self._width = max(map(len, services))
        self._coloured = coloured
        self._colour_of = {service: _COLOURS[n % len(_COLOURS)] for n, service in enumerate(services)}

    def on_line(self, service: str, line: str) -> None:
        """Shows a line that a service wrote: JSON in readable form, everything else as it is."""
        level, shown = readable(line)
        for part in shown.splitlines():
            self._write(service, self._paint(part, _LEVEL_COLOURS.get(level)))

    def say(self, service: str, text: str) -> None:
        """Shows a message about a service."""
        self._write(service, self._paint(f"▸ {text}", _BOLD))

    def show(self, text: str) -> None:
        """Shows a message about the shop."""
        print(text, file=self._stream, flush=True)

    def strong(self, text: str) -> str:
        return self._paint(text, _BOLD)

    def faint(self, text: str) -> str:
        return self._paint(text, _FAINT)

    def _write(self, service: str, text: str) -> None:
        prefix = self._paint(f"{service:{self._width}} │", self._colour_of[service])
        self.show(f"{prefix} {text}")

    def _paint(self, text: str, colour: int | None) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._coloured and colour is not None else text


def readable(line: str) -> tuple[str, str]:
    """Returns a log line's level and its readable text: time (UTC), message, fields, and a traceback in lines of its
    own; see chassis.observability.logs.
    """
    try:
        event = json.loads(line)
    except ValueError:
        return "", line
    if not isinstance(event, dict) or "message" not in event:
        return "", line
    level = str(event.get("level", ""))
    clock = str(event.get("timestamp", ""))[11:19]
    fields = " ".join(f"{name}={_value(value)}" for name, value in event.items() if name not in _KNOWN_WITHOUT)
    mark = "" if level in ("", "info") else level.upper()
    text = " ".join(filter(None, (clock, mark, str(event["message"]), fields)))
    return level, "\n".join(filter(None, (text, event.get("exception"))))


def _value(value: object) -> str:
    return value if isinstance(value, str) and value and " " not in value else json.dumps(value, ensure_ascii=False)


async def lines_of(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yields the lines of a process's output, however long, until it ends."""
    rest = b""
    while chunk := await stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
