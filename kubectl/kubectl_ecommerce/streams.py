"""Writes to standard output and standard error, which may be closed, full, or without Unicode."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from kubectl_ecommerce.output import clean

FAILED = 1
"""The exit code of a command that could not do its work. That of wrong arguments is 2."""
INTERRUPTED = 130
"""The exit code after Ctrl-C, as of other programs: 128 and the number of the signal."""
READER_GONE = 141
"""The exit code when the reader of the output has gone, likewise (SIGPIPE)."""


@contextmanager
def standard_output() -> Iterator[None]:
    """Lets the process write to standard output, in which characters that it cannot show are escapes.

    Raises SystemExit if the output cannot be written.
    """
    sys.stdout = _reopened(sys.stdout)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        raise SystemExit(READER_GONE) from None
    except OSError as error:
        _discard_output()
        write_message(f"kubectl-ecommerce: the output cannot be written ({error.strerror})")
        raise SystemExit(FAILED) from None


def write_message(text: str) -> None:
    """Writes a line to standard error, for people."""
    try:
        sys.stderr.write(clean(text) + "\n")
    except OSError:
        return  # no one reads it, and the command goes on


def _reopened(stream: TextIO | None) -> TextIO:
    """Returns a stream with a buffer, without which (PYTHONUNBUFFERED) the end of a long text may be lost unnoticed."""
    if stream is None:  # it was closed before the plugin began
        return open(os.devnull, "w", encoding="utf-8")
    return open(stream.fileno(), "w", encoding=stream.encoding, errors="backslashreplace", closefd=False)


def _discard_output() -> None:
    """Directs standard output to nowhere, so that the interpreter does not fail to flush it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
