"""What this service tells the others."""

from datetime import datetime

from chassis.grpc.wire import timestamp
from chassis.types.money import Money
from google.protobuf.message import Message
from shopapi.events.v1 import events_pb2 as pb
from shopapi.money.v1 import money_pb2

from order_service.domain.orders import CancelReason, Item, Order, OrderStatus, Parcel

_REASONS = {
    CancelReason.BUYER: pb.CANCEL_REASON_BUYER,
    CancelReason.EXPIRED: pb.CANCEL_REASON_EXPIRED,
    CancelReason.ADMIN: pb.CANCEL_REASON_ADMIN,
    CancelReason.OUT_OF_STOCK: pb.CANCEL_REASON_OUT_OF_STOCK,
}


def placed(order: Order) -> pb.OrderPlaced:
    return pb.OrderPlaced(
        order_id=str(order.id),
        buyer_id=order.buyer_id,
        lines=[_line(item) for item in order.items],
        total=money(order.total),
        placed_at=timestamp(order.created_at),
        expires_at=timestamp(order.expires_at),
    )


def became(order: Order, at: datetime) -> Message | None:
    """What the others hear of the status that an order just reached; None for what is nobody's business."""
    if order.status is OrderStatus.CONFIRMED:
        return _confirmed(order, at)
    if order.status is OrderStatus.SHIPPED:
        return _shipped(order, at)
    if order.status is OrderStatus.CANCELLED and order.cancel_reason is not None:
        return _cancelled(order, order.cancel_reason, at)
    return None


def money(amount: Money) -> money_pb2.Money:
    return money_pb2.Money(amount=amount.amount, currency=amount.currency)


def _confirmed(order: Order, at: datetime) -> pb.OrderConfirmed:
    return pb.OrderConfirmed(
        order_id=str(order.id),
        buyer_id=order.buyer_id,
        lines=[_line(item) for item in order.items],
        total=money(order.total),
        confirmed_at=timestamp(at),
    )


def _shipped(order: Order, at: datetime) -> pb.OrderShipped:
    parcel = order.shipment or Parcel()
    return pb.OrderShipped(
        order_id=str(order.id),
        buyer_id=order.buyer_id,
        carrier=parcel.carrier or "",
        tracking_number=parcel.tracking_number or "",
        shipped_at=timestamp(at),
    )


def _cancelled(order: Order, reason: CancelReason, at: datetime) -> pb.OrderCancelled:
    return pb.OrderCancelled(
        order_id=str(order.id),
        buyer_id=order.buyer_id,
        reason=_REASONS[reason],
        cancelled_at=timestamp(at),
        total=money(order.total),
    )


def _line(item: Item) -> pb.OrderLine:
    return pb.OrderLine(
        product_id=item.product_id,
        quantity=item.quantity,
        unit_price=money(item.unit_price),
        name=item.name,
        seller_id=item.seller_id,
    )
