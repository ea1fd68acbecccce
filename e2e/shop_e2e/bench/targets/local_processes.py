"""The processes of a target that is not this shop, on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import asyncpg
import httpx
from chassis_testing.waiting import eventually

from shop_e2e.bench.targets.target import TargetError

_START_SECONDS, _STOP_SECONDS = 180.0, 20.0
_POLL_SECONDS = 0.05
_LOG_TAIL = 3000


class LocalProcesses:
    """Processes that start and stop together; each writes a log of its own."""

    def __init__(self, folder: Path, logs: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._logs = logs
        self._environment = {**os.environ, **environment}
        self._running: list[asyncio.subprocess.Process] = []

    async def start(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> None:
        """Starts a process; `environment` is what it has beside that of all."""
        self._running.append(await self._spawn(name, command, environment or {}))

    async def run(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> None:
        """Runs a command to its end. Raises TargetError if it fails."""
        if await (await self._spawn(name, command, environment or {})).wait() != 0:
            raise TargetError(f"{' '.join(command)} failed:\n{self._tail(name)}")

    async def until_healthy(self, url: str) -> None:
        """Waits until the URL answers 200. Raises TargetError if a process ends before, or if it takes too long."""
        async with httpx.AsyncClient(timeout=5) as client:
            try:
                async with asyncio.timeout(_START_SECONDS):
                    while not await _is_healthy(client, url):
                        self._check_running()
                        await asyncio.sleep(_POLL_SECONDS)
            except TimeoutError:
                raise TargetError(f"{url} is not healthy: see {self._logs}") from None

    async def stop(self) -> None:
        """Stops the processes and those that they have started, such as the server behind a launcher."""
        await asyncio.gather(*map(_end_group, self._running))
        self._running.clear()

    async def _spawn(
        self, name: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> asyncio.subprocess.Process:
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{name}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command,
                cwd=self._folder,
                env={**self._environment, **environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )

    def _check_running(self) -> None:
        for process in self._running:
            if process.returncode is not None:
                raise TargetError(f"a process ended with status {process.returncode}: see {self._logs}")

    def _tail(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_text(errors="replace")[-_LOG_TAIL:]


async def create_database(server: str, name: str) -> None:
    """Creates an empty database in place of one of an earlier run."""
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()


async def drop_database(server: str, name: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close()


async def _is_healthy(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.TransportError:
        return False


async def _end_group(leader: asyncio.subprocess.Process) -> None:
    """Ends the session that `_spawn` made of a process."""

    async def is_empty() -> bool:
        return not _signal_group(leader, 0)

    _signal_group(leader, signal.SIGTERM)
    try:
        await eventually(is_empty, within=_STOP_SECONDS)
    except TimeoutError:
        _signal_group(leader, signal.SIGKILL)
    await leader.wait()


def _signal_group(leader: asyncio.subprocess.Process, number: int) -> bool:
    """Returns whether the group has a process. Signal 0 only asks, see kill(2)."""
    try:
        os.killpg(leader.pid, number)
    except ProcessLookupError:
        return False
    return True
