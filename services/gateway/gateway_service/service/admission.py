"""How many requests a service has at once, and whether it is asked at all: its slots and its circuit breaker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from chassis.observability import logs
from prometheus_client import Counter, Gauge

from gateway_service.domain.breaking import Attempt, Breaker, Rule
from gateway_service.domain.errors import UpstreamBusy, UpstreamResting
from gateway_service.domain.routes import Upstream

IN_FLIGHT = Gauge("upstream_requests_in_flight", "Requests that a service has at the moment", ["upstream"])
CIRCUIT = Gauge("upstream_circuit_state", "0 closed, 1 half-open (one request tries), 2 open", ["upstream"])
REFUSED = Counter("upstream_refused_total", "Requests not sent: reason resting or busy", ["upstream", "reason"])

_WAIT_SECONDS = 1.0
"""For a free slot, before the caller is told to come again."""

log = logs.get_logger(__name__)


class Admission:
    """To one service."""

    def __init__(self, upstream: Upstream, slots: int, rule: Rule, clock: Callable[[], float]) -> None:
        self._upstream = upstream
        self._slots = asyncio.Semaphore(slots)
        self._breaker = Breaker(rule, clock)
        self._in_flight = IN_FLIGHT.labels(upstream)
        self._circuit = CIRCUIT.labels(upstream)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Attempt]:
        """For one request, which tells the attempt how it went. Raises UpstreamResting, UpstreamBusy."""
        attempt = self._admit()
        try:
            await self._take_slot()
            self._in_flight.inc()
            try:
                yield attempt
            finally:
                self._in_flight.dec()
                self._slots.release()
        finally:
            attempt.abandoned()
            self._circuit.set(self._breaker.state)

    async def _take_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            REFUSED.labels(self._upstream, "busy").inc()
            raise UpstreamBusy(self._upstream) from None

    def _admit(self) -> Attempt:
        attempt = self._breaker.admit()
        if attempt is None:
            REFUSED.labels(self._upstream, "resting").inc()
            raise UpstreamResting(self._upstream, self._breaker.rest)
        self._circuit.set(self._breaker.state)
        return attempt
