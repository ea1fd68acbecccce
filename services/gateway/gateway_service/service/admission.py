"""Admission control: limits the concurrent requests to an upstream, and sends it none while its circuit is open."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from chassis.observability import logs
from chassis.types.circuit_breaker import Attempt, BreakerPolicy, CircuitBreaker
from prometheus_client import Counter, Gauge

from gateway_service.domain.errors import CircuitOpen, UpstreamBusy
from gateway_service.domain.routes import Priority, Upstream
from gateway_service.service.slots import Slots

IN_FLIGHT = Gauge("upstream_requests_in_flight", "Requests that an upstream is processing", ["upstream"])
CIRCUIT = Gauge("upstream_circuit_state", "0 closed, 1 half-open (one request is the probe), 2 open", ["upstream"])
REFUSED = Counter("upstream_refused_total", "Requests not sent: reason circuit_open or busy", ["upstream", "reason"])

_LOG_SECONDS = 1.0

log = logs.get_logger(__name__)


class AdmissionControl:
    """Limits concurrency and breaks the circuit for one upstream."""

    def __init__(self, upstream: Upstream, slots: int, policy: BreakerPolicy, clock: Callable[[], float]) -> None:
        """`slots` is how many requests may be sent at once."""
        self._upstream = upstream
        self._slots = Slots(slots)
        self._breaker = CircuitBreaker(policy, clock)
        self._in_flight = IN_FLIGHT.labels(upstream)
        self._circuit = CIRCUIT.labels(upstream)
        self._clock = clock
        self._unlogged = 0
        self._log_at = -math.inf

    @property
    def is_overloaded(self) -> bool:
        return self._slots.is_overloaded

    def refuses(self, priority: Priority) -> bool:
        """Returns whether a request would be refused without a wait, and counts it if so."""
        if self._slots.may_wait(priority):
            return False
        self._count_refusal()
        return True

    async def wait_for_room(self, priority: Priority) -> None:
        """Waits until a slot is free that no request of a higher priority waits for. Raises UpstreamBusy."""
        await self._acquire(priority)
        self._slots.release()

    @asynccontextmanager
    async def slot(self, priority: Priority) -> AsyncIterator[Attempt]:
        """Holds a slot for one request, whose result is reported to the attempt. Raises CircuitOpen, UpstreamBusy."""
        attempt = self._admit()
        try:
            await self._acquire(priority)
            self._in_flight.inc()
            try:
                yield attempt
            finally:
                self._in_flight.dec()
                self._slots.release()
        finally:
            attempt.abandoned()
            self._circuit.set(self._breaker.state)

    async def _acquire(self, priority: Priority) -> None:
        if not await self._slots.acquire(priority):
            self._count_refusal()
            raise UpstreamBusy(self._upstream)

    def _count_refusal(self) -> None:
        """Counts a refusal, and logs them once a second: in an overload there are many."""
        REFUSED.labels(self._upstream, "busy").inc()
        self._unlogged += 1
        if self._clock() >= self._log_at:
            log.warning("requests are refused: a service is busy", upstream=self._upstream, requests=self._unlogged)
            self._unlogged, self._log_at = 0, self._clock() + _LOG_SECONDS

    def _admit(self) -> Attempt:
        attempt = self._breaker.admit()
        if attempt is None:
            REFUSED.labels(self._upstream, "circuit_open").inc()
            raise CircuitOpen(self._upstream, self._breaker.remaining_cooldown)
        self._circuit.set(self._breaker.state)
        return attempt
