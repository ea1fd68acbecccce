"""The adapter to Stripe, which uses Stripe's own SDK.

https://docs.stripe.com/api/payment_intents, /refunds, /idempotent_requests, /errors

Idempotency keys are our ids. Stripe deletes a key after a day, so a call that is repeated later first looks for what
an earlier one created: an intent by its id, a refund by our id in its metadata. Creating and confirming an intent are
two calls, so that its id is stored before anything can be charged.

A call that Stripe answers late (timeout) or not at all raises ProviderUnavailable: its outcome is unknown until the
client repeats the request or the sweeper asks again.

The SDK sends the API version that it was made for, so a newer SDK uses a newer API: read Stripe's changelog before
updating it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import cast
from uuid import UUID

import aiohttp
import stripe
from chassis.observability import logs
from chassis.types.charges import NotChargeable, ProviderName, charge_rules
from chassis.types.ids import UserId
from chassis.types.money import Money
from prometheus_client import Histogram

from payment_service.clients.provider import EventPage, ProviderRefund, SavedCard
from payment_service.clients.webhooks import event_of
from payment_service.domain.errors import CardDeclined, InvalidPaymentMethod, ProviderRefused, ProviderUnavailable
from payment_service.domain.failures import Failure, FailureCode
from payment_service.domain.intents import Intent, IntentState, NextAction
from payment_service.domain.payment_methods import PaymentMethod
from payment_service.domain.payments import Payment, Refund, RefundStatus

CALL_SECONDS = Histogram(
    "payment_provider_call_duration_seconds", "Time until the provider answered", ["operation", "outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip

_RETRIES = 2
"""The number of times that the SDK repeats a call after a broken connection, a conflict or a server error.

It does so with backoff, jitter and the same idempotency key.
"""
_PAGE_SIZE = 100
_EVENT_TYPES = [
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "refund.created",
    "refund.updated",
    "refund.failed",
]
"""The types of the events that are listed: those after which a payment or refund is to be checked."""
_UNEXPECTED_STATE = "payment_intent_unexpected_state"
_RESOURCE_MISSING = "resource_missing"

# Decline codes that would reveal to a thief that the card is reported as stolen. https://docs.stripe.com/declines/codes
_UNDISCLOSED_DECLINE_CODES = frozenset({"fraudulent", "lost_card", "merchant_blacklist", "pickup_card", "stolen_card"})

_INTENT_STATES = {
    "requires_payment_method": IntentState.AWAITING_CONFIRMATION,
    "requires_confirmation": IntentState.AWAITING_CONFIRMATION,
    "requires_action": IntentState.REQUIRES_ACTION,
    "processing": IntentState.PROCESSING,
    "requires_capture": IntentState.PROCESSING,
    "succeeded": IntentState.SUCCEEDED,
    "canceled": IntentState.CANCELED,
}
_REFUND_STATUSES = {
    "succeeded": RefundStatus.SUCCEEDED,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.FAILED,
}

_RULES = charge_rules(ProviderName.STRIPE)

log = logs.get_logger(__name__)


class StripeProvider:
    name = ProviderName.STRIPE
    charge_rules = _RULES

    def __init__(self, secret_key: str, api_base: str | None, deadline: float) -> None:
        """`deadline` is how many seconds a call may take, the SDK's own retries included."""
        stripe.enable_telemetry = False  # it would write into the home directory, which is read-only
        logging.getLogger("stripe").setLevel(logging.WARNING)  # at INFO it logs whole responses, with client secrets
        self._deadline = deadline
        self._transport = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=deadline))
        self._stripe = stripe.StripeClient(
            secret_key,
            base_addresses={} if api_base is None else {"api": api_base.rstrip("/")},
            http_client=self._transport,
            max_network_retries=_RETRIES,
        ).v1

    async def create_intent(self, payment: Payment) -> Intent:
        async with self._call("create_intent"):
            created = await self._stripe.payment_intents.create_async(
                {
                    "amount": _units(payment.amount),
                    "currency": payment.amount.currency.lower(),
                    "allowed_payment_method_types": ["card"],
                    "metadata": {"payment_id": str(payment.id), "order_id": str(payment.order_id)},
                },
                {"idempotency_key": str(payment.id)},
            )
        return _intent(created)

    async def get_intent(self, intent_id: str) -> Intent:
        async with self._read("retrieve_intent"):
            return _intent(await self._stripe.payment_intents.retrieve_async(intent_id))

    async def confirm_intent(self, payment: Payment, intent_id: str, method: PaymentMethod) -> Intent:
        intents = self._stripe.payment_intents
        try:
            async with self._call("confirm"):
                if method.customer is not None:
                    await intents.update_async(intent_id, {"customer": method.customer})
                options: stripe.RequestOptions = {"idempotency_key": f"{payment.id}-confirm"}
                return _intent(await intents.confirm_async(intent_id, {"payment_method": method.ref}, options))
        except ProviderRefused as refusal:
            if refusal.failure.reason == _UNEXPECTED_STATE:
                return await self.get_intent(intent_id)  # it was confirmed before, or is canceled
            raise

    async def resume_intent(self, intent_id: str) -> Intent:
        return await self.get_intent(intent_id)  # Stripe itself notices when the customer has acted

    async def cancel_intent(self, intent_id: str) -> Intent:
        try:
            async with self._call("cancel"):
                return _intent(await self._stripe.payment_intents.cancel_async(intent_id))
        except ProviderRefused as refusal:
            if refusal.failure.reason == _UNEXPECTED_STATE:
                return await self.get_intent(intent_id)
            raise

    async def create_refund(self, refund: Refund, intent_id: str, *, is_repeated: bool) -> ProviderRefund:
        if is_repeated:
            # The response of an earlier call may be lost, and Stripe may have deleted its key: never pay twice.
            for existing in await self.list_refunds(intent_id):
                if existing.refund_id == str(refund.id):
                    return existing
        async with self._call("refund"):
            created = await self._stripe.refunds.create_async(
                {
                    "payment_intent": intent_id,
                    "amount": _units(refund.amount),
                    "metadata": {"refund_id": str(refund.id), "payment_id": str(refund.payment_id)},
                },
                {"idempotency_key": str(refund.id)},
            )
        return _refund(created)

    async def get_refund(self, provider_ref: str) -> ProviderRefund:
        async with self._read("retrieve_refund"):
            return _refund(await self._stripe.refunds.retrieve_async(provider_ref))

    async def list_refunds(self, intent_id: str) -> Sequence[ProviderRefund]:
        async with self._read("list_refunds"):
            listed = await self._stripe.refunds.list_async({"payment_intent": intent_id, "limit": _PAGE_SIZE})
            return [_refund(refund) async for refund in listed.auto_paging_iter()]

    async def list_events(self, since: datetime, after: str | None) -> EventPage:
        """Lists the events of the whole account, of which other shops may have a part.

        Stripe keeps them for 30 days.
        """
        params: stripe.params.EventListParams = {
            "created": {"gte": int(since.timestamp())},
            "types": _EVENT_TYPES,
            "limit": _PAGE_SIZE,
        }
        if after is not None:
            params["starting_after"] = after
        async with self._read("list_events"):
            listed = await self._stripe.events.list_async(params)
        events = [event_of(event.to_dict()) for event in listed.data]
        return EventPage(events, listed.data[-1].id if listed.has_more else None)

    async def create_customer(self, user_id: UserId, shop_id: UUID) -> str:
        async with self._call("create_customer"):
            created = await self._stripe.customers.create_async(
                {"metadata": {"user_id": str(user_id), "shop_id": str(shop_id)}},
                {"idempotency_key": f"{shop_id}-customer-{user_id}"},
            )
        return created.id

    async def attach_method(self, customer: str, method: str) -> SavedCard:
        async with self._call("attach"):
            return _card(await self._stripe.payment_methods.attach_async(method, {"customer": customer}))

    async def detach_method(self, method: str) -> None:
        try:
            async with self._call("detach"):
                await self._stripe.payment_methods.detach_async(method)
        except ProviderRefused as refusal:
            log.info("a payment method was detached already", reason=refusal.failure.reason)

    async def erase_customer(self, customer: str) -> None:
        try:
            async with self._call("erase_customer"):
                await self._stripe.customers.delete_async(customer)
        except ProviderRefused as refusal:
            if refusal.failure.reason != _RESOURCE_MISSING:
                raise

    async def close(self) -> None:
        await self._transport.close_async()  # type: ignore[no-untyped-call]  # the SDK gives it no types

    @asynccontextmanager
    async def _read(self, operation: str) -> AsyncIterator[None]:
        """Makes a call that only reads.

        Raises ProviderUnavailable also if Stripe refuses it: that says nothing about what exists.
        """
        try:
            async with self._call(operation):
                yield
        except ProviderRefused as refusal:
            log.error("the provider refused a read", operation=operation, reason=refusal.failure.reason)  # noqa: TRY400
            raise ProviderUnavailable(
                "the payment provider does not report what it did; try again in a moment"
            ) from None

    @asynccontextmanager
    async def _call(self, operation: str) -> AsyncIterator[None]:
        """Makes one call within the deadline, measures it and translates its errors.

        Stripe's own exception is not chained: its text may hold secrets.
        """
        started, outcome = asyncio.get_running_loop().time(), "answered"
        try:
            async with asyncio.timeout(self._deadline):
                yield
        except stripe.CardError as error:
            outcome = "declined"
            raise CardDeclined(Failure(FailureCode.CARD_DECLINED, _decline_reason(error))) from None
        except stripe.InvalidRequestError as error:
            outcome = "refused"
            raise _refusal(error, operation) from None
        except (stripe.StripeError, aiohttp.ClientError, TimeoutError) as error:
            outcome = "unavailable"  # also after a timeout: what Stripe did is unknown
            log.warning("the provider did not answer", operation=operation, reason=_describe(error))
            raise ProviderUnavailable("the payment provider did not answer; try again in a moment") from None
        finally:
            CALL_SECONDS.labels(operation, outcome).observe(asyncio.get_running_loop().time() - started)


def _intent(intent: stripe.PaymentIntent) -> Intent:
    error = intent.last_payment_error
    return Intent(
        id=intent.id,
        state=_INTENT_STATES.get(intent.status, IntentState.PROCESSING),
        received=_money(intent.amount_received, intent.currency) if intent.status == "succeeded" else None,
        failure=None if error is None else _last_failure(error),
        client_secret=intent.client_secret,
        next_action=None if intent.next_action is None else _next_action(intent.next_action),
    )


def _units(amount: Money) -> int:
    """Returns an amount in Stripe's units. Raises ProviderRefused if Stripe cannot represent it."""
    try:
        return _RULES.to_units(amount)
    except NotChargeable:
        raise ProviderRefused(Failure(FailureCode.REFUSED_BY_PROVIDER, "invalid_amount")) from None


def _money(units: int, currency: str) -> Money | None:
    """Returns an amount that Stripe reports; None for one that minor units cannot represent, so that it is not ours."""
    try:
        return _RULES.from_units(units, currency.upper())
    except NotChargeable:
        return None


def _last_failure(error: stripe.PaymentIntent.LastPaymentError) -> Failure:
    code, decline = getattr(error, "code", None), getattr(error, "decline_code", None)
    if code == "payment_intent_authentication_failure":
        return Failure(FailureCode.AUTHENTICATION_FAILED, code)
    return Failure(FailureCode.CARD_DECLINED, _disclosed_reason(decline or code))


def _next_action(action: stripe.PaymentIntent.NextAction) -> NextAction:
    redirect = getattr(action, "redirect_to_url", None)
    return NextAction(action.type, None if redirect is None else redirect.url)


def _refund(refund: stripe.Refund) -> ProviderRefund:
    status = _REFUND_STATUSES.get(refund.status or "", RefundStatus.PENDING)
    reason = getattr(refund, "failure_reason", None)
    metadata = refund.metadata.to_dict() if refund.metadata is not None else {}
    return ProviderRefund(refund.id, status, _money(refund.amount, refund.currency), reason, metadata.get("refund_id"))


def _card(method: stripe.PaymentMethod) -> SavedCard:
    card = method.card
    if card is None:
        raise InvalidPaymentMethod(Failure(FailureCode.INVALID_PAYMENT_METHOD, "not_a_card"))
    return SavedCard(method.id, card.brand, card.last4 or "", card.exp_month, card.exp_year)


def _decline_reason(error: stripe.CardError) -> str | None:
    details = error.error
    decline = None if details is None else getattr(details, "decline_code", None)
    return _disclosed_reason(cast("str | None", decline) or error.code)


def _disclosed_reason(reason: str | None) -> str | None:
    return "generic_decline" if reason in _UNDISCLOSED_DECLINE_CODES else reason


def _refusal(error: stripe.InvalidRequestError, operation: str) -> ProviderRefused:
    """Returns the error of a refused request.

    If a method was sent and no other parameter is wrong, Stripe refuses the method.
    """
    reason = error.code or "invalid_request"
    if operation in ("confirm", "attach") and reason != _UNEXPECTED_STATE and error.param not in ("intent", "customer"):
        return InvalidPaymentMethod(Failure(FailureCode.INVALID_PAYMENT_METHOD, reason))
    return ProviderRefused(Failure(FailureCode.REFUSED_BY_PROVIDER, reason))


def _describe(error: Exception) -> str:
    status = getattr(error, "http_status", None)
    return f"{type(error).__name__} {status}" if status else type(error).__name__
