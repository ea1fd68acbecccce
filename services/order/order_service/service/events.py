"""What this service tells the others."""

from datetime import datetime

from chassis.kernel.money import Money
from chassis.wire import timestamp
from shopapi.events.v1 import events_pb2 as pb
from shopapi.money.v1 import money_pb2

from order_service.domain.orders import CancelReason, Order

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
        lines=[
            pb.OrderLine(product_id=item.product_id, quantity=item.quantity, unit_price=_money(item.unit_price))
            for item in order.items
        ],
        total=_money(order.total),
        placed_at=timestamp(order.created_at),
        expires_at=timestamp(order.expires_at),
    )


def cancelled(order: Order, reason: CancelReason, at: datetime) -> pb.OrderCancelled:
    return pb.OrderCancelled(
        order_id=str(order.id), buyer_id=order.buyer_id, reason=_REASONS[reason], cancelled_at=timestamp(at)
    )


def _money(amount: Money) -> money_pb2.Money:
    return money_pb2.Money(amount=amount.amount, currency=amount.currency)
