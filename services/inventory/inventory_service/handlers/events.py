"""What orders do to stock."""

from collections.abc import Iterable, Sequence
from datetime import UTC
from uuid import UUID

from chassis.messaging.inbox import EventHandler, handles
from chassis.types.ids import OrderId, ProductId
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.domain.stock import Line
from inventory_service.service.reservations import Reservations


def effects(reservations: Reservations) -> Sequence[EventHandler]:
    async def placed(transaction: AsyncConnection, order: OrderPlaced) -> None:
        until = order.expires_at.ToDatetime(UTC)
        await reservations.placed_within(transaction, OrderId(UUID(order.order_id)), _lines(order.lines), until)

    async def confirmed(transaction: AsyncConnection, order: OrderConfirmed) -> None:
        await reservations.confirmed_within(transaction, OrderId(UUID(order.order_id)), _lines(order.lines))

    async def cancelled(transaction: AsyncConnection, order: OrderCancelled) -> None:
        await reservations.cancelled_within(transaction, OrderId(UUID(order.order_id)))

    return [handles(OrderPlaced, placed), handles(OrderConfirmed, confirmed), handles(OrderCancelled, cancelled)]


def _lines(lines: Iterable[OrderLine]) -> list[Line]:
    return [Line(ProductId(line.product_id), line.quantity) for line in lines]
