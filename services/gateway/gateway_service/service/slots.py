"""Slots: a number of things that may happen at once. A request waits for a free one, unless there is an overload.

A queue that is served within a second is a burst. One that is never served to its end for longer is an overload: more
arrives than is processed, so as many are refused whatever they wait, and a long queue only makes those wait that are
served. Then few requests may wait, and all others are refused at once. Payments may always wait (docs/adr/0084).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from gateway_service.domain.routes import Priority

_SLOT_TIMEOUT_SECONDS = 1.0
"""How long a request waits for a free slot before it is refused."""
_OVERLOAD_AFTER_SECONDS = 1.0
_SLOTS_PER_WAITING = 8
"""One request may wait in an overload for each so many slots: then it waits an eighth of the time of a response."""


class Slots:
    """A limit on concurrent requests. A slot that becomes free goes to the first request of the highest priority."""

    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`slots` is how many requests may be processed at once. `clock` returns seconds, and never goes back."""
        self._free = slots
        self._most_waiting = max(1, slots // _SLOTS_PER_WAITING)
        self._clock = clock
        self._queues: dict[Priority, deque[asyncio.Future[None]]] = {priority: deque() for priority in Priority}
        self._waiting_since: float | None = None
        """When the first request of a queue began to wait that has not been served to its end."""

    @property
    def is_overloaded(self) -> bool:
        since = self._waiting_since
        return since is not None and self._clock() - since > _OVERLOAD_AFTER_SECONDS

    def may_wait(self, priority: Priority) -> bool:
        """Returns whether a request gets a slot now, or may wait for one."""
        if priority is Priority.PAYMENT or not self.is_overloaded:
            return True
        before_it = sum(len(queue) for other, queue in self._queues.items() if other <= priority)
        return before_it < self._most_waiting

    async def acquire(self, priority: Priority) -> bool:
        """Acquires a slot. Returns False if none becomes free in time, or the request may not wait for one."""
        if self._free:
            self._free -= 1
            return True
        if not self.may_wait(priority):
            return False
        if self._waiting_since is None:
            self._waiting_since = self._clock()
        turn = asyncio.get_running_loop().create_future()
        self._queues[priority].append(turn)
        try:
            await asyncio.wait([turn], timeout=_SLOT_TIMEOUT_SECONDS)
        except asyncio.CancelledError:
            if turn.done():
                self.release()
            raise
        finally:
            if not turn.done():
                self._queues[priority].remove(turn)
        return turn.done()

    def release(self) -> None:
        """Gives the slot to the next request."""
        waiting = [queue for queue in self._queues.values() if queue]
        if waiting:
            waiting[0].popleft().set_result(None)
        else:
            self._free += 1
        if not any(waiting):
            self._waiting_since = None
