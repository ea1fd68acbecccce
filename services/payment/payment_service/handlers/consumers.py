"""The consumers of the events of orders and users."""

from collections.abc import Sequence
from uuid import UUID

from chassis.messaging.inbox import EventHandler, handles
from chassis.types.ids import OrderId, UserId
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderPaidManually, UserErased
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.domain.failures import FailureCode
from payment_service.service.order_cancellation import OrderCancellation
from payment_service.service.payment_methods import PaymentMethodService


def event_handlers(cancellation: OrderCancellation, methods: PaymentMethodService) -> Sequence[EventHandler]:
    async def order_cancelled(transaction: AsyncConnection, event: OrderCancelled) -> None:
        await cancellation.record_within(transaction, OrderId(UUID(event.order_id)))

    async def order_paid_manually(transaction: AsyncConnection, event: OrderPaidManually) -> None:
        await cancellation.record_within(transaction, OrderId(UUID(event.order_id)), FailureCode.CANCELLED)

    async def user_erased(transaction: AsyncConnection, event: UserErased) -> None:
        await methods.erase_user_within(transaction, UserId(event.user_id))

    return [
        handles(OrderCancelled, order_cancelled),
        handles(OrderPaidManually, order_paid_manually),
        handles(UserErased, user_erased),
    ]
