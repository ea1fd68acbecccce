"""Runs the shell blocks of a document in one session and compares what they print with what the document shows."""

import asyncio
import os
import re
import signal
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_EXAMPLE = re.compile(
    r"^```sh(?P<fails> fails)?\n(?P<script>.*?)^```$(?:\n\n^```(?!sh)\w+\n(?P<shown>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_BETWEEN = "\f"
_BLANK = "[ \\t]"


@dataclass(frozen=True, slots=True)
class Example:
    """A shell block of a document, marked `sh`, or `sh fails` where its one command must be refused."""

    script: str
    fails: bool
    shown: str
    """The output block that follows at once; otherwise empty."""


def examples(document: Path) -> list[Example]:
    text = document.read_text()
    found = [
        Example(block["script"], fails=bool(block["fails"]), shown=block["shown"] or "")
        for block in _EXAMPLE.finditer(text)
    ]
    assert len(found) == text.count("```sh"), f"{document} has a block of shell that is not marked as one should be"
    return found


async def run(shell: Sequence[Example], environment: Mapping[str, str] | None = None, within: float = 60) -> list[str]:
    """Runs the blocks in order from the root of this repository and returns what each prints, stderr included.

    Raises AssertionError where a block's exit status is not the one that the document promises, or all take longer than
    `within` seconds. Background processes end with the last block.
    """
    with tempfile.TemporaryFile() as terminal:
        status = await _status(_session(shell), terminal.fileno(), environment, within)
        terminal.seek(0)
        printed = terminal.read().decode().split(_BETWEEN)
    last = shell[min(len(printed), len(shell)) - 1]
    assert status == 0, f"{last.script}ends with status {status} (None: takes too long), and prints:\n{printed[-1]}"
    return printed


def stands_for(shown: str, printed: str) -> bool:
    """Returns whether a document may show `shown` for `printed`.

    `…` within a line stands for any text, `…` on a line of its own for any lines, and blanks are compared as one.
    """
    pattern = "".join(_line_pattern(line) for line in shown.strip().split("\n"))
    return re.fullmatch(pattern, printed.strip() + "\n") is not None


def _session(shell: Sequence[Example]) -> str:
    return f"\nprintf '{_BETWEEN}'\n".join(_must_fail(one.script) if one.fails else one.script for one in shell)


def _must_fail(script: str) -> str:
    return f"if\n{script}then echo 'this was to fail'; exit 1; fi\n"


async def _status(script: str, terminal: int, environment: Mapping[str, str] | None, within: float) -> int | None:
    """Returns the exit status; None after a timeout."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-o", "errexit", "-o", "nounset", "-o", "pipefail", "-c", script),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        cwd=_ROOT,
        env=environment,
        start_new_session=True,
    )
    try:
        return await asyncio.wait_for(process.wait(), within)
    except TimeoutError:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


def _line_pattern(line: str) -> str:
    if line.strip() == "…":
        return r"(?:.*\n)*?"
    words = (".*?".join(map(re.escape, word.split("…"))) for word in line.split())
    return rf"{_BLANK}*{f'{_BLANK}+'.join(words)}{_BLANK}*\n"
