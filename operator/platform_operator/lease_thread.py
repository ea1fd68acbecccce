"""Renews the Lease in a thread with its own connection, so that no work on the event loop delays a renewal.

A process whose event loop hangs must not keep the Lease. The loop counts heartbeats, and the thread ends the process
after too many missed ones. See docs/adr/0003-leader-election.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar

from platform_operator.client import WRITE_TIMEOUT
from platform_operator.errors import LeadershipLostError
from platform_operator.leader_election import LeaderElector, LeaseClient

logger = logging.getLogger(__name__)

T = TypeVar("T")

HEARTBEAT_INTERVAL = 1.0
"""Seconds between two heartbeats of the event loop, and between two checks of the thread for one."""
MAX_MISSED_HEARTBEATS = 20
"""Consecutive checks without a heartbeat after which the thread ends the process. Checks are counted, not seconds: a
process that was suspended has not hung."""


class LeaseThread:
    """Runs a LeaderElector in a thread. Its methods are called on the event loop that does the work.

    `connect` and `elector` are called in the thread, so that no connection is shared between two event loops. `end`
    ends the process at once, without clean-up, so that nothing is written afterwards.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[LeaseClient]],
        elector: Callable[[LeaseClient], LeaderElector],
        end: Callable[[int], object] = os._exit,
        heartbeat_interval: float = HEARTBEAT_INTERVAL,
    ) -> None:
        self._connect, self._make_elector, self._end = connect, elector, end
        self._heartbeat_interval = heartbeat_interval
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lease", daemon=True)
        self._heartbeats = 0
        self._stopping = threading.Event()

    async def __aenter__(self) -> LeaseThread:
        self._thread.start()
        self._connection = self._connect()
        try:
            self._elector = self._make_elector(await self._in_thread(self._connection.__aenter__()))
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Releases the Lease. Called when the work has stopped."""
        try:
            await self._in_thread(self._elector.release())
        finally:
            await self._in_thread(self._connection.__aexit__(kind, error, trace))
            await self._stop()

    def require_leadership(self) -> None:
        """Raises LeadershipLostError unless the Lease was renewed recently enough. Called before every write."""
        self._elector.require_leadership()

    async def acquire(self) -> None:
        """Waits until this process leads."""
        await self._in_thread(self._elector.acquire())

    async def keep_renewing(self) -> None:
        """Renews until cancelled, and sends the heartbeats of the event loop. Raises LeadershipLostError."""
        renewing = self._in_thread(self._renew())
        try:
            while not renewing.done():
                self._heartbeats += 1
                await asyncio.wait([renewing], timeout=self._heartbeat_interval)
            renewing.result()
        finally:
            self._stopping.set()
            renewing.cancel()

    async def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    def _in_thread(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _renew(self) -> None:
        watching = asyncio.create_task(self._end_if_hung())
        try:
            await self._elector.keep_renewing()
        except LeadershipLostError as error:
            self._loop.call_later(WRITE_TIMEOUT, self._end_unless_stopping, error)
            raise
        finally:
            watching.cancel()

    async def _end_if_hung(self) -> None:
        """Ends the process when the event loop has missed MAX_MISSED_HEARTBEATS heartbeats in succession."""
        missed = 0
        while missed < MAX_MISSED_HEARTBEATS:
            heartbeats = self._heartbeats
            await asyncio.sleep(self._heartbeat_interval)
            missed = missed + 1 if self._heartbeats == heartbeats else 0
        logger.critical(
            "the event loop has hung for %.0f s: ending the process", MAX_MISSED_HEARTBEATS * self._heartbeat_interval
        )
        self._end(1)

    def _end_unless_stopping(self, error: LeadershipLostError) -> None:
        """Ends a process that has lost the Lease and whose event loop hangs, so that it does not stop by itself."""
        if not self._stopping.is_set():
            logger.critical("the event loop hangs, and %s: ending the process", error)
            self._end(1)
