"""Brings payments to the state that they have at the provider.

Safe to stop anywhere, to repeat, and to run twice at once.

The provider is never called inside a transaction. The intended step is stored first, then the provider is called
under an id of ours, then its answer is stored together with the event that reports it.

If the provider answers late (timeout) or not at all, the outcome of the call is unknown: ProviderUnavailable is
raised, the payment stays as it is stored, and the next request for it or the sweeper continues from there.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from chassis.database.engine import Database
from chassis.observability import logs
from chassis.types.charges import ChargeRules
from chassis.types.money import Money
from prometheus_client import Counter

from payment_service.clients.provider import Provider
from payment_service.domain.errors import ProviderRefused
from payment_service.domain.failures import Failure
from payment_service.domain.intents import Intent, IntentState, Step, failure_of, next_step
from payment_service.domain.payments import Payment, PaymentId
from payment_service.repository.check_schedule import PAYMENT_CHECKS
from payment_service.repository.payments import PaymentReader, PaymentRepository, PaymentWriter
from payment_service.service.published_events import PublishedEvents
from payment_service.service.refund_reconciler import DISCREPANCIES, RefundReconciler

PAYMENTS = Counter("payments_total", "Payments that were begun or ended, by status", ["status"])
CAPTURED = Counter("payments_captured_minor_units_total", "Money that was captured, in minor units", ["currency"])
FAILURES = Counter("payment_failures_total", "Payments that failed, by reason", ["reason"])

_MAX_STEPS = 6
"""How many steps one reconciliation takes at most. A payment needs four: confirm, close, cancel the intent, fail."""

_FINAL_STATES = frozenset({IntentState.SUCCEEDED, IntentState.CANCELED})
_WRONG_AMOUNT = "wrong_amount"

log = logs.get_logger(__name__)


class PaymentReconciler:
    def __init__(
        self,
        database: Database,
        provider: Provider,
        events: PublishedEvents,
        refunds: RefundReconciler,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._provider = provider
        self._events = events
        self._refunds = refunds
        self._now = now

    @property
    def provider_name(self) -> str:
        return self._provider.name

    @property
    def charge_rules(self) -> ChargeRules:
        return self._provider.charge_rules

    async def ensure_intent(self, payment: Payment) -> tuple[Payment, Intent | None]:
        """Returns the payment with its intent at the provider, which is created if there is none.

        A payment that the provider refuses has failed. Raises ProviderUnavailable.
        """
        if not payment.is_open:
            return payment, None
        if payment.intent_id is not None:
            return payment, await self._provider.get_intent(payment.intent_id)
        try:
            intent = await self._provider.create_intent(payment)
        except ProviderRefused as refusal:
            return await self._record(payment, Step.FAIL, refusal.failure), None
        payment = await self._store_intent(payment.id, intent)
        if payment.intent_id == intent.id:
            return payment, intent
        # The payment was closed while the intent was created, or has another one: no payment uses this intent.
        await self._provider.cancel_intent(intent.id)
        return payment, None

    async def reload(self, payment_id: PaymentId) -> Payment:
        """Returns a payment as it is stored now. Raises LookupError if it does not exist."""
        async with self._database.read() as connection:
            payment = await PaymentReader(connection).find(payment_id)
        if payment is None:
            raise LookupError(f"payment {payment_id} does not exist")
        return payment

    async def resume(self, payment: Payment) -> Intent | None:
        """Continues an intent after the customer has done what its next action required. Raises ProviderUnavailable."""
        return None if payment.intent_id is None else await self._provider.resume_intent(payment.intent_id)

    async def reconcile(self, payment: Payment, intent: Intent | None = None) -> tuple[Payment, Intent | None]:
        """Takes steps until the payment has to wait for the customer or the provider, or has ended.

        `intent` is the intent if the caller knows it. Raises ProviderUnavailable if the outcome of a step is unknown.
        """
        for _ in range(_MAX_STEPS):
            if not payment.is_open:
                return payment, intent
            if payment.intent_id is None:
                return await self._reconcile_without_intent(payment), None
            intent = intent or await self._provider.get_intent(payment.intent_id)
            step = next_step(payment, intent)
            if step is Step.WAIT:
                return payment, intent
            payment, intent = await self._take(step, payment, intent)
            if step is Step.CANCEL_INTENT and intent.state not in _FINAL_STATES:
                return payment, intent  # it cannot be cancelled now, since it is being charged: ask again later
        log.error("a payment needs too many steps", payment_id=str(payment.id), status=payment.status)
        return payment, intent

    async def _store_intent(self, payment_id: PaymentId, intent: Intent) -> Payment:
        """Stores the intent's id unless the payment has ended or has another intent. Returns the stored payment."""
        async with self._database.autocommit() as connection:
            stored = await PaymentWriter(connection).store_intent(payment_id, intent.id, self._now())
        return stored or await self.reload(payment_id)

    async def _reconcile_without_intent(self, payment: Payment) -> Payment:
        """Fails the payment if it is closing.

        Otherwise its request stopped early, and it waits for the next request.
        """
        if payment.failure is None:
            return payment
        return await self._record(payment, Step.FAIL, payment.failure)

    async def _take(self, step: Step, payment: Payment, intent: Intent) -> tuple[Payment, Intent]:
        if step is Step.CONFIRM:
            return payment, await self._confirm(payment, intent)
        if step is Step.CANCEL_INTENT:
            return payment, await self._provider.cancel_intent(intent.id)
        if step is Step.REJECT_CAPTURE:
            return await self._reject_capture(payment, intent.received), intent
        return await self._record(payment, step, failure_of(payment, intent)), intent

    async def _reject_capture(self, payment: Payment, received: Money | None) -> Payment:
        """Fails a payment of which another amount was captured, and records the refund of all that was captured.

        An amount in another currency, or of no whole minor units, is left to an operator.
        """
        is_refundable = received is not None and received.currency == payment.amount.currency
        amount = received.amount if received is not None and is_refundable else 0
        async with self._database.begin() as transaction:
            repository = PaymentRepository(transaction)
            before, _ = await repository.lock_with_order(payment.id)
            if not before.is_open:
                return before
            after = before.captured_wrongly(amount, self._now())
            await repository.store(after)
            await PAYMENT_CHECKS.clear(transaction, after.id)
            await self._refunds.refund_remainder_within(transaction, after, _WRONG_AMOUNT)
        DISCREPANCIES.inc()
        log.error(
            "the provider captured another amount",
            payment_id=str(payment.id),
            amount=str(payment.amount),
            captured=str(received),
            is_refunded=is_refundable,
        )
        _count(Step.REJECT_CAPTURE, after)
        return after

    async def _confirm(self, payment: Payment, intent: Intent) -> Intent:
        """Confirms the intent. If the provider refuses, nothing was charged, and the intent has a failure."""
        if payment.method is None:
            raise LookupError(f"payment {payment.id} has no payment method to confirm with")
        try:
            return await self._provider.confirm_intent(payment, intent.id, payment.method)
        except ProviderRefused as refusal:
            return replace(intent, state=IntentState.AWAITING_CONFIRMATION, failure=refusal.failure)

    async def _record(self, payment: Payment, step: Step, failure: Failure) -> Payment:
        """Stores the effect of a step and its event in one transaction, unless another process already has."""
        async with self._database.begin() as transaction:
            repository = PaymentRepository(transaction)
            before, is_order_cancelled = await repository.lock_with_order(payment.id)
            after = _after(step, before, failure, self._now())
            if after is before:
                return before
            await (repository.store(after) if after.is_open else repository.store_ended(after))
            if step is Step.COMPLETE:
                await self._events.record_payment_completed(transaction, after, after.updated_at)
            if step is Step.COMPLETE and is_order_cancelled:
                await self._refunds.refund_remainder_within(transaction, after)
        _count(step, after)
        return after


def _after(step: Step, payment: Payment, failure: Failure, at: datetime) -> Payment:
    """Returns the payment after a step; the same object if the step changes nothing."""
    if not payment.is_open:
        return payment
    if step is Step.COMPLETE:
        return payment.completed(at)
    if step is Step.FAIL:
        return payment.failed(failure, at)
    if step is Step.CLOSE:
        return payment.closing(failure, at)
    return payment.processing(at) if payment.is_confirmable else payment


def _count(step: Step, payment: Payment) -> None:
    if payment.is_open:
        return
    PAYMENTS.labels(payment.status).inc()
    if step is Step.COMPLETE:
        CAPTURED.labels(payment.amount.currency).inc(payment.captured)
    elif payment.failure is not None:
        FAILURES.labels(payment.failure.code).inc()
    log.info(
        "payment settled",
        payment_id=str(payment.id),
        order_id=str(payment.order_id),
        status=payment.status,
        failure=None if payment.failure is None else payment.failure.code,
    )
