"""Brings refunds to the state that they have at the provider. Works like the payment reconciler; see there."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database.engine import Database
from chassis.observability import logs
from chassis.types.charges import ChargeRules
from chassis.types.money import Money
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.clients.provider import Provider, ProviderRefund
from payment_service.domain.errors import ProviderRefused, RefundExceedsCaptured
from payment_service.domain.payments import Payment, Refund, RefundId, RefundStatus, refund_retry_delay
from payment_service.repository.check_schedule import PAYMENT_CHECKS, REFUND_CHECKS
from payment_service.repository.payments import PaymentRepository
from payment_service.repository.refunds import RefundRepository
from payment_service.service.published_events import PublishedEvents

REFUNDS = Counter("refunds_total", "Refunds that were finished, by their final status", ["status"])
REFUNDED = Counter("refunds_minor_units_total", "Money that was refunded, in minor units", ["currency"])
DISCREPANCIES = Counter(
    "payment_discrepancies_total",
    "Payments and refunds on which the provider and this service disagree; an operator must look at each",
)

ORDER_CANCELLED = "order_cancelled"
_MADE_AT_PROVIDER = "made_at_the_provider"
_WRONG_AMOUNT = "wrong_amount"

log = logs.get_logger(__name__)


class RefundReconciler:
    def __init__(
        self,
        database: Database,
        provider: Provider,
        events: PublishedEvents,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        sweep_after: timedelta,
    ) -> None:
        """`sweep_after` is how long a new refund is left to its request before the sweeper checks it."""
        self._database = database
        self._provider = provider
        self._events = events
        self._now = now
        self._new_id = new_id
        self._sweep_after = sweep_after

    @property
    def charge_rules(self) -> ChargeRules:
        return self._provider.charge_rules

    async def reconcile(self, refund: Refund, *, is_repeated: bool) -> Refund:
        """Pays a pending refund at the provider, or asks what became of it, and returns it as it is then.

        It stays pending while the provider processes it. `is_repeated` says that an earlier call may have paid it.
        Raises ProviderUnavailable if the outcome is unknown.
        """
        if refund.status is not RefundStatus.PENDING:
            return refund
        async with self._database.begin() as transaction:
            payment = await PaymentRepository(transaction).find(refund.payment_id)
        if payment is None or payment.intent_id is None:
            raise LookupError(f"refund {refund.id} belongs to no captured payment")
        try:
            answer = await self._call_provider(refund, payment.intent_id, is_repeated=is_repeated)
        except ProviderRefused as refusal:
            reason = refusal.failure.reason
            answer = ProviderRefund(refund.provider_ref or "", RefundStatus.FAILED, refund.amount, reason)
        return await self._record(refund, answer)

    async def import_provider_refunds(self, payment: Payment) -> None:
        """Records the refunds of a captured payment that were made in the provider's dashboard.

        So what was refunded there is not refunded here again. Raises ProviderUnavailable.
        """
        if payment.captured == 0 or payment.intent_id is None:
            return
        for made in await self._provider.list_refunds(payment.intent_id):
            if made.refund_id is None and made.status is not RefundStatus.FAILED:
                imported = await self._import(payment, made)
                if imported is not None:
                    await self.reconcile(imported, is_repeated=True)

    async def refund_remainder_within(
        self, transaction: AsyncConnection, payment: Payment, reason: str = ORDER_CANCELLED
    ) -> None:
        """Records a refund of all that is left of a captured payment; the sweeper pays it at once.

        Its row must be locked.
        """
        if payment.refundable == 0:
            return
        now = self._now()
        amount = Money(payment.refundable, payment.amount.currency)
        refund = Refund(RefundId(self._new_id()), payment.id, amount, now, reason=reason)
        await add_refund_within(transaction, payment, refund, next_check_at=now)

    async def _call_provider(self, refund: Refund, intent_id: str, *, is_repeated: bool) -> ProviderRefund:
        if refund.provider_ref is None:
            return await self._provider.create_refund(refund, intent_id, is_repeated=is_repeated)
        return await self._provider.get_refund(refund.provider_ref)

    async def _record(self, refund: Refund, answer: ProviderRefund) -> Refund:
        """Stores the provider's answer and its event in one transaction, unless another process already has."""
        async with self._database.begin() as transaction:
            payment, _ = await PaymentRepository(transaction).lock_with_order(refund.payment_id)
            refund = await RefundRepository(transaction).lock(refund.id)
            if refund.status is not RefundStatus.PENDING:
                return refund
            refund = await self._apply_within(transaction, payment, refund, answer)
        _count(refund)
        return refund

    async def _apply_within(
        self, transaction: AsyncConnection, payment: Payment, refund: Refund, answer: ProviderRefund
    ) -> Refund:
        """Applies the provider's answer to a pending refund and its payment. Both rows must be locked."""
        now = self._now()
        refund = replace(refund, provider_ref=answer.id or None)
        if answer.amount != refund.amount:
            payment, refund, answer = self._correct(payment, refund, answer, now)
        if answer.status is RefundStatus.SUCCEEDED:
            refund = refund.succeeded(now)
            payment = payment.refund_succeeded(refund.amount.amount, now)
            if not payment.is_wrongly_captured:  # no one was told that it was captured either
                await self._events.record_payment_refunded(transaction, payment, refund, now)
        elif answer.status is RefundStatus.FAILED:
            refund = refund.failed(answer.reason, now)
            payment = payment.refund_failed(refund.amount.amount, now)
            await self._retry_within(transaction, payment, now)
        await RefundRepository(transaction).store(refund)
        await PaymentRepository(transaction).store(payment)
        if refund.status is not RefundStatus.PENDING:
            await REFUND_CHECKS.clear(transaction, refund.id)
        return refund

    def _correct(
        self, payment: Payment, refund: Refund, answer: ProviderRefund, now: datetime
    ) -> tuple[Payment, Refund, ProviderRefund]:
        """Takes over the amount that the provider refunds, and reports it for an operator to look at.

        A refund whose amount cannot be one of this payment has failed.
        """
        DISCREPANCIES.inc()
        log.error("the provider refunds another amount", refund_id=str(refund.id), amount=str(answer.amount))
        if answer.amount is not None and answer.amount.currency == refund.amount.currency:
            try:
                corrected = payment.refund_corrected(refund.amount.amount, answer.amount.amount, now)
            except RefundExceedsCaptured:
                pass
            else:
                return corrected, refund.corrected(answer.amount), answer
        return payment, refund, replace(answer, status=RefundStatus.FAILED, reason=_WRONG_AMOUNT)

    async def _retry_within(self, transaction: AsyncConnection, payment: Payment, now: datetime) -> None:
        """Schedules another refund if all of the payment must go back, however long that takes.

        The first one follows at once: the check of the payment finds the refunds that were made at the provider, for
        which too little was left.
        """
        if payment.is_wrongly_captured or await PaymentRepository(transaction).is_order_cancelled(payment.order_id):
            refused = await RefundRepository(transaction).count_refused(payment.id)
            delay = refund_retry_delay(refused - 1) if refused else timedelta()
            await PAYMENT_CHECKS.reschedule(transaction, payment.id, now + delay)

    async def _import(self, payment: Payment, made: ProviderRefund) -> Refund | None:
        """Records a refund that was made at the provider, as pending.

        Returns None if it is recorded already, or if its amount cannot be one of this payment: that is reported, for an
        operator to look at, and does not hold up other refunds.
        """
        now = self._now()
        async with self._database.begin() as transaction:
            payment = await PaymentRepository(transaction).lock(payment.id)
            if await RefundRepository(transaction).find_id_by_provider_ref(made.id) is not None:
                return None
            if (
                made.amount is None
                or made.amount.currency != payment.amount.currency
                or made.amount.amount > payment.refundable
            ):
                DISCREPANCIES.inc()
                log.error(
                    "the provider refunded more than is left of a payment", payment_id=str(payment.id), refund=made.id
                )
                return None
            refund = Refund(
                RefundId(self._new_id()), payment.id, made.amount, now, _MADE_AT_PROVIDER, provider_ref=made.id
            )
            await add_refund_within(transaction, payment, refund, next_check_at=now + self._sweep_after)
        log.info("a refund was made at the provider", refund_id=str(refund.id), payment_id=str(payment.id))
        return refund


async def add_refund_within(
    transaction: AsyncConnection, payment: Payment, refund: Refund, next_check_at: datetime
) -> None:
    """Records a new refund and sets its amount aside. The payment's row must be locked.

    Raises NotRefundable, RefundExceedsCaptured.
    """
    await PaymentRepository(transaction).store(payment.with_refund(refund.amount.amount, refund.created_at))
    await RefundRepository(transaction).add(refund, next_check_at)


def _count(refund: Refund) -> None:
    if refund.status is RefundStatus.PENDING:
        return
    REFUNDS.labels(refund.status).inc()
    if refund.status is RefundStatus.SUCCEEDED:
        REFUNDED.labels(refund.amount.currency).inc(refund.amount.amount)
    log.info("refund settled", refund_id=str(refund.id), payment_id=str(refund.payment_id), status=refund.status)
