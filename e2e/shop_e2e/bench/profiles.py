"""Shows where a target's processor time goes: a flame graph per work, and the time per library of each process.

py-spy samples the threads that hold the interpreter's lock in all Python processes below this one: those that wait are
not counted, nor is what the kernel does for a process. It cannot write both forms of one recording, so that rounds
with odd numbers record the graph and the others the stacks from which times per library are counted.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from shop_e2e.bench.samples import Case

_PER_SECOND = 100
_PROCESS = re.compile(r'process \d+:"[^"]*-m (\w+)_service\b')
_FILE = re.compile(r"\((?P<path>[^:()]+)")
_LIBRARIES = {
    "asyncpg": "asyncpg",
    "sqlalchemy": "SQLAlchemy",
    "grpc": "gRPC",
    "google": "gRPC",
    "aio_pika": "RabbitMQ client",
    "aiormq": "RabbitMQ client",
    "pamqp": "RabbitMQ client",
    "redis": "Redis client",
    "fastapi": "FastAPI",
    "starlette": "FastAPI",
    "pydantic": "FastAPI",
    "uvicorn": "HTTP server",
    "httpx": "HTTP client",
    "httpcore": "HTTP client",
    "aiohttp": "HTTP client",
    "opentelemetry": "logs, traces, metrics",
    "structlog": "logs, traces, metrics",
    "logging": "logs, traces, metrics",
    "prometheus_client": "logs, traces, metrics",
    "chassis": "chassis",
}
_OWN, _LOOP, _OTHER = "service", "event loop", "other"
_LOOP_FRAME = "Program.serve "
"""The innermost frame that Python sees while uvloop itself works: sockets, timers, switches between tasks."""


class ProfilerError(Exception):
    """py-spy failed; the message is what it output."""


@dataclass(slots=True)
class Profiler:
    """Records profiles into a folder. `case` chooses what is recorded by its round."""

    folder: Path
    stacks: dict[Case, Path] = field(default_factory=dict)

    @asynccontextmanager
    async def recording(self, case: Case, round_: int) -> AsyncIterator[None]:
        """Records what runs in the block. Raises ProfilerError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{case.work}-{case.products}-{case.connections}"
        if round_ % 2:
            form, path = "flamegraph", self.folder / f"{name}.svg"
        else:
            form, path = "raw", self.folder / f"{name}.stacks"
            self.stacks[case] = path
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("py-spy"), "record", "--pid", str(os.getpid()), "--subprocesses",
            "--gil", "--rate", str(_PER_SECOND), "--format", form, "--output", path,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        output = await process.stdout.readline()  # that it samples, or why it does not
        try:
            yield
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            output += (await process.communicate())[0]
        if process.returncode != 0:
            raise ProfilerError(output.decode().strip())

    def write_table(self) -> Path:
        """Writes the time per library of all recorded stacks, and returns the path."""
        path = self.folder / "libraries.md"
        parts = ["# Where processor time goes", ""]
        for case, stacks in self.stacks.items():
            shares = time_per_library(stacks.read_text().splitlines())
            parts += [f"## {case.work}, {case.products:,} products, {case.connections} connections", ""]
            parts += [*_table(shares), ""]
        path.write_text("\n".join(parts))
        return path


def no_profile(_case: Case, _round: int) -> nullcontext[None]:
    """Records nothing."""
    return nullcontext()


def time_per_library(stacks: Iterable[str]) -> Mapping[str, Mapping[str, float]]:
    """Returns the part of each process's samples in which a library ran, by process and library.

    A stack is a line of py-spy's raw form: frames from the outermost on, separated by semicolons, then a count. The
    innermost frame of a known library counts, so that time in the standard library is that of its caller. The frames of
    a process follow those of its parents. Processes that are no services, such as the client, are left out.
    """
    samples: dict[str, Counter[str]] = {}
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        if services := _PROCESS.findall(frames):
            samples.setdefault(services[-1], Counter())[_library(frames.split(";"))] += int(count)
    return {
        process: {library: count / counts.total() for library, count in counts.items()}
        for process, counts in sorted(samples.items())
    }


def _library(frames: Iterable[str]) -> str:
    for frame in reversed(list(frames)):
        if frame.startswith(_LOOP_FRAME):
            return _LOOP
        file = _FILE.search(frame)
        package = file["path"].split("/")[0].removesuffix(".py") if file else ""
        if package.endswith("_service"):
            return _OWN
        if package in _LIBRARIES:
            return _LIBRARIES[package]
    return _OTHER


def _table(shares: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    columns = [*dict.fromkeys(_LIBRARIES.values()), _OWN, _LOOP, _OTHER]
    yield f"| process | {' | '.join(columns)} |"
    yield f"|{(len(columns) + 1) * '---|'}"
    for process, of_process in shares.items():
        yield f"| {process} | {' | '.join(f'{of_process.get(column, 0):.0%}' for column in columns)} |"
