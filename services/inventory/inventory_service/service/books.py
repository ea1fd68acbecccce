"""Writing stock: the row, its movement in the ledger, and what others hear of it, all in the caller's transaction."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from chassis.grpc.wire import timestamp
from chassis.messaging.outbox import Outbox
from chassis.types.ids import UserId
from google.protobuf.message import Message
from prometheus_client import Counter
from shopapi.events.v1.events_pb2 import AvailabilityChanged, StockLow
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.domain.movements import Cause, movements
from inventory_service.domain.stock import Change, Stock
from inventory_service.repository.stock import StockRepository

MOVED = Counter("inventory_units_moved_total", "Units that came onto the shelf or left it", ["kind"])
FALLS = Counter("inventory_low_stock_total", "Falls of a product's stock below its threshold")


class Books:
    def __init__(
        self, outbox: Outbox, low_stock_threshold: int, now: Callable[[], datetime], new_id: Callable[[], UUID]
    ) -> None:
        """`low_stock_threshold` is that of products which have none of their own."""
        self._outbox = outbox
        self._low_stock_threshold = low_stock_threshold
        self._now = now
        self._new_id = new_id

    def stock(self, transaction: AsyncConnection) -> StockRepository:
        return StockRepository(transaction, self._low_stock_threshold)

    async def write(
        self, transaction: AsyncConnection, considered: Sequence[Change], cause: Cause | None = None
    ) -> bool:
        """Whether there is an event for the relay. The rows must be locked; `cause` may be left out where no unit moves."""
        changes = [change for change in considered if change.is_change or change.is_news]
        if not changes:
            return False
        repository, now = self.stock(transaction), self._now()
        await repository.store([change.result for change in changes])
        if cause is not None and (moved := movements(changes, cause, now)):
            await repository.append(moved)
            MOVED.labels(cause.kind).inc(sum(abs(movement.delta) for movement in moved))
        return await self._tell(transaction, changes, now)

    async def _tell(self, transaction: AsyncConnection, changes: Sequence[Change], now: datetime) -> bool:
        fallen = [change.result for change in changes if change.is_fall]
        FALLS.inc(len(fallen))
        news: list[tuple[Stock, Message]] = [
            *((change.result, _availability(change.result)) for change in changes if change.is_news),
            *((stock, _low(stock, stock.seller_id, now)) for stock in fallen if stock.seller_id is not None),
        ]
        for stock, payload in news:
            await self._outbox.record(transaction, self._new_id(), str(stock.product_id), payload, now)
        return bool(news)


def _availability(stock: Stock) -> AvailabilityChanged:
    return AvailabilityChanged(product_id=stock.product_id, is_available=stock.is_available, revision=stock.revision)


def _low(stock: Stock, seller_id: UserId, now: datetime) -> StockLow:
    return StockLow(
        product_id=stock.product_id,
        seller_id=seller_id,
        available=stock.available,
        threshold=stock.low_stock_threshold,
        at=timestamp(now),
    )
