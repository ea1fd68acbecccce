"""What orders do to stock."""

from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

from chassis.inbox import Effect, when
from chassis.kernel.ids import OrderId, ProductId
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderPlaced
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.domain.stock import Line
from inventory_service.service.stock import StockKeeping


def effects(stock: StockKeeping) -> Sequence[Effect]:
    async def placed(transaction: AsyncConnection, order: OrderPlaced) -> None:
        lines = [Line(ProductId(line.product_id), line.quantity) for line in order.lines]
        await stock.extend_within(transaction, OrderId(UUID(order.order_id)), lines, order.expires_at.ToDatetime(UTC))

    async def cancelled(transaction: AsyncConnection, order: OrderCancelled) -> None:
        await stock.release_within(transaction, OrderId(UUID(order.order_id)))

    return [when(OrderPlaced, placed), when(OrderCancelled, cancelled)]
