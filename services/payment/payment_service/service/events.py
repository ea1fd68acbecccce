"""What this service tells the others."""

from datetime import datetime

from chassis.grpc.wire import timestamp
from chassis.types.money import Money
from shopapi.events.v1 import events_pb2 as pb
from shopapi.money.v1 import money_pb2

from payment_service.domain.payments import Payment, Refund


def completed(payment: Payment, at: datetime) -> pb.PaymentCompleted:
    return pb.PaymentCompleted(
        payment_id=str(payment.id),
        order_id=str(payment.order_id),
        buyer_id=payment.buyer_id,
        amount=_money(payment.amount),
        completed_at=timestamp(at),
    )


def refunded(payment: Payment, refund: Refund, at: datetime) -> pb.PaymentRefunded:
    """`payment` counts the refund already."""
    return pb.PaymentRefunded(
        refund_id=str(refund.id),
        payment_id=str(payment.id),
        order_id=str(payment.order_id),
        buyer_id=payment.buyer_id,
        amount=_money(refund.amount),
        refunded_total=_money(Money(payment.refunded, payment.amount.currency)),
        refunded_at=timestamp(at),
    )


def _money(amount: Money) -> money_pb2.Money:
    return money_pb2.Money(amount=amount.amount, currency=amount.currency)
