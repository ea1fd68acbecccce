"""Encodes commands to Redis and parses its replies (RESP2), without waiting for anything."""

from collections.abc import Iterable
from typing import Any

Argument = str | bytes | int
Reply = Any
"""The reply to a command, whose type depends on the command."""

_END = b"\r\n"


class Refusal(str):
    """The reply to a command that Redis refuses: its message."""

    __slots__ = ()


def encode(command: Iterable[Argument]) -> bytes:
    """Returns a command as Redis reads it: an array of strings."""
    parts = [_octets(argument) for argument in command]
    return b"*%d\r\n%b" % (len(parts), b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]))


def _octets(argument: Argument) -> bytes:
    if isinstance(argument, bytes):
        return argument
    return (argument if isinstance(argument, str) else str(argument)).encode()


def parse(buffer: bytes, start: int) -> tuple[Reply, int] | None:
    """Returns the reply that begins at `start`, and where the next one begins; None if it is not complete.

    Raises ValueError for octets that are no reply.
    """
    end = buffer.find(_END, start)
    if end < 0:
        return None
    kind, text, following = buffer[start], buffer[start + 1 : end], end + 2
    if kind == 0x24:  # $, a string, or null
        return _parse_string(buffer, following, int(text))
    if kind == 0x3A:  # :, an integer
        return int(text), following
    if kind == 0x2A:  # *, an array, or null
        return _parse_array(buffer, following, int(text))
    if kind == 0x2B:  # +, a status
        return text, following
    if kind == 0x2D:  # -, an error
        return Refusal(text.decode(errors="replace")), following
    raise ValueError(f"no reply begins with {kind:#x}")


def _parse_string(buffer: bytes, start: int, length: int) -> tuple[Reply, int] | None:
    if length < 0:
        return None, start
    end = start + length
    return (buffer[start:end], end + 2) if len(buffer) >= end + 2 else None


def _parse_array(buffer: bytes, start: int, length: int) -> tuple[Reply, int] | None:
    if length < 0:
        return None, start
    items = []
    for _ in range(length):
        parsed = parse(buffer, start)
        if parsed is None:
            return None
        item, start = parsed
        items.append(item)
    return items, start
