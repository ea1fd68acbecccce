"""The work queue: holds each key once, gives it to one worker at a time, retries failures with exponential backoff."""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from platform_operator import metrics
from platform_operator.errors import ApiError, LeadershipLostError

logger = logging.getLogger(__name__)

K = TypeVar("K")

MAX_CONFLICTS = 5
"""The number of passes of a key in a row that may end at a conflict; the next one is a failure. What a new leader knows
may be out of date, and others write the same objects."""


@dataclass(frozen=True)
class Requeue:
    """The result of a reconcile: after how many seconds the key is reconciled again even if nothing changes."""

    delay: float | None

    @classmethod
    def never(cls) -> Requeue:
        """The key is reconciled again when something changes, and not before."""
        return cls(None)

    @classmethod
    def after(cls, seconds: float) -> Requeue:
        """The key is reconciled again after `seconds` at the latest."""
        return cls(seconds)

    @classmethod
    def earliest(cls, *delays: float | None) -> Requeue:
        """The key is reconciled again after the shortest of the delays; of those, None stands for never."""
        return cls(min((delay for delay in delays if delay is not None), default=None))


@dataclass
class WorkQueue(Generic[K]):
    """A queue with the semantics of client-go's workqueue. Durations are seconds of `clock`."""

    clock: Callable[[], float]
    jitter: Callable[[], float] = random.random
    first_delay: float = 0.25
    longest_delay: float = 60.0
    spacing: float = 1.0
    """The time between two turns of a key that is queued by `add_spaced`."""
    _ready: deque[K] = field(init=False, default_factory=deque)
    _queued: set[K] = field(init=False, default_factory=set)
    _running: set[K] = field(init=False, default_factory=set)
    _delayed: list[tuple[float, int, K]] = field(init=False, default_factory=list)
    _deadlines: dict[K, float] = field(init=False, default_factory=dict)
    _failures: dict[K, int] = field(init=False, default_factory=dict)
    _conflicts: dict[K, int] = field(init=False, default_factory=dict)
    """The number of passes of a key in a row that have ended at a conflict, with the one that is being made."""
    _turns: OrderedDict[K, float] = field(init=False, default_factory=OrderedDict)
    """When each key was given to a worker, within the last `spacing`; the earliest comes first."""
    _count: int = field(init=False, default=0)
    _changed: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def add(self, key: K) -> None:
        """Queues a key once. A key that a worker has comes again afterwards, since what the worker saw may be stale."""
        self._deadlines.pop(key, None)
        if key in self._queued:
            return
        self._queued.add(key)
        if key not in self._running:
            self._ready.append(key)
            self._changed.set()

    def add_spaced(self, key: K) -> None:
        """Queues a key at once if it had no turn within the last `spacing`, and otherwise when that has passed.

        So one change is acted on at once, and many in a row, as while a shop starts, share a pass.
        """
        self.add_after(key, max(0.0, self._turns.get(key, -math.inf) + self.spacing - self.clock()))

    def add_after(self, key: K, delay: float) -> None:
        """Queues a key later. Of several delays the earliest counts."""
        deadline = self.clock() + delay
        if key in self._queued or self._deadlines.get(key, deadline + 1) <= deadline:
            return
        self._deadlines[key] = deadline
        self._count += 1
        heapq.heappush(self._delayed, (deadline, self._count, key))
        self._changed.set()

    def add_rate_limited(self, key: K, at_least: float = 0.0) -> float:
        """Queues a key after a failure and returns the delay: exponential, bounded, jittered by up to a fifth.

        `at_least` is the delay that a server asked for; it is bounded as well.
        """
        failures = self.failures(key)
        self._failures[key] = failures + 1
        delay = max(self.first_delay * 2.0 ** min(failures, 32), at_least)
        delay = min(delay, self.longest_delay) * (1 + self.jitter() / 5)
        self.add_after(key, delay)
        return delay

    def failures(self, key: K) -> int:
        """Returns how often a key has failed since it last succeeded."""
        return self._failures.get(key, 0)

    def tolerates(self, key: K, error: Exception | None) -> bool:
        """Returns whether a pass of a key that ends at an error is repeated as if it had not been made: at a conflict,
        if not too many passes in a row have ended at one."""
        is_conflict = isinstance(error, ApiError) and error.conflict
        return is_conflict and self._conflicts.get(key, 0) <= MAX_CONFLICTS

    @contextmanager
    def counting_conflicts(self, key: K) -> Iterator[None]:
        """Counts a pass of a key among those in a row that end at a conflict. One that ends otherwise ends the row."""
        self._conflicts[key] = self._conflicts.get(key, 0) + 1
        ends_at_conflict = False
        try:
            yield
        except ApiError as error:
            ends_at_conflict = error.conflict
            raise
        finally:
            if not ends_at_conflict:
                del self._conflicts[key]

    def forget(self, key: K) -> None:
        """Forgets the failures of a key that succeeded."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Waits for the next key. The caller gives it back with `done`."""
        while True:
            next_due = self._enqueue_due()
            if self._ready:
                key = self._ready.popleft()
                self._queued.discard(key)
                self._running.add(key)
                self._remember_turn(key)
                return key
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), next_due)
            except TimeoutError:
                continue

    def _remember_turn(self, key: K) -> None:
        now = self.clock()
        self._turns[key] = now
        self._turns.move_to_end(key)
        while now - next(iter(self._turns.values())) > self.spacing:
            self._turns.popitem(last=False)

    def done(self, key: K) -> None:
        self._running.discard(key)
        if key in self._queued:
            self._ready.append(key)
            self._changed.set()

    def depth(self) -> int:
        return len(self._queued)

    def _enqueue_due(self) -> float | None:
        """Queues the keys that are due. Returns the seconds until the next one is."""
        now = self.clock()
        while self._delayed:
            deadline, _, key = self._delayed[0]
            if self._deadlines.get(key) != deadline:
                heapq.heappop(self._delayed)  # was queued since, or has an earlier deadline
            elif deadline <= now:
                heapq.heappop(self._delayed)
                self.add(key)
            else:
                return deadline - now
        return None


async def run_worker(queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[Requeue]]) -> None:
    """Reconciles one key after another, for ever. Raises LeadershipLostError; every other error is retried.

    A conflict (ApiError.conflict) is no failure, unless it comes again and again.
    """
    while True:
        key = await queue.get()
        try:
            await _reconcile_one(key, queue, reconcile)
        finally:
            queue.done(key)


async def _reconcile_one(key: K, queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[Requeue]]) -> None:
    try:
        with metrics.RECONCILE_SECONDS.time(), queue.counting_conflicts(key):
            requeue = await reconcile(key)
    except LeadershipLostError:
        raise
    except Exception as error:
        if isinstance(error, ApiError) and error.namespace_terminating:
            _wait_for_namespace(key, queue)
            return
        if queue.tolerates(key, error):
            retry = queue.add_rate_limited(key)
            logger.info("a pass is repeated: %s", error, extra={"key": str(key), "retry": retry})
            return
        metrics.FAILURES.inc()
        retry = queue.add_rate_limited(key, error.retry_after if isinstance(error, ApiError) else 0.0)
        logger.exception("reconcile failed", exc_info=error, extra={"key": str(key), "retry": retry})
        return
    queue.forget(key)
    if requeue.delay is not None:
        queue.add_after(key, requeue.delay)


def _wait_for_namespace(key: K, queue: WorkQueue[K]) -> None:
    """Retries a key whose namespace is being deleted, at long intervals and with one line in the log.

    It is deleted with the namespace, or comes again when the namespace does.
    """
    is_known = queue.failures(key) > 0
    retry = queue.add_rate_limited(key, queue.longest_delay)
    if not is_known:
        text = "nothing is created, since the namespace is being deleted"
        logger.warning(text, extra={"key": str(key), "retry": retry})
