"""Builds the events that this service publishes, and records them in the outbox."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from chassis.grpc.wire import timestamp
from chassis.messaging.outbox import Outbox
from chassis.types.money import Money
from google.protobuf.message import Message
from shopapi.events.v1 import events_pb2 as pb
from shopapi.money.v1 import money_pb2
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.items import Item
from order_service.domain.orders import CancelReason, ManualPayment, Order, OrderStatus, Shipment

_REASONS = {
    CancelReason.BUYER: pb.CANCEL_REASON_BUYER,
    CancelReason.EXPIRED: pb.CANCEL_REASON_EXPIRED,
    CancelReason.ADMIN: pb.CANCEL_REASON_ADMIN,
    CancelReason.OUT_OF_STOCK: pb.CANCEL_REASON_OUT_OF_STOCK,
}


class OrderEvents:
    """Records events in the caller's transaction; the outbox relay publishes them after its commit."""

    def __init__(self, outbox: Outbox, new_id: Callable[[], UUID]) -> None:
        self._outbox = outbox
        self._new_id = new_id

    async def record_placed(self, transaction: AsyncConnection, order: Order) -> None:
        await self._record(transaction, order, _order_placed(order), order.created_at)

    async def record_status_change(self, transaction: AsyncConnection, order: Order) -> None:
        """Records the event of the status that the order has just reached, if that status has one."""
        at = order.history[-1].at
        payload = _status_event(order, at)
        if payload is not None:
            await self._record(transaction, order, payload, at)

    async def record_paid_manually(self, transaction: AsyncConnection, order: Order, payment: ManualPayment) -> None:
        payload = pb.OrderPaidManually(
            order_id=str(order.id),
            buyer_id=order.buyer_id,
            amount=_money(payment.amount),
            paid_at=timestamp(payment.at),
        )
        await self._record(transaction, order, payload, payment.at)

    async def record_shipment_correction(self, transaction: AsyncConnection, order: Order, at: datetime) -> None:
        shipped_at = next(change.at for change in order.history if change.status is OrderStatus.SHIPPED)
        await self._record(transaction, order, _order_shipped(order, shipped_at), at)

    async def _record(self, transaction: AsyncConnection, order: Order, payload: Message, at: datetime) -> None:
        await self._outbox.record(transaction, self._new_id(), str(order.id), payload, at)


def _order_placed(order: Order) -> pb.OrderPlaced:
    return pb.OrderPlaced(
        order_id=str(order.id),
        buyer_id=order.buyer_id,
        lines=[_line(item) for item in order.items],
        total=_money(order.total),
        placed_at=timestamp(order.created_at),
        expires_at=timestamp(order.expires_at),
    )


def _status_event(order: Order, at: datetime) -> Message | None:
    """Returns the event of the order's status; None for processing and delivered, which concern no other service."""
    if order.status is OrderStatus.CONFIRMED:
        return _order_confirmed(order, at)
    if order.status is OrderStatus.SHIPPED:
        return _order_shipped(order, at)
    if order.status is OrderStatus.CANCELLED and order.cancel_reason is not None:
        return _order_cancelled(order, order.cancel_reason, at)
    return None


def _order_confirmed(order: Order, at: datetime) -> pb.OrderConfirmed:
    return pb.OrderConfirmed(
        order_id=str(order.id),
        buyer_id=order.buyer_id,
        lines=[_line(item) for item in order.items],
        total=_money(order.total),
        confirmed_at=timestamp(at),
    )


def _order_shipped(order: Order, at: datetime) -> pb.OrderShipped:
    shipment = order.shipment or Shipment()
    return pb.OrderShipped(
        order_id=str(order.id),
        buyer_id=order.buyer_id,
        carrier=shipment.carrier or "",
        tracking_number=shipment.tracking_number or "",
        shipped_at=timestamp(at),
        correction=len(order.former_shipments),
    )


def _order_cancelled(order: Order, reason: CancelReason, at: datetime) -> pb.OrderCancelled:
    return pb.OrderCancelled(
        order_id=str(order.id),
        buyer_id=order.buyer_id,
        reason=_REASONS[reason],
        cancelled_at=timestamp(at),
        total=_money(order.total),
    )


def _line(item: Item) -> pb.OrderLine:
    return pb.OrderLine(
        product_id=item.product_id,
        quantity=item.quantity,
        unit_price=_money(item.unit_price),
        name=item.name,
        seller_id=item.seller_id,
    )


def _money(amount: Money) -> money_pb2.Money:
    return money_pb2.Money(amount=amount.amount, currency=amount.currency)
