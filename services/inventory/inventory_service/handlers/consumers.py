"""The handlers of the order events that change stock and reservations."""

from collections.abc import Iterable, Sequence
from datetime import UTC
from uuid import UUID

from chassis.messaging.inbox import EventHandler, handles
from chassis.types.ids import OrderId, ProductId
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced, OrderShipped
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.domain.stock import Line
from inventory_service.service.reservations import ReservationService


def event_handlers(reservations: ReservationService) -> Sequence[EventHandler]:
    async def order_placed(transaction: AsyncConnection, order: OrderPlaced) -> None:
        until = order.expires_at.ToDatetime(UTC)
        await reservations.reserve_placed_order(transaction, _order_id(order), _lines(order.lines), until)

    async def order_confirmed(transaction: AsyncConnection, order: OrderConfirmed) -> None:
        await reservations.commit_confirmed_order(transaction, _order_id(order), _lines(order.lines))

    async def order_shipped(transaction: AsyncConnection, order: OrderShipped) -> None:
        await reservations.fulfil_shipped_order(transaction, _order_id(order))

    async def order_cancelled(transaction: AsyncConnection, order: OrderCancelled) -> None:
        await reservations.release_cancelled_order(transaction, _order_id(order))

    return [
        handles(OrderPlaced, order_placed),
        handles(OrderConfirmed, order_confirmed),
        handles(OrderShipped, order_shipped),
        handles(OrderCancelled, order_cancelled),
    ]


def _order_id(order: OrderPlaced | OrderConfirmed | OrderShipped | OrderCancelled) -> OrderId:
    return OrderId(UUID(order.order_id))


def _lines(lines: Iterable[OrderLine]) -> list[Line]:
    return [Line(ProductId(line.product_id), line.quantity) for line in lines]
