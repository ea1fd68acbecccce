"""Slots: a number of things that may happen at once. A request waits briefly for a free one."""

import asyncio

_SLOT_TIMEOUT_SECONDS = 1.0
"""How long a request waits for a free slot before it is refused."""


class Slots:
    """A limit on concurrent requests."""

    def __init__(self, slots: int) -> None:
        """`slots` is how many requests may be processed at once."""
        self._slots = asyncio.Semaphore(slots)

    async def acquire(self) -> bool:
        """Acquires a slot. Returns False if none becomes free in time."""
        if not self._slots.locked():
            return await self._slots.acquire()
        try:
            async with asyncio.timeout(_SLOT_TIMEOUT_SECONDS):
                return await self._slots.acquire()
        except TimeoutError:
            return False

    def release(self) -> None:
        self._slots.release()
