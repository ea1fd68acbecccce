"""The use cases of the provider's webhooks.

A webhook is a hint: it says which payment to check, never what became of it.

So webhooks may be lost, repeated and reordered: only what the provider answers to a call counts. What a lost one would
have reported is found in the provider's list of events.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from chassis.database.engine import Database
from chassis.database.pruning import prune_in_batches
from chassis.observability import logs
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.clients.webhooks import StripeWebhookParser, WebhookEvent
from payment_service.domain.errors import InvalidSignature, MalformedWebhook
from payment_service.domain.payments import Payment, PaymentId, PaymentStatus, Refund, RefundId, RefundStatus
from payment_service.repository.check_schedule import PAYMENT_CHECKS, REFUND_CHECKS
from payment_service.repository.payments import PaymentRepository
from payment_service.repository.refunds import RefundRepository
from payment_service.repository.webhooks import WebhookRepository
from payment_service.service.refund_reconciler import DISCREPANCIES

WEBHOOKS = Counter("payment_webhooks_total", "Webhooks of the provider, by outcome", ["outcome"])

_RETENTION = timedelta(days=30)
"""The time for which an event id is kept to recognise repetitions. Stripe repeats a webhook for three days."""
_FOLLOWED = "followed"
_REFUND_FAILED = "refund.failed"

log = logs.get_logger(__name__)


class WebhookService:
    def __init__(self, database: Database, parser: StripeWebhookParser, now: Callable[[], datetime]) -> None:
        self._database = database
        self._parser = parser
        self._now = now

    async def receive(self, body: bytes, signature: str | None) -> None:
        """Stores a webhook's event before it is acknowledged; the sweeper then asks the provider.

        Raises WebhooksNotConfigured, InvalidSignature, MalformedWebhook.
        """
        try:
            webhook = self._parser.parse(body, signature)
        except (InvalidSignature, MalformedWebhook):
            WEBHOOKS.labels("refused").inc()
            raise
        async with self._database.begin() as transaction:
            outcome = await self._record(transaction, webhook)
        WEBHOOKS.labels(outcome).inc()
        log.info("webhook received", event_id=webhook.event_id, event_type=webhook.event_type, outcome=outcome)

    async def follow_listed(self, event: WebhookEvent) -> bool:
        """Stores an event that the provider lists; returns whether it was unknown and concerns a payment or refund."""
        async with self._database.begin() as transaction:
            outcome = await self._record(transaction, event)
        if outcome == _FOLLOWED:
            log.info(
                "an event was listed before its webhook came", event_id=event.event_id, event_type=event.event_type
            )
        return outcome == _FOLLOWED

    async def prune(self) -> None:
        """Deletes events that are so old that the provider repeats them no more."""
        before = self._now() - _RETENTION
        await prune_in_batches(
            self._database, lambda transaction, limit: WebhookRepository(transaction).prune(before, limit)
        )

    async def _record(self, transaction: AsyncConnection, webhook: WebhookEvent) -> str:
        """Records the event, and schedules the check of what it concerns if it is new. Returns the outcome."""
        if not await WebhookRepository(transaction).record(webhook.event_id, webhook.event_type, self._now()):
            return "repeated"
        schedule = self._schedule_payment_check if webhook.refund_ref is None else self._schedule_refund_check
        return _FOLLOWED if await schedule(transaction, webhook) else "ignored"

    async def _schedule_payment_check(self, transaction: AsyncConnection, webhook: WebhookEvent) -> bool:
        payment = await _find_payment(transaction, webhook)
        if payment is None or payment.status is PaymentStatus.FAILED:
            return False
        if payment.is_open:
            await PAYMENT_CHECKS.reschedule(transaction, payment.id, self._now())
        return True

    async def _schedule_refund_check(self, transaction: AsyncConnection, webhook: WebhookEvent) -> bool:
        refund = await _find_refund(transaction, webhook)
        if refund is None:
            return await self._schedule_refund_import(transaction, webhook)
        if refund.status is RefundStatus.PENDING:
            await REFUND_CHECKS.reschedule(transaction, refund.id, self._now())
        _report_reversal(refund, webhook)
        return True

    async def _schedule_refund_import(self, transaction: AsyncConnection, webhook: WebhookEvent) -> bool:
        """Schedules a check of the payment of a refund that was not made here.

        The sweeper then imports it, after it has found out whether the payment was captured, if that is not known yet.
        """
        payment = await _find_payment(transaction, webhook)
        if payment is None:
            return False
        await PAYMENT_CHECKS.reschedule(transaction, payment.id, self._now())
        return True


async def _find_payment(transaction: AsyncConnection, webhook: WebhookEvent) -> Payment | None:
    """Finds the payment by its id in the event, which works before the intent's id is stored, or by its intent."""
    repository = PaymentRepository(transaction)
    payment_id = None if webhook.payment_id is None else PaymentId(webhook.payment_id)
    if payment_id is None and webhook.intent_id is not None:
        payment_id = await repository.find_id_by_intent(webhook.intent_id)
    return None if payment_id is None else await repository.find(payment_id)


async def _find_refund(transaction: AsyncConnection, webhook: WebhookEvent) -> Refund | None:
    repository = RefundRepository(transaction)
    refund_id = None if webhook.refund_id is None else RefundId(webhook.refund_id)
    if refund_id is None and webhook.refund_ref is not None:
        refund_id = await repository.find_id_by_provider_ref(webhook.refund_ref)
    return None if refund_id is None else await repository.find(refund_id)


def _report_reversal(refund: Refund, webhook: WebhookEvent) -> None:
    """Reports a refund that failed after it had succeeded, for an operator to look at.

    A bank may return the money days later; the published event that the refund succeeded cannot be revoked.
    """
    if refund.status is RefundStatus.SUCCEEDED and webhook.event_type == _REFUND_FAILED:
        DISCREPANCIES.inc()
        log.error("a refund failed after it had succeeded", refund_id=str(refund.id), payment_id=str(refund.payment_id))
