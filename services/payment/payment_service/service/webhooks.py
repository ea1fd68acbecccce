"""What the provider tells by itself. A webhook is a hint: it says which payment to ask about, never what became of it.

So webhooks may be lost, repeated and come in any order: what counts is what the provider answers when it is asked.
"""

from datetime import timedelta

from chassis.observability import logs
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.clients.webhooks import Hint, StripeWebhooks
from payment_service.domain.errors import BadSignature, MalformedWebhook
from payment_service.domain.payments import Payment, PaymentId, PaymentStatus, Refund, RefundId, RefundStatus
from payment_service.repository import due
from payment_service.repository.payments import PaymentRepository
from payment_service.repository.refunds import RefundRepository
from payment_service.repository.tables import payments, refunds
from payment_service.repository.webhooks import WebhookRepository
from payment_service.service import measures
from payment_service.service.settling import Tools

_KEPT = timedelta(days=30)
"""Stripe repeats a webhook for three days."""
_REFUND_FAILED = "refund.failed"

log = logs.get_logger(__name__)


class Webhooks:
    def __init__(self, tools: Tools, reader: StripeWebhooks) -> None:
        self._tools = tools
        self._reader = reader

    async def receive(self, body: bytes, signature: str | None) -> None:
        """Stored before it is answered; the sweeper asks the provider. Raises WebhooksNotConfigured, BadSignature, MalformedWebhook."""
        try:
            hint = self._reader.read(body, signature)
        except (BadSignature, MalformedWebhook):
            measures.WEBHOOKS.labels("refused").inc()
            raise
        async with self._tools.database.begin() as transaction:
            now = self._tools.now()
            is_new = await WebhookRepository(transaction).remember(hint.event_id, hint.event_type, now)
            outcome = await self._follow(transaction, hint) if is_new else "repeated"
        measures.WEBHOOKS.labels(outcome).inc()
        log.info("webhook received", event_id=hint.event_id, event_type=hint.event_type, outcome=outcome)

    async def forget(self) -> None:
        """Longer kept than anybody repeats them."""
        async with self._tools.database.begin() as transaction:
            await WebhookRepository(transaction).forget(before=self._tools.now() - _KEPT)

    async def _follow(self, transaction: AsyncConnection, hint: Hint) -> str:
        follow = self._follow_payment if hint.refund_ref is None else self._follow_refund
        return "followed" if await follow(transaction, hint) else "ignored"

    async def _follow_payment(self, transaction: AsyncConnection, hint: Hint) -> bool:
        payment = await _payment_of(transaction, hint)
        if payment is None or payment.status is PaymentStatus.FAILED:
            return False
        if payment.is_open:
            await due.hasten(transaction, payments.c.id, payment.id, self._tools.now())
        return True

    async def _follow_refund(self, transaction: AsyncConnection, hint: Hint) -> bool:
        repository = RefundRepository(transaction)
        refund_id = None if hint.refund_id is None else RefundId(hint.refund_id)
        if refund_id is None and hint.refund_ref is not None:
            refund_id = await repository.by_provider_ref(hint.refund_ref)
        refund = None if refund_id is None else await repository.find(refund_id)
        if refund is None:
            return await self._follow_other_hands(transaction, hint)
        if refund.status is RefundStatus.PENDING:
            await due.hasten(transaction, refunds.c.id, refund.id, self._tools.now())
        _complain_of_reversal(refund, hint)
        return True

    async def _follow_other_hands(self, transaction: AsyncConnection, hint: Hint) -> bool:
        """A refund that was not made here: the sweeper asks what else was given back of its payment, and before that, if that is
        not known yet, whether it was captured.
        """
        payment = await _payment_of(transaction, hint)
        if payment is None:
            return False
        await due.hasten(transaction, payments.c.id, payment.id, self._tools.now())
        return True


async def _payment_of(transaction: AsyncConnection, hint: Hint) -> Payment | None:
    """The intent's metadata finds its payment even before the intent's id is stored."""
    repository = PaymentRepository(transaction)
    payment_id = None if hint.payment_id is None else PaymentId(hint.payment_id)
    if payment_id is None and hint.intent_id is not None:
        payment_id = await repository.by_intent(hint.intent_id)
    return None if payment_id is None else await repository.find(payment_id)


def _complain_of_reversal(refund: Refund, hint: Hint) -> None:
    """A bank may send money back days after its refund succeeded: what was told then cannot be untold, so people must look."""
    if refund.status is RefundStatus.SUCCEEDED and hint.event_type == _REFUND_FAILED:
        measures.DISCREPANCIES.inc()
        log.error("a refund that had succeeded came back", refund_id=str(refund.id), payment_id=str(refund.payment_id))
