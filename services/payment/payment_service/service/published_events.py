"""The events that this service publishes."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from chassis.grpc.wire import timestamp
from chassis.messaging.outbox import Outbox
from chassis.types.money import Money
from shopapi.events.v1 import events_pb2 as pb
from shopapi.money.v1 import money_pb2
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.domain.payments import Payment, Refund


class PublishedEvents:
    """Builds events and records them in the outbox, each in the transaction that caused it."""

    def __init__(self, outbox: Outbox, new_id: Callable[[], UUID]) -> None:
        self._outbox = outbox
        self._new_id = new_id

    async def record_payment_completed(self, transaction: AsyncConnection, payment: Payment, at: datetime) -> None:
        payload = pb.PaymentCompleted(
            payment_id=str(payment.id),
            order_id=str(payment.order_id),
            buyer_id=payment.buyer_id,
            amount=_money(payment.amount),
            completed_at=timestamp(at),
        )
        await self._outbox.record(transaction, self._new_id(), str(payment.order_id), payload, at)

    async def record_payment_refunded(
        self, transaction: AsyncConnection, payment: Payment, refund: Refund, at: datetime
    ) -> None:
        """Records that a refund succeeded; `payment.refunded` includes it already."""
        payload = pb.PaymentRefunded(
            refund_id=str(refund.id),
            payment_id=str(payment.id),
            order_id=str(payment.order_id),
            buyer_id=payment.buyer_id,
            amount=_money(refund.amount),
            refunded_total=_money(Money(payment.refunded, payment.amount.currency)),
            refunded_at=timestamp(at),
        )
        await self._outbox.record(transaction, self._new_id(), str(payment.order_id), payload, at)


def _money(amount: Money) -> money_pb2.Money:
    return money_pb2.Money(amount=amount.amount, currency=amount.currency)
