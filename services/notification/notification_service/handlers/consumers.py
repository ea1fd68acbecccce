"""Consumes the events that cause notifications.

Each event becomes a cause: the facts that its template needs, and the key that identifies what happened.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any

from chassis.messaging.inbox import EventHandler, handles
from chassis.types.ids import UserId
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from shopapi.events.v1 import events_pb2 as pb
from shopapi.money.v1 import money_pb2
from sqlalchemy.ext.asyncio import AsyncConnection

from notification_service.domain.notifications import Cause, Template
from notification_service.service.notification_recorder import NotificationRecorder

_REASONS = {
    pb.CANCEL_REASON_BUYER: "buyer",
    pb.CANCEL_REASON_EXPIRED: "expired",
    pb.CANCEL_REASON_ADMIN: "admin",
    pb.CANCEL_REASON_OUT_OF_STOCK: "out_of_stock",
}


def event_handlers(recorder: NotificationRecorder) -> Sequence[EventHandler]:
    async def record_all(transaction: AsyncConnection, messages: Sequence[Message]) -> None:
        await recorder.record(transaction, [cause for message in messages for cause in _causes(message)])

    async def record(transaction: AsyncConnection, message: Message) -> None:
        await record_all(transaction, [message])

    async def erase_account(transaction: AsyncConnection, user: pb.UserErased) -> None:
        await recorder.erase_account(transaction, UserId(user.user_id))

    return [
        *(handles(payload, record, apply_all=record_all) for payload in (*_CAUSES, pb.EmailChanged)),
        handles(pb.UserErased, erase_account),
    ]


def _causes(message: Message) -> Sequence[Cause]:
    if isinstance(message, pb.EmailChanged):
        return [email_changed(message, template) for template in (Template.EMAIL_CHANGED, Template.EMAIL_REPLACED)]
    return [_CAUSES[type(message)](message)]


def user_registered(user: pb.UserRegistered) -> Cause:
    facts = {"request_id": user.request_id}
    return Cause(f"user.registered:{user.user_id}", UserId(user.user_id), Template.WELCOME, facts)


def verification_requested(request: pb.EmailVerificationRequested) -> Cause:
    facts = {"request_id": request.request_id, "expires_at": _timestamp(request.expires_at)}
    key = f"user.email_verification_requested:{request.request_id}"
    return Cause(key, UserId(request.user_id), Template.EMAIL_VERIFICATION, facts)


def reset_requested(request: pb.PasswordResetRequested) -> Cause:
    facts = {"request_id": request.request_id, "expires_at": _timestamp(request.expires_at)}
    key = f"user.password_reset_requested:{request.request_id}"
    return Cause(key, UserId(request.user_id), Template.PASSWORD_RESET, facts)


def password_changed(change: pb.PasswordChanged) -> Cause:
    facts = {"changed_at": _timestamp(change.changed_at)}
    return Cause(f"user.password_changed:{change.change_id}", UserId(change.user_id), Template.PASSWORD_CHANGED, facts)


def email_changed(change: pb.EmailChanged, template: Template) -> Cause:
    """Returns the cause of the notice to the new address, or of that to the former one."""
    facts = {"change_id": change.request_id, "changed_at": _timestamp(change.changed_at)}
    return Cause(f"user.{template}:{change.request_id}", UserId(change.user_id), template, facts)


def new_device_login(login: pb.NewDeviceLogin) -> Cause:
    facts = {"logged_in_at": _timestamp(login.logged_in_at)}
    return Cause(f"user.new_device_login:{login.session_id}", UserId(login.user_id), Template.NEW_DEVICE, facts)


def order_placed(order: pb.OrderPlaced) -> Cause:
    facts = {
        "order_id": order.order_id,
        "lines": [_line(line) for line in order.lines],
        "total": _money(order.total),
        "placed_at": _timestamp(order.placed_at),
        "expires_at": _timestamp(order.expires_at),
    }
    return Cause(f"order.placed:{order.order_id}", UserId(order.buyer_id), Template.ORDER_PLACED, facts)


def order_confirmed(order: pb.OrderConfirmed) -> Cause:
    facts = {
        "order_id": order.order_id,
        "lines": [_line(line) for line in order.lines],
        "total": _money(order.total),
        "confirmed_at": _timestamp(order.confirmed_at),
    }
    return Cause(f"order.confirmed:{order.order_id}", UserId(order.buyer_id), Template.ORDER_PAID, facts)


def order_shipped(order: pb.OrderShipped) -> Cause:
    facts = {
        "order_id": order.order_id,
        "carrier": order.carrier,
        "tracking_number": order.tracking_number,
        "shipped_at": _timestamp(order.shipped_at),
    }
    correction = f":{order.correction}" if order.correction else ""
    return Cause(f"order.shipped:{order.order_id}{correction}", UserId(order.buyer_id), Template.ORDER_SHIPPED, facts)


def order_cancelled(order: pb.OrderCancelled) -> Cause:
    facts = {
        "order_id": order.order_id,
        "cancel_reason": _REASONS.get(order.reason, ""),
        "total": _money(order.total),
        "cancelled_at": _timestamp(order.cancelled_at),
    }
    return Cause(f"order.cancelled:{order.order_id}", UserId(order.buyer_id), Template.ORDER_CANCELLED, facts)


def payment_refunded(refund: pb.PaymentRefunded) -> Cause:
    facts = {
        "order_id": refund.order_id,
        "amount": _money(refund.amount),
        "refunded_total": _money(refund.refunded_total),
        "refunded_at": _timestamp(refund.refunded_at),
    }
    return Cause(f"payment.refunded:{refund.refund_id}", UserId(refund.buyer_id), Template.PAYMENT_REFUNDED, facts)


def stock_low(stock: pb.StockLow) -> Cause:
    """Returns one cause per product and day (UTC): stock may fall below its threshold many times a day."""
    facts = {"product_id": stock.product_id, "available": stock.available, "threshold": stock.threshold}
    key = f"stock.low:{stock.product_id}:{stock.at.ToDatetime(UTC).date()}"
    return Cause(key, UserId(stock.seller_id), Template.STOCK_LOW, facts)


_CAUSES: Mapping[type[Message], Callable[[Any], Cause]] = {
    pb.UserRegistered: user_registered,
    pb.EmailVerificationRequested: verification_requested,
    pb.PasswordResetRequested: reset_requested,
    pb.PasswordChanged: password_changed,
    pb.NewDeviceLogin: new_device_login,
    pb.OrderPlaced: order_placed,
    pb.OrderConfirmed: order_confirmed,
    pb.OrderShipped: order_shipped,
    pb.OrderCancelled: order_cancelled,
    pb.PaymentRefunded: payment_refunded,
    pb.StockLow: stock_low,
}
"""The cause that each event becomes; a change of address becomes two."""


def _line(line: pb.OrderLine) -> dict[str, object]:
    return {
        "product_id": line.product_id,
        "name": line.name,
        "quantity": line.quantity,
        "unit_price": _money(line.unit_price),
    }


def _money(amount: money_pb2.Money) -> dict[str, object] | None:
    """Returns None if the event does not have the amount."""
    return {"amount": amount.amount, "currency": amount.currency} if amount.currency else None


def _timestamp(stamp: Timestamp) -> str | None:
    """Returns None if the event does not have the time."""
    return stamp.ToDatetime(UTC).isoformat() if stamp.seconds else None
