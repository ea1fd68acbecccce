"""The events that this service publishes, recorded in the outbox within the caller's transaction."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from chassis.grpc.wire import timestamp
from chassis.messaging.outbox import Outbox
from chassis.types.ids import OrderId, UserId
from shopapi.events.v1.events_pb2 import AvailabilityChanged, ReservationRejected, StockLow
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.domain.stock import Stock


class PublishedEvents:
    def __init__(self, outbox: Outbox, new_id: Callable[[], UUID]) -> None:
        self._outbox = outbox
        self._new_id = new_id

    async def availability_changed(self, transaction: AsyncConnection, stock: Stock, at: datetime) -> None:
        payload = AvailabilityChanged(
            product_id=stock.product_id, is_available=stock.is_available, revision=stock.revision
        )
        await self._outbox.record(transaction, self._new_id(), str(stock.product_id), payload, at)

    async def stock_low(self, transaction: AsyncConnection, stock: Stock, seller_id: UserId, at: datetime) -> None:
        payload = StockLow(
            product_id=stock.product_id,
            seller_id=seller_id,
            available=stock.available,
            threshold=stock.low_stock_threshold,
            at=timestamp(at),
        )
        await self._outbox.record(transaction, self._new_id(), str(stock.product_id), payload, at)

    async def reservation_rejected(self, transaction: AsyncConnection, order_id: OrderId, at: datetime) -> None:
        payload = ReservationRejected(order_id=str(order_id), rejected_at=timestamp(at))
        await self._outbox.record(transaction, self._new_id(), str(order_id), payload, at)
