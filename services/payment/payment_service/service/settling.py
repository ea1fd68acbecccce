"""Brings payments and refunds to where their provider says they are. Safe to stop anywhere, to repeat, and to run twice at once.

Nothing is called inside a transaction. What shall happen is stored first, then the provider is asked under an id of ours, then what it
answered is stored with the event that tells of it. Whoever finds a step undone, a request, the sweeper or both, goes on from there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database.engine import Database
from chassis.messaging.outbox import Outbox
from chassis.observability import logs
from chassis.types.ids import OrderId
from chassis.types.money import Money
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.clients.provider import Provider, ProviderRefund, RefundState
from payment_service.domain.errors import ProviderRefused, ProviderUnavailable
from payment_service.domain.intents import Intent, IntentState, Step, next_step, why_failed
from payment_service.domain.pacing import pause_of_refunds
from payment_service.domain.payments import (
    Failure,
    FailureCode,
    Payment,
    Refund,
    RefundId,
    RefundStatus,
)
from payment_service.repository import due
from payment_service.repository.payments import PaymentRepository
from payment_service.repository.refunds import RefundRepository
from payment_service.repository.tables import payments, refunds
from payment_service.service import events, measures

_STEPS = 6
"""A payment needs four at most: confirm, close, cancel, fail."""
_BY_OTHER_HANDS = "made_at_the_provider"

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tools:
    """What every use case here works with. `patience`: how long a request may work on a payment before the sweeper joins in."""

    database: Database
    outbox: Outbox
    provider: Provider
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]
    patience: timedelta


class Settlement:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def ensure_intent(self, payment: Payment) -> tuple[Payment, Intent | None]:
        """The payment with an intent at the provider; one that the provider refuses has failed. Raises ProviderUnavailable."""
        if not payment.is_open:
            return payment, None
        if payment.intent_id is not None:
            return payment, await self._tools.provider.intent(payment.intent_id)
        try:
            intent = await self._tools.provider.create_intent(payment)
        except ProviderRefused as refusal:
            return await self._record(payment, Step.FAIL, refusal.failure), None
        async with self._tools.database.begin() as transaction:
            repository = PaymentRepository(transaction)
            payment = await repository.lock(payment.id)
            if payment.is_open and payment.intent_id is None:
                payment = payment.with_intent(intent.id, self._tools.now())
                await repository.store(payment)
        if payment.intent_id == intent.id:
            return payment, intent
        await self._tools.provider.cancel(
            intent.id
        )  # the payment was closed meanwhile, or has another: this one is nobody's
        return payment, None

    async def advance(self, payment: Payment, intent: Intent | None = None) -> tuple[Payment, Intent | None]:
        """Goes on until there is nothing to do but wait. `intent`: what the caller knows of it. Raises ProviderUnavailable."""
        for _ in range(_STEPS):
            if not payment.is_open:
                return payment, intent
            if payment.intent_id is None:
                return await self._without_intent(payment), None
            intent = intent or await self._tools.provider.intent(payment.intent_id)
            step = next_step(payment, intent)
            if step is Step.WAIT:
                return payment, intent
            payment, intent = await self._take(step, payment, intent)
            if step is Step.INVESTIGATE:
                return payment, intent
        log.error("a payment does not come to rest", payment_id=str(payment.id), status=payment.status)
        return payment, intent

    async def finish_refund(self, refund: Refund, *, is_repeated: bool) -> Refund:
        """The refund as it then is; still pending where the provider takes its time. Raises ProviderUnavailable."""
        if refund.status is not RefundStatus.PENDING:
            return refund
        async with self._tools.database.begin() as transaction:
            payment = await PaymentRepository(transaction).find(refund.payment_id)
        if payment is None or payment.intent_id is None:
            raise LookupError(f"refund {refund.id} is of no captured payment")
        try:
            answer = await self._ask_refund(refund, payment.intent_id, is_repeated=is_repeated)
        except ProviderRefused as refusal:
            reason = refusal.failure.reason
            answer = ProviderRefund(refund.provider_ref or "", RefundState.FAILED, refund.amount, reason)
        return await self._record_refund(refund, answer)

    async def adopt_refunds(self, payment: Payment) -> None:
        """Records what other hands gave back of a captured payment, so that it is not given back again. Raises ProviderUnavailable."""
        if payment.captured == 0 or payment.intent_id is None:
            return
        for made in await self._tools.provider.refunds(payment.intent_id):
            if made.made_as is None and made.state is not RefundState.FAILED:
                adopted = await self._adopt(payment, made)
                if adopted is not None:
                    await self.finish_refund(adopted, is_repeated=True)

    async def _adopt(self, payment: Payment, made: ProviderRefund) -> Refund | None:
        """The refund, pending; None for one that is known."""
        now = self._tools.now()
        async with self._tools.database.begin() as transaction:
            payment = await PaymentRepository(transaction).lock(payment.id)
            if await RefundRepository(transaction).by_provider_ref(made.id) is not None:
                return None
            if made.amount.currency != payment.amount.currency or made.amount.amount > payment.refundable:
                measures.DISCREPANCIES.inc()
                log.error("the provider gave back what is not there", payment_id=str(payment.id), refund=made.id)
                raise ProviderUnavailable("the payment provider tells another story; somebody looks at it")
            refund = Refund(
                RefundId(self._tools.new_id()), payment.id, made.amount, now, _BY_OTHER_HANDS, provider_ref=made.id
            )
            await set_aside_within(transaction, payment, refund, due_at=now + self._tools.patience)
        log.info("a refund was made at the provider", refund_id=str(refund.id), payment_id=str(payment.id))
        return refund

    async def cancel_order_within(self, transaction: AsyncConnection, order_id: OrderId) -> None:
        """Records what a cancelled order means for its payments; the sweeper then does it. Nothing is called here."""
        repository, now = PaymentRepository(transaction), self._tools.now()
        await repository.lock_order(order_id)
        await repository.cancel_order(order_id, now)
        for payment in await repository.lock_of_order(order_id):
            if payment.is_open:
                await repository.store(payment.closing(Failure(FailureCode.ORDER_CANCELLED), now))
                await due.hasten(transaction, payments.c.id, payment.id, now)
            else:
                await self.refund_remainder_within(transaction, payment)

    async def refund_remainder_within(self, transaction: AsyncConnection, payment: Payment) -> None:
        """Records that what is left of a captured payment goes back, at once. Its row must be locked."""
        if payment.refundable == 0:
            return
        now = self._tools.now()
        amount = Money(payment.refundable, payment.amount.currency)
        refund = Refund(RefundId(self._tools.new_id()), payment.id, amount, now, reason="order_cancelled")
        await set_aside_within(transaction, payment, refund, due_at=now)

    async def _without_intent(self, payment: Payment) -> Payment:
        """Its request stopped before there was anything to charge: it waits for the next one, unless it shall close."""
        if payment.failure is None:
            return payment
        return await self._record(payment, Step.FAIL, payment.failure)

    async def _take(self, step: Step, payment: Payment, intent: Intent) -> tuple[Payment, Intent]:
        if step is Step.CONFIRM:
            return payment, await self._confirm(payment, intent)
        if step is Step.CANCEL:
            return payment, await self._tools.provider.cancel(intent.id)
        if step is Step.INVESTIGATE:
            measures.DISCREPANCIES.inc()
            log.error(
                "the provider captured another amount",
                payment_id=str(payment.id),
                amount=str(payment.amount),
                captured=str(intent.received),
            )
            return payment, intent
        return await self._record(payment, step, why_failed(payment, intent)), intent

    async def _confirm(self, payment: Payment, intent: Intent) -> Intent:
        """A refusal is an intent with a failure: nothing was charged."""
        if payment.method is None:
            raise LookupError(f"payment {payment.id} is confirmed with nothing")
        try:
            return await self._tools.provider.confirm(payment, intent.id, payment.method)
        except ProviderRefused as refusal:
            return replace(intent, state=IntentState.AWAITING, failure=refusal.failure)

    async def _record(self, payment: Payment, step: Step, failure: Failure) -> Payment:
        """Stores what a step means, unless somebody else was faster. One transaction, with the event that tells of it."""
        async with self._tools.database.begin() as transaction:
            repository = PaymentRepository(transaction)
            is_order_cancelled = await repository.lock_order(payment.order_id)
            before = await repository.lock(payment.id)
            after = _after(step, before, failure, self._tools.now())
            if after is before:
                return before
            await repository.store(after)
            if step is Step.COMPLETE:
                await self._tell_completed(transaction, after)
            if not after.is_open:
                await due.rest(transaction, payments.c.id, after.id, after.updated_at)
            if step is Step.COMPLETE and is_order_cancelled:
                await self.refund_remainder_within(transaction, after)
        self._tools.outbox.wake()
        _measure(step, after)
        return after

    async def _tell_completed(self, transaction: AsyncConnection, payment: Payment) -> None:
        payload, now = events.completed(payment, payment.updated_at), payment.updated_at
        await self._tools.outbox.record(transaction, self._tools.new_id(), str(payment.order_id), payload, now)

    async def _ask_refund(self, refund: Refund, intent_id: str, *, is_repeated: bool) -> ProviderRefund:
        provider = self._tools.provider
        if refund.provider_ref is None:
            return await provider.refund(refund, intent_id, is_repeated=is_repeated)
        return await provider.refund_state(refund.provider_ref)

    async def _record_refund(self, refund: Refund, answer: ProviderRefund) -> Refund:
        """Stores what the provider answered, unless somebody else was faster. One transaction, with its event."""
        if answer.amount != refund.amount:
            measures.DISCREPANCIES.inc()
            log.error("the provider refunds another amount", refund_id=str(refund.id), amount=str(answer.amount))
            raise ProviderUnavailable("the payment provider tells another story; somebody looks at it")
        async with self._tools.database.begin() as transaction:
            repository, payment_repository = RefundRepository(transaction), PaymentRepository(transaction)
            payment = await payment_repository.lock(refund.payment_id)
            refund = await repository.lock(refund.id)
            if refund.status is not RefundStatus.PENDING:
                return refund
            now = self._tools.now()
            refund = replace(refund, provider_ref=answer.id or None)
            if answer.state is RefundState.SUCCEEDED:
                refund = refund.succeeded(now)
                payment = payment.refund_succeeded(refund.amount.amount, now)
                payload = events.refunded(payment, refund, now)
                await self._tools.outbox.record(transaction, self._tools.new_id(), str(payment.order_id), payload, now)
            elif answer.state is RefundState.FAILED:
                refund = refund.failed(answer.reason, now)
                payment = payment.refund_failed(refund.amount.amount, now)
                await self._try_again_later(transaction, payment, now)
            await repository.store(refund)
            await payment_repository.store(payment)
            if refund.status is not RefundStatus.PENDING:
                await due.settle(transaction, refunds.c.id, refund.id)
        self._tools.outbox.wake()
        _measure_refund(refund)
        return refund

    async def _try_again_later(self, transaction: AsyncConnection, payment: Payment, now: datetime) -> None:
        """What a cancelled order was paid with goes back, however long it takes."""
        if await PaymentRepository(transaction).is_order_cancelled(payment.order_id):
            refused = await RefundRepository(transaction).count_refused(payment.id)
            await due.hasten(transaction, payments.c.id, payment.id, now + pause_of_refunds(refused))


async def set_aside_within(transaction: AsyncConnection, payment: Payment, refund: Refund, due_at: datetime) -> None:
    """Records a new refund, and that its amount is on its way back. The payment's row must be locked.

    Raises NotRefundable, RefundExceedsCaptured.
    """
    await PaymentRepository(transaction).store(payment.with_refund(refund.amount.amount, refund.created_at))
    await RefundRepository(transaction).add(refund, due_at)


def _after(step: Step, payment: Payment, failure: Failure, at: datetime) -> Payment:
    """The payment after a step; itself, where there is nothing left to do."""
    if not payment.is_open:
        return payment
    if step is Step.COMPLETE:
        return payment.completed(at)
    if step is Step.FAIL:
        return payment.failed(failure, at)
    if step is Step.CLOSE:
        return payment.closing(failure, at)
    return payment.processing(at) if payment.is_confirmable else payment


def _measure(step: Step, payment: Payment) -> None:
    if payment.is_open:
        return
    measures.PAYMENTS.labels(payment.status).inc()
    if step is Step.COMPLETE:
        measures.CAPTURED.labels(payment.amount.currency).inc(payment.captured)
    elif payment.failure is not None:
        measures.FAILURES.labels(payment.failure.code).inc()
    failure = payment.failure.code if payment.failure is not None else None
    log.info(
        "payment settled",
        payment_id=str(payment.id),
        order_id=str(payment.order_id),
        status=payment.status,
        failure=failure,
    )


def _measure_refund(refund: Refund) -> None:
    if refund.status is RefundStatus.PENDING:
        return
    measures.REFUNDS.labels(refund.status).inc()
    if refund.status is RefundStatus.SUCCEEDED:
        measures.REFUNDED.labels(refund.amount.currency).inc(refund.amount.amount)
    log.info("refund settled", refund_id=str(refund.id), payment_id=str(refund.payment_id), status=refund.status)
