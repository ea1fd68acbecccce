"""What payments, inventory and users do to orders, and confirmed orders to the sales figures."""

from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

from chassis.messaging.inbox import EventHandler, handles
from chassis.types.ids import OrderId, ProductId, UserId
from chassis.types.money import Money
from shopapi.events.v1.events_pb2 import (
    OrderConfirmed,
    OrderLine,
    PaymentCompleted,
    PaymentRefunded,
    ReservationRejected,
    UserErased,
)
from shopapi.money.v1 import money_pb2
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.orders import Item, Payment, Refund
from order_service.service.erasure import erase_within
from order_service.service.orders import Ordering
from order_service.service.sales import Sales


def effects(ordering: Ordering, sales: Sales) -> Sequence[EventHandler]:
    async def confirmed(transaction: AsyncConnection, order: OrderConfirmed) -> None:
        items, at = [_item(line) for line in order.lines], order.confirmed_at.ToDatetime(UTC)
        await sales.sold_within(transaction, _order(order.order_id), items, _money(order.total), at)

    async def paid(transaction: AsyncConnection, payment: PaymentCompleted) -> None:
        at = payment.completed_at.ToDatetime(UTC)
        received = Payment(payment.payment_id, _money(payment.amount), at)
        await ordering.paid_within(transaction, _order(payment.order_id), received)

    async def refunded(transaction: AsyncConnection, refund: PaymentRefunded) -> None:
        at = refund.refunded_at.ToDatetime(UTC)
        given_back = Refund(refund.refund_id, refund.payment_id, _money(refund.amount), at)
        await ordering.refunded_within(transaction, _order(refund.order_id), given_back)

    async def rejected(transaction: AsyncConnection, reservation: ReservationRejected) -> None:
        await ordering.reject_within(transaction, _order(reservation.order_id))

    async def erased(transaction: AsyncConnection, user: UserErased) -> None:
        await erase_within(transaction, UserId(user.user_id), user.erased_at.ToDatetime(UTC))

    return [
        handles(OrderConfirmed, confirmed),
        handles(PaymentCompleted, paid),
        handles(PaymentRefunded, refunded),
        handles(ReservationRejected, rejected),
        handles(UserErased, erased),
    ]


def _order(written: str) -> OrderId:
    return OrderId(UUID(written))


def _money(written: money_pb2.Money) -> Money:
    return Money(written.amount, written.currency)


def _item(line: OrderLine) -> Item:
    price = _money(line.unit_price)
    return Item(ProductId(line.product_id), line.name, line.quantity, price, UserId(line.seller_id))
