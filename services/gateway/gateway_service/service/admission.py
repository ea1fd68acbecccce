"""Admission control: limits the concurrent requests to an upstream, and sends it none while its circuit is open."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from chassis.types.circuit_breaker import Attempt, BreakerPolicy, CircuitBreaker
from prometheus_client import Counter, Gauge

from gateway_service.domain.errors import CircuitOpen, UpstreamBusy
from gateway_service.domain.routes import Upstream
from gateway_service.service.slots import Slots

IN_FLIGHT = Gauge("upstream_requests_in_flight", "Requests that an upstream is processing", ["upstream"])
CIRCUIT = Gauge("upstream_circuit_state", "0 closed, 1 half-open (one request is the probe), 2 open", ["upstream"])
REFUSED = Counter("upstream_refused_total", "Requests not sent: reason circuit_open or busy", ["upstream", "reason"])


class AdmissionControl:
    """Limits concurrency and breaks the circuit for one upstream."""

    def __init__(self, upstream: Upstream, slots: int, policy: BreakerPolicy, clock: Callable[[], float]) -> None:
        """`slots` is how many requests may be sent at once."""
        self._upstream = upstream
        self._slots = Slots(slots)
        self._breaker = CircuitBreaker(policy, clock)
        self._in_flight = IN_FLIGHT.labels(upstream)
        self._circuit = CIRCUIT.labels(upstream)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Attempt]:
        """Holds a slot for one request, whose result is reported to the attempt. Raises CircuitOpen, UpstreamBusy."""
        attempt = self._admit()
        try:
            if not await self._slots.acquire():
                REFUSED.labels(self._upstream, "busy").inc()
                raise UpstreamBusy(self._upstream)
            self._in_flight.inc()
            try:
                yield attempt
            finally:
                self._in_flight.dec()
                self._slots.release()
        finally:
            attempt.abandoned()
            self._circuit.set(self._breaker.state)

    def _admit(self) -> Attempt:
        attempt = self._breaker.admit()
        if attempt is None:
            REFUSED.labels(self._upstream, "circuit_open").inc()
            raise CircuitOpen(self._upstream, self._breaker.remaining_cooldown)
        self._circuit.set(self._breaker.state)
        return attempt
