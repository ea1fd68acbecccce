"""Caller limits: what one caller may occupy of a gateway at once, so that the rest is left for the others.

A rate limit counts how often a caller begins a request. These limits count what its unfinished requests hold: slots,
and the memory of their bodies, which are complete before an upstream gets a request.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import Counter

from gateway_service.domain.errors import GatewayBusy, TooManyConcurrentRequests
from gateway_service.domain.routes import Priority
from gateway_service.service.slots import Slots

REFUSED = Counter("caller_limits_refused_total", "Requests refused: reason slots, caller_bodies or bodies", ["reason"])

_BODIES_BYTES = 32 * 1024 * 1024
"""The memory of all bodies: an eighth of the memory that the chart gives to a gateway."""
_CALLER_BODIES_BYTES = _BODIES_BYTES // 4


class CallerLimits:
    """Limits the concurrent requests of each caller, and the bodies of each and of all."""

    def __init__(self, slots: int) -> None:
        """`slots` is how many requests of one caller may be processed at once."""
        self._slots = slots
        self._callers: dict[str, _Caller] = {}
        self._reserved_bytes = 0

    @asynccontextmanager
    async def slot(self, key: str, priority: Priority) -> AsyncIterator["CallerSlot"]:
        """Holds a slot of a caller. Raises TooManyConcurrentRequests if none becomes free in time."""
        caller = self._callers.setdefault(key, _Caller(Slots(self._slots)))
        caller.requests += 1
        try:
            if not await caller.slots.acquire(priority):
                REFUSED.labels("slots").inc()
                raise TooManyConcurrentRequests
            slot = CallerSlot(self, caller)
            try:
                yield slot
            finally:
                self._release(caller, slot.reserved_bytes)
                caller.slots.release()
        finally:
            caller.requests -= 1
            if not caller.requests:
                del self._callers[key]

    def reserve(self, caller: "_Caller", size: int) -> None:
        """Raises TooManyConcurrentRequests, GatewayBusy."""
        if caller.reserved_bytes + size > _CALLER_BODIES_BYTES:
            REFUSED.labels("caller_bodies").inc()
            raise TooManyConcurrentRequests
        if self._reserved_bytes + size > _BODIES_BYTES:
            REFUSED.labels("bodies").inc()
            raise GatewayBusy
        caller.reserved_bytes += size
        self._reserved_bytes += size

    def _release(self, caller: "_Caller", size: int) -> None:
        caller.reserved_bytes -= size
        self._reserved_bytes -= size


class CallerSlot:
    """One request's slot. It returns the memory that it reserved when the request ends."""

    def __init__(self, limits: CallerLimits, caller: "_Caller") -> None:
        self._limits = limits
        self._caller = caller
        self.reserved_bytes = 0

    def reserve(self, size: int) -> None:
        """Reserves memory for `size` bytes of the body. Raises TooManyConcurrentRequests, GatewayBusy."""
        self._limits.reserve(self._caller, size)
        self.reserved_bytes += size


@dataclass(slots=True)
class _Caller:
    """What the unfinished requests of one caller hold."""

    slots: Slots
    requests: int = 0
    """The requests that hold a slot or wait for one."""
    reserved_bytes: int = 0
