"""Slots: a number of things that may happen at once. A request waits for a free one, and not for long in an overload.

A queue that passes within a second is a burst. One that is never empty for longer is an overload: more arrives than is
processed, so as many are refused whatever they wait, and a long wait only makes those wait that are served. In an
overload a request waits for a tenth of a second, as in Controlled Delay (RFC 8289): it is served soon, or refused soon.
"""

import asyncio
import time
from collections.abc import Callable

_SLOT_TIMEOUT_SECONDS = 1.0
"""How long a request waits for a free slot before it is refused."""
_OVERLOAD_AFTER_SECONDS = 1.0
_OVERLOAD_TIMEOUT_SECONDS = 0.1


class Slots:
    """A limit on concurrent requests."""

    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`slots` is how many requests may be processed at once. `clock` returns seconds, and never goes back."""
        self._slots = asyncio.Semaphore(slots)
        self._clock = clock
        self._waiting = 0
        self._waiting_since = 0.0
        """Since when requests have been waiting without a break."""

    async def acquire(self) -> bool:
        """Acquires a slot. Returns False if none becomes free in time."""
        if not self._slots.locked():
            return await self._slots.acquire()
        if not self._waiting:
            self._waiting_since = self._clock()
        is_overloaded = self._clock() - self._waiting_since > _OVERLOAD_AFTER_SECONDS
        self._waiting += 1
        try:
            async with asyncio.timeout(_OVERLOAD_TIMEOUT_SECONDS if is_overloaded else _SLOT_TIMEOUT_SECONDS):
                return await self._slots.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1

    def release(self) -> None:
        self._slots.release()
