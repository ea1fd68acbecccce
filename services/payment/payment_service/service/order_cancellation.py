"""The use case of an order that was cancelled or paid manually: its payments are closed or refunded."""

from collections.abc import Callable
from datetime import datetime

from chassis.types.ids import OrderId
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.domain.failures import Failure, FailureCode
from payment_service.repository.check_schedule import PAYMENT_CHECKS
from payment_service.repository.payments import PaymentRepository
from payment_service.service.refund_reconciler import RefundReconciler


class OrderCancellation:
    def __init__(self, refunds: RefundReconciler, now: Callable[[], datetime]) -> None:
        self._refunds = refunds
        self._now = now

    async def record_within(
        self, transaction: AsyncConnection, order_id: OrderId, code: FailureCode = FailureCode.ORDER_CANCELLED
    ) -> None:
        """Records that nothing may be captured for the order: closes open payments, for `code`, and refunds others.

        An order that was paid manually is recorded as a cancelled one, too.

        The provider is not called here: the sweeper does that next.
        """
        repository, now = PaymentRepository(transaction), self._now()
        await repository.lock_order(order_id)
        await repository.cancel_order(order_id, now)
        for payment in await repository.lock_all_of_order(order_id):
            if payment.is_open:
                await repository.store(payment.closing(Failure(code), now))
                await PAYMENT_CHECKS.reschedule(transaction, payment.id, now)
            else:
                await self._refunds.refund_remainder_within(transaction, payment)
