"""What the rest of the shop tells, as causes of notifications: the facts that a message needs, and a key that names each fact."""

from collections.abc import Callable, Sequence
from datetime import UTC
from typing import TypeVar

from chassis.messaging.inbox import EventHandler, handles
from chassis.types.ids import UserId
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from shopapi.events.v1 import events_pb2 as pb
from shopapi.money.v1 import money_pb2
from sqlalchemy.ext.asyncio import AsyncConnection

from notification_service.domain.notifications import Cause, Template
from notification_service.service.notifying import Notifying

_P = TypeVar("_P", bound=Message)

_REASONS = {
    pb.CANCEL_REASON_BUYER: "buyer",
    pb.CANCEL_REASON_EXPIRED: "expired",
    pb.CANCEL_REASON_ADMIN: "admin",
    pb.CANCEL_REASON_OUT_OF_STOCK: "out_of_stock",
}


def effects(notifying: Notifying) -> Sequence[EventHandler]:
    def told(payload: type[_P], cause: Callable[[_P], Cause]) -> EventHandler:
        async def store(transaction: AsyncConnection, message: _P) -> None:
            await notifying.store_within(transaction, cause(message))

        return handles(payload, store)

    async def erased(transaction: AsyncConnection, user: pb.UserErased) -> None:
        await notifying.erase_within(transaction, UserId(user.user_id))

    return [
        told(pb.UserRegistered, registered),
        told(pb.EmailVerificationRequested, verification_requested),
        told(pb.PasswordResetRequested, reset_requested),
        told(pb.OrderPlaced, placed),
        told(pb.OrderConfirmed, paid),
        told(pb.OrderShipped, shipped),
        told(pb.OrderCancelled, cancelled),
        told(pb.PaymentRefunded, refunded),
        told(pb.StockLow, low),
        handles(pb.UserErased, erased),
    ]


def registered(user: pb.UserRegistered) -> Cause:
    facts = {"request_id": user.request_id}
    return Cause(f"user.registered:{user.user_id}", UserId(user.user_id), Template.WELCOME, facts)


def verification_requested(request: pb.EmailVerificationRequested) -> Cause:
    facts = {"request_id": request.request_id, "expires_at": _at(request.expires_at)}
    key = f"user.email_verification_requested:{request.request_id}"
    return Cause(key, UserId(request.user_id), Template.EMAIL_VERIFICATION, facts)


def reset_requested(request: pb.PasswordResetRequested) -> Cause:
    facts = {"request_id": request.request_id, "expires_at": _at(request.expires_at)}
    key = f"user.password_reset_requested:{request.request_id}"
    return Cause(key, UserId(request.user_id), Template.PASSWORD_RESET, facts)


def placed(order: pb.OrderPlaced) -> Cause:
    facts = {
        "order_id": order.order_id,
        "lines": [_line(line) for line in order.lines],
        "total": _money(order.total),
        "placed_at": _at(order.placed_at),
        "expires_at": _at(order.expires_at),
    }
    return Cause(f"order.placed:{order.order_id}", UserId(order.buyer_id), Template.ORDER_PLACED, facts)


def paid(order: pb.OrderConfirmed) -> Cause:
    facts = {
        "order_id": order.order_id,
        "lines": [_line(line) for line in order.lines],
        "total": _money(order.total),
        "confirmed_at": _at(order.confirmed_at),
    }
    return Cause(f"order.confirmed:{order.order_id}", UserId(order.buyer_id), Template.ORDER_PAID, facts)


def shipped(order: pb.OrderShipped) -> Cause:
    facts = {
        "order_id": order.order_id,
        "carrier": order.carrier,
        "tracking_number": order.tracking_number,
        "shipped_at": _at(order.shipped_at),
    }
    return Cause(f"order.shipped:{order.order_id}", UserId(order.buyer_id), Template.ORDER_SHIPPED, facts)


def cancelled(order: pb.OrderCancelled) -> Cause:
    facts = {
        "order_id": order.order_id,
        "cancel_reason": _REASONS.get(order.reason, ""),
        "total": _money(order.total),
        "cancelled_at": _at(order.cancelled_at),
    }
    return Cause(f"order.cancelled:{order.order_id}", UserId(order.buyer_id), Template.ORDER_CANCELLED, facts)


def refunded(refund: pb.PaymentRefunded) -> Cause:
    facts = {
        "order_id": refund.order_id,
        "amount": _money(refund.amount),
        "refunded_total": _money(refund.refunded_total),
        "refunded_at": _at(refund.refunded_at),
    }
    return Cause(f"payment.refunded:{refund.refund_id}", UserId(refund.buyer_id), Template.PAYMENT_REFUNDED, facts)


def low(stock: pb.StockLow) -> Cause:
    """A product on the brink runs low with every sale and return: its seller is told of the first fall of each day (UTC)."""
    facts = {"product_id": stock.product_id, "available": stock.available, "threshold": stock.threshold}
    key = f"stock.low:{stock.product_id}:{stock.at.ToDatetime(UTC).date()}"
    return Cause(key, UserId(stock.seller_id), Template.STOCK_LOW, facts)


def _line(line: pb.OrderLine) -> dict[str, object]:
    return {
        "product_id": line.product_id,
        "name": line.name,
        "quantity": line.quantity,
        "unit_price": _money(line.unit_price),
    }


def _money(amount: money_pb2.Money) -> dict[str, object] | None:
    """None for an amount that the event leaves out."""
    return {"amount": amount.amount, "currency": amount.currency} if amount.currency else None


def _at(stamp: Timestamp) -> str | None:
    """None for a time that the event leaves out."""
    return stamp.ToDatetime(UTC).isoformat() if stamp.seconds else None
