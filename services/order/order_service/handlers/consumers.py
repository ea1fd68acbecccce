"""The events that this service consumes, and the use case that each of them starts."""

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

from order_service.domain.items import Item
from order_service.domain.orders import Payment, Refund
from order_service.service.erasure import erase_buyer
from order_service.service.orders import OrderService
from order_service.service.sales import SalesReports


def event_handlers(orders: OrderService, reports: SalesReports) -> Sequence[EventHandler]:
    async def order_confirmed(transaction: AsyncConnection, event: OrderConfirmed) -> None:
        items, at = [_item(line) for line in event.lines], event.confirmed_at.ToDatetime(UTC)
        await reports.record_sale(transaction, _order_id(event.order_id), items, _money(event.total), at)

    async def payment_completed(transaction: AsyncConnection, event: PaymentCompleted) -> None:
        payment = Payment(event.payment_id, _money(event.amount), event.completed_at.ToDatetime(UTC))
        await orders.record_payment(transaction, _order_id(event.order_id), payment)

    async def payment_refunded(transaction: AsyncConnection, event: PaymentRefunded) -> None:
        at = event.refunded_at.ToDatetime(UTC)
        refund = Refund(event.refund_id, event.payment_id, _money(event.amount), at)
        await orders.record_refund(transaction, _order_id(event.order_id), refund)

    async def reservation_rejected(transaction: AsyncConnection, event: ReservationRejected) -> None:
        await orders.cancel_out_of_stock(transaction, _order_id(event.order_id))

    async def user_erased(transaction: AsyncConnection, event: UserErased) -> None:
        await erase_buyer(transaction, orders, UserId(event.user_id), event.erased_at.ToDatetime(UTC))

    return [
        handles(OrderConfirmed, order_confirmed),
        handles(PaymentCompleted, payment_completed),
        handles(PaymentRefunded, payment_refunded),
        handles(ReservationRejected, reservation_rejected),
        handles(UserErased, user_erased),
    ]


def _order_id(text: str) -> OrderId:
    return OrderId(UUID(text))


def _money(message: money_pb2.Money) -> Money:
    return Money(message.amount, message.currency)


def _item(line: OrderLine) -> Item:
    price = _money(line.unit_price)
    return Item(ProductId(line.product_id), line.name, line.quantity, price, UserId(line.seller_id))
