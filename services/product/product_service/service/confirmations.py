"""Confirms to the gateway, over Redis, that the data which its answers show has not changed (docs/adr/0068)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from chassis.errors import DatabaseUnavailable, NeighbourRefused, NeighbourUnavailable
from prometheus_client import Counter

from product_service.repository.confirmations import ConfirmationStore

CONFIRMATIONS = Counter(
    "answer_confirmations_total",
    "Change counts read for the gateway: result confirmed or failed",
    ["service", "result"],
)

ReadCount = Callable[[], Awaitable[int]]
"""Reads the change count of a service. Raises DatabaseUnavailable, NeighbourUnavailable, NeighbourRefused."""


class ConfirmationService:
    def __init__(self, store: ConfirmationStore, counts: Mapping[str, ReadCount], interval: float) -> None:
        """`counts` has each service whose data public answers show. `interval` is in seconds."""
        self._store = store
        self._counts = counts
        self._interval = interval

    async def confirm(self) -> None:
        """Reads the counts that no replica of this service has read lately, if a gateway has use for them."""
        demand = await self._store.demand(list(self._counts))
        if demand is not None:
            # A count from the future was read by another clock of Redis, before a failover.
            due = [name for name in self._counts if not 0 <= demand.age_of(name) < self._interval / 2]
            await asyncio.gather(*(self._confirm(name, demand.now) for name in due))

    async def _confirm(self, service: str, now: int) -> None:
        """Writes the count of one service. If it cannot be read, the last confirmation stays, and is soon too old."""
        try:
            count = await self._counts[service]()
        except (DatabaseUnavailable, NeighbourUnavailable, NeighbourRefused):
            CONFIRMATIONS.labels(service, "failed").inc()
            return
        await self._store.put(service, count, now)
        CONFIRMATIONS.labels(service, "confirmed").inc()
