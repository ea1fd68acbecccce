"""What orders and users do to payments."""

from collections.abc import Sequence
from uuid import UUID

from chassis.messaging.inbox import EventHandler, handles
from chassis.types.ids import OrderId, UserId
from shopapi.events.v1.events_pb2 import OrderCancelled, UserErased
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.service.settling import Settlement
from payment_service.service.wallets import Wallets


def effects(settlement: Settlement, wallets: Wallets) -> Sequence[EventHandler]:
    async def cancelled(transaction: AsyncConnection, order: OrderCancelled) -> None:
        await settlement.cancel_order_within(transaction, OrderId(UUID(order.order_id)))

    async def erased(transaction: AsyncConnection, user: UserErased) -> None:
        await wallets.erase_within(transaction, UserId(user.user_id))

    return [handles(OrderCancelled, cancelled), handles(UserErased, erased)]
