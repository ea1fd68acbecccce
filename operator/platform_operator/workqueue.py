"""A work queue: each key once, one worker per key at a time, failures retried ever more slowly."""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from platform_operator import metrics
from platform_operator.errors import DeposedError

logger = logging.getLogger(__name__)

K = TypeVar("K")


@dataclass
class WorkQueue(Generic[K]):
    """The semantics of client-go's workqueue. Durations are seconds of `clock`."""

    clock: Callable[[], float]
    jitter: Callable[[], float] = random.random
    first_delay: float = 0.25
    longest_delay: float = 60.0
    _waiting: deque[K] = field(default_factory=deque)
    _queued: set[K] = field(default_factory=set)
    _running: set[K] = field(default_factory=set)
    _due: list[tuple[float, int, K]] = field(default_factory=list)
    _deadlines: dict[K, float] = field(default_factory=dict)
    _failures: dict[K, int] = field(default_factory=dict)
    _count: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, key: K) -> None:
        """Queues a key once. One that is being worked on comes again afterwards, since what it saw may be stale."""
        self._deadlines.pop(key, None)
        if key in self._queued:
            return
        self._queued.add(key)
        if key not in self._running:
            self._waiting.append(key)
            self._news.set()

    def add_after(self, key: K, delay: float) -> None:
        """Queues a key later; of several such wishes the earliest counts."""
        deadline = self.clock() + delay
        if key in self._queued or self._deadlines.get(key, deadline + 1) <= deadline:
            return
        self._deadlines[key] = deadline
        self._count += 1
        heapq.heappush(self._due, (deadline, self._count, key))
        self._news.set()

    def retry(self, key: K) -> float:
        """Queues a key after a failure and tells the delay: exponential, bounded, jittered by up to a fifth."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(self.first_delay * 2.0**failures, self.longest_delay) * (1 + self.jitter() / 5)
        self.add_after(key, delay)
        return delay

    def succeeded(self, key: K) -> None:
        self._failures.pop(key, None)

    async def take(self) -> K:
        """The next key; the caller gives it back with `done`."""
        while True:
            pause = self._promote()
            if self._waiting:
                key = self._waiting.popleft()
                self._queued.discard(key)
                self._running.add(key)
                return key
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), pause)
            except TimeoutError:
                continue

    def done(self, key: K) -> None:
        self._running.discard(key)
        if key in self._queued:
            self._waiting.append(key)
            self._news.set()

    def depth(self) -> int:
        return len(self._queued)

    def _promote(self) -> float | None:
        """Moves what is due into the queue; tells how long until the next is."""
        now = self.clock()
        while self._due:
            deadline, _, key = self._due[0]
            if self._deadlines.get(key) != deadline:
                heapq.heappop(self._due)  # was queued meanwhile, or has an earlier deadline
            elif deadline <= now:
                heapq.heappop(self._due)
                self.add(key)
            else:
                return deadline - now
        return None


async def work(queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[float | None]]) -> None:
    """One worker, for ever. `reconcile` tells in how many seconds to look again, or None: when something happens."""
    while True:
        key = await queue.take()
        try:
            await _work_on(key, queue, reconcile)
        finally:
            queue.done(key)


async def _work_on(key: K, queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[float | None]]) -> None:
    try:
        with metrics.RECONCILE_SECONDS.time():
            look_again = await reconcile(key)
    except DeposedError:
        raise
    except Exception as error:
        metrics.FAILURES.inc()
        logger.exception("reconciling failed", exc_info=error, extra={"key": str(key), "retry": queue.retry(key)})
        return
    queue.succeeded(key)
    if look_again is not None:
        queue.add_after(key, look_again)
