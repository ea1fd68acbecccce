"""Every step of an order is stored in one way: its row, its history, its event, and what must be forgotten at its end."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from chassis.messaging.outbox import Outbox
from chassis.observability import logs
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.orders import Order, OrderStatus
from order_service.repository.buyers import BuyerRepository
from order_service.repository.orders import OrderRepository
from order_service.service import events

PLACED = Counter("orders_placed_total", "Orders that were placed")
REVENUE = Counter("orders_revenue_minor_units_total", "Totals of the orders that were placed", ["currency"])
MOVED = Counter("orders_moved_total", "Orders that reached a status, but by being placed", ["status"])
CANCELLED = Counter("orders_cancelled_total", "Orders that were cancelled", ["reason"])

log = logs.get_logger(__name__)


class Journal:
    def __init__(self, outbox: Outbox, new_id: Callable[[], UUID]) -> None:
        self._outbox = outbox
        self._new_id = new_id

    def wake(self) -> None:
        """Says that what was recorded has just been committed."""
        self._outbox.wake()

    async def placed(self, transaction: AsyncConnection, order: Order) -> Order:
        """The order as it is stored: this one, or the one that a request under the same key has stored first."""
        stored = await OrderRepository(transaction).add_once(order)
        if stored is order:
            payload = events.placed(order)
            await self._outbox.record(transaction, self._new_id(), str(order.id), payload, order.created_at)
        return stored

    async def moved(self, transaction: AsyncConnection, before: Order, after: Order) -> Order:
        """The order as it is stored now. Its row must be locked; where nothing has changed, nothing happens."""
        if after is before:
            return before
        if after.status.is_final and await BuyerRepository(transaction).is_erased(after.buyer_id):
            after = replace(after, shipping_address=None)
        await OrderRepository(transaction).store_change(before, after)
        await self._announce(transaction, after, after.history[-1].at)
        MOVED.labels(after.status).inc()
        if after.status is OrderStatus.CANCELLED:
            CANCELLED.labels(after.cancel_reason).inc()
        log.info("order moved", order_id=str(after.id), status=after.status, reason=after.cancel_reason)
        return after

    async def _announce(self, transaction: AsyncConnection, order: Order, at: datetime) -> None:
        payload = events.became(order, at)
        if payload is not None:
            await self._outbox.record(transaction, self._new_id(), str(order.id), payload, at)
