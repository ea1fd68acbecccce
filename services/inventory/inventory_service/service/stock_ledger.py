"""The stock ledger: stores a product's stock, its movements and its events, all in the caller's transaction."""

from collections.abc import Callable, Sequence
from datetime import datetime

from chassis.database.statements import Connection
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.domain.movements import MovementCause, movements_of
from inventory_service.domain.stock import StockChange
from inventory_service.repository.stock import StockReader, StockRepository
from inventory_service.service.published_events import PublishedEvents

MOVED = Counter("inventory_units_moved_total", "Units that came into stock or left it", ["kind"])
BECAME_LOW = Counter("inventory_low_stock_total", "Times that a product's stock fell below its threshold")


class StockLedger:
    def __init__(self, events: PublishedEvents, low_stock_threshold: int, now: Callable[[], datetime]) -> None:
        """`low_stock_threshold`, in units, applies to products without a threshold of their own."""
        self._events = events
        self._low_stock_threshold = low_stock_threshold
        self._now = now

    def reader(self, connection: Connection) -> StockReader:
        return StockReader(connection, self._low_stock_threshold)

    def repository(self, transaction: AsyncConnection) -> StockRepository:
        return StockRepository(transaction, self._low_stock_threshold)

    async def record(
        self, transaction: AsyncConnection, changes: Sequence[StockChange], cause: MovementCause | None = None
    ) -> None:
        """Stores the changed stock, its movements and its events.

        The stock rows must be locked. `cause` may be left out where no unit moves.
        """
        effective = [change for change in changes if change.is_effective]
        if not effective:
            return
        repository, now = self.repository(transaction), self._now()
        await repository.store([change.result for change in effective])
        if cause is not None and (movements := movements_of(effective, cause, now)):
            await repository.append(movements)
            MOVED.labels(cause.kind).inc(sum(abs(movement.delta) for movement in movements))
        await self._record_events(transaction, effective, now)

    async def _record_events(self, transaction: AsyncConnection, changes: Sequence[StockChange], now: datetime) -> None:
        for change in changes:
            if change.changes_published_availability:
                await self._events.availability_changed(transaction, change.result, now)
        low = [change.result for change in changes if change.becomes_low]
        BECAME_LOW.inc(len(low))
        for stock in low:
            if stock.seller_id is not None:
                await self._events.stock_low(transaction, stock, stock.seller_id, now)
