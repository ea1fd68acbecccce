"""Supervises services: one that exits is started again, one whose source changes is restarted."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from devtools.file_watcher import Change
from devtools.stack import StackError

_LONGEST_PAUSE_SECONDS = 30.0

_T = TypeVar("_T")


class Supervised(Protocol):
    """The operations that the supervisor needs of devtools.stack.Stack."""

    async def start(self, *services: str) -> None: ...
    async def ended(self, service: str) -> int: ...
    async def stop(self, *services: str) -> None: ...
    async def migrate(self, *services: str) -> None: ...


def pause_after(failures: int) -> float:
    """Returns the seconds until the next start of a service that has failed so many times in a row: 1, 2, 4, … 30."""
    return min(2.0 ** (failures - 1), _LONGEST_PAUSE_SECONDS)


async def run_unless_set(event: asyncio.Event, doing: Awaitable[_T]) -> _T | None:
    """Returns the result of `doing`, or None if the event was set first; `doing` is cancelled then."""
    work, interrupted = asyncio.ensure_future(doing), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({work, interrupted}, return_when=asyncio.FIRST_COMPLETED)
        return None if interrupted.done() else work.result()
    finally:
        for task in (work, interrupted):
            task.cancel()
        await asyncio.gather(work, interrupted, return_exceptions=True)


class Supervisor:
    def __init__(
        self,
        stack: Supervised,
        services: Sequence[str],
        say: Callable[[str, str], None],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._stack = stack
        self._say = say
        self._pause = pause
        self._keeping: list[asyncio.Task[None]] = []
        self._running = {service: asyncio.Event() for service in services}
        self._tried = {service: asyncio.Event() for service in services}
        self._changed = {service: asyncio.Event() for service in services}
        self._unmigrated: set[str] = set()
        self._failures = dict.fromkeys(services, 0)

    async def start(self, *services: str) -> None:
        """Starts services and returns once each is ready or has failed. They are supervised until `stop`."""
        self._keeping += [asyncio.create_task(self._keep(service)) for service in services]
        await asyncio.gather(*(self._tried[service].wait() for service in services))

    def running(self) -> frozenset[str]:
        """Returns the services that are ready now."""
        return frozenset(service for service, running in self._running.items() if running.is_set())

    def handle_change(self, change: Change) -> None:
        """Restarts the services that a change concerns."""
        self._unmigrated |= change.migrations_of
        for service in change.of:
            self._changed[service].set()

    async def stop(self) -> None:
        """Ends the supervision. The caller stops the services that run."""
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)

    async def _keep(self, service: str) -> None:
        """Runs a service again and again."""
        changed = self._changed[service]
        while True:
            ending = await run_unless_set(changed, self._live(service))
            self._running[service].clear()
            self._tried[service].set()
            if ending is not None:
                self._failures[service] += 1
                seconds = pause_after(self._failures[service])
                self._say(service, f"{ending}; starts again in {seconds:.0f} s, or when its source changes")
                await run_unless_set(changed, self._pause(seconds))
            if changed.is_set():
                changed.clear()
                self._failures[service] = 0
                self._say(service, "its source changed: restarts")
            await self._stack.stop(service)

    async def _live(self, service: str) -> str:
        """Runs a service once, from start to exit, and returns how it ended."""
        try:
            if service in self._unmigrated:
                await self._stack.migrate(service)
                self._unmigrated.discard(service)
            await self._stack.start(service)
        except StackError as error:
            return error.reason
        self._failures[service] = 0
        self._running[service].set()
        if self._tried[service].is_set():
            self._say(service, "ready again")
        self._tried[service].set()
        return f"ended with status {await self._stack.ended(service)}"
