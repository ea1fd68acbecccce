"""Stripe, through its own SDK. https://docs.stripe.com/api/payment_intents, /refunds, /idempotent_requests, /errors

Idempotency keys are our ids. Stripe forgets a key after a day, so whatever is repeated later looks first at what is there: an intent
by its id, a refund by the id in its metadata. Creating and confirming are two calls, so that the id of an intent is stored before
anything can be charged. The SDK sends the API version that it was made for, so a newer SDK is a newer API: read Stripe's changelog first.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import aiohttp
import stripe
from chassis.observability import logs
from chassis.types.ids import UserId
from chassis.types.money import Money
from prometheus_client import Histogram

from payment_service.clients.provider import ProviderRefund, RefundState, SavedCard
from payment_service.domain.errors import Declined, InvalidMethod, ProviderRefused, ProviderUnavailable
from payment_service.domain.intents import Intent, IntentState, NextAction
from payment_service.domain.payments import Failure, FailureCode, Method, Payment, Refund

CALL_SECONDS = Histogram(
    "payment_provider_call_duration_seconds", "Time until the provider answered", ["operation", "outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip

_RETRIES = 2
"""By the SDK, with backoff, jitter and the same idempotency key: of connections that broke, conflicts and server errors."""
_PAGE = 100
_UNEXPECTED_STATE = "payment_intent_unexpected_state"
_GONE = "resource_missing"

# What tells a thief that the card is known as stolen is not passed on. https://docs.stripe.com/declines/codes
_KEPT_TO_OURSELVES = frozenset({"fraudulent", "lost_card", "merchant_blacklist", "pickup_card", "stolen_card"})

_STATES = {
    "requires_payment_method": IntentState.AWAITING,
    "requires_confirmation": IntentState.AWAITING,
    "requires_action": IntentState.ACTION,
    "processing": IntentState.PROCESSING,
    "requires_capture": IntentState.PROCESSING,
    "succeeded": IntentState.SUCCEEDED,
    "canceled": IntentState.CANCELED,
}
_REFUND_STATES = {
    "succeeded": RefundState.SUCCEEDED,
    "failed": RefundState.FAILED,
    "canceled": RefundState.FAILED,
}

log = logs.get_logger(__name__)


class StripeProvider:
    name = "stripe"

    def __init__(self, secret_key: str, api_base: str | None, deadline: float) -> None:
        """`deadline`: seconds that a call may take, the SDK's own repetitions included."""
        stripe.enable_telemetry = False  # it would write into the home directory, which is read-only
        logging.getLogger("stripe").setLevel(logging.WARNING)  # below that it writes whole answers, with client secrets
        self._deadline = deadline
        self._transport = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=deadline))
        self._stripe = stripe.StripeClient(
            secret_key,
            base_addresses={} if api_base is None else {"api": api_base.rstrip("/")},
            http_client=self._transport,
            max_network_retries=_RETRIES,
        ).v1

    async def create_intent(self, payment: Payment) -> Intent:
        async with self._calling("create_intent"):
            made = await self._stripe.payment_intents.create_async(
                {
                    "amount": payment.amount.amount,
                    "currency": payment.amount.currency.lower(),
                    "allowed_payment_method_types": ["card"],
                    "metadata": {"payment_id": str(payment.id), "order_id": str(payment.order_id)},
                },
                {"idempotency_key": str(payment.id)},
            )
        return _intent(made)

    async def intent(self, intent_id: str) -> Intent:
        async with self._looking("retrieve_intent"):
            return _intent(await self._stripe.payment_intents.retrieve_async(intent_id))

    async def confirm(self, payment: Payment, intent_id: str, method: Method) -> Intent:
        intents = self._stripe.payment_intents
        try:
            async with self._calling("confirm"):
                if method.customer is not None:
                    await intents.update_async(intent_id, {"customer": method.customer})
                options: stripe.RequestOptions = {"idempotency_key": f"{payment.id}-confirm"}
                return _intent(await intents.confirm_async(intent_id, {"payment_method": method.ref}, options))
        except ProviderRefused as refusal:
            if refusal.failure.reason == _UNEXPECTED_STATE:
                return await self.intent(intent_id)  # it was confirmed before, or is cancelled
            raise

    async def resume(self, intent_id: str) -> Intent:
        return await self.intent(intent_id)  # Stripe knows by itself when its customer has acted

    async def cancel(self, intent_id: str) -> Intent:
        try:
            async with self._calling("cancel"):
                return _intent(await self._stripe.payment_intents.cancel_async(intent_id))
        except ProviderRefused as refusal:
            if refusal.failure.reason == _UNEXPECTED_STATE:
                return await self.intent(intent_id)
            raise

    async def refund(self, refund: Refund, intent_id: str, *, is_repeated: bool) -> ProviderRefund:
        if is_repeated:  # the answer may have been lost: a new idempotency key must not pay it again
            for made in await self.refunds(intent_id):
                if made.made_as == str(refund.id):
                    return made
        async with self._calling("refund"):
            made_now = await self._stripe.refunds.create_async(
                {
                    "payment_intent": intent_id,
                    "amount": refund.amount.amount,
                    "metadata": {"refund_id": str(refund.id), "payment_id": str(refund.payment_id)},
                },
                {"idempotency_key": str(refund.id)},
            )
        return _refund(made_now)

    async def refund_state(self, provider_ref: str) -> ProviderRefund:
        async with self._looking("retrieve_refund"):
            return _refund(await self._stripe.refunds.retrieve_async(provider_ref))

    async def refunds(self, intent_id: str) -> Sequence[ProviderRefund]:
        async with self._looking("list_refunds"):
            listed = await self._stripe.refunds.list_async({"payment_intent": intent_id, "limit": _PAGE})
            return [_refund(made) async for made in listed.auto_paging_iter()]

    async def create_customer(self, user_id: UserId) -> str:
        async with self._calling("create_customer"):
            made = await self._stripe.customers.create_async(
                {"metadata": {"user_id": str(user_id)}}, {"idempotency_key": f"customer-{user_id}"}
            )
        return made.id

    async def attach(self, customer: str, method: str) -> SavedCard:
        async with self._calling("attach"):
            return _card(await self._stripe.payment_methods.attach_async(method, {"customer": customer}))

    async def detach(self, method: str) -> None:
        try:
            async with self._calling("detach"):
                await self._stripe.payment_methods.detach_async(method)
        except ProviderRefused as refusal:
            log.info("a payment method was detached already", reason=refusal.failure.reason)

    async def erase_customer(self, customer: str) -> None:
        try:
            async with self._calling("erase_customer"):
                await self._stripe.customers.delete_async(customer)
        except ProviderRefused as refusal:
            if refusal.failure.reason != _GONE:
                raise

    async def close(self) -> None:
        await self._transport.close_async()  # type: ignore[no-untyped-call]  # the SDK gives it no types

    @asynccontextmanager
    async def _looking(self, operation: str) -> AsyncIterator[None]:
        """A call that only looks: one that Stripe refuses says nothing about what is there."""
        try:
            async with self._calling(operation):
                yield
        except ProviderRefused as refusal:
            log.error("the provider does not let us look", operation=operation, reason=refusal.failure.reason)  # noqa: TRY400 - it says enough
            raise ProviderUnavailable("the payment provider does not say what it did; try again in a moment") from None

    @asynccontextmanager
    async def _calling(self, operation: str) -> AsyncIterator[None]:
        """One call within the deadline, measured, its errors typed. What Stripe wrote stays out of the chain: it may hold secrets."""
        started, outcome = asyncio.get_running_loop().time(), "answered"
        try:
            async with asyncio.timeout(self._deadline):
                yield
        except stripe.CardError as error:
            outcome = "declined"
            raise Declined(Failure(FailureCode.CARD_DECLINED, _decline_reason(error))) from None
        except stripe.InvalidRequestError as error:
            outcome = "refused"
            raise _refusal(error, operation) from None
        except (stripe.StripeError, aiohttp.ClientError, TimeoutError) as error:
            outcome = "unavailable"
            log.warning("the provider did not answer", operation=operation, reason=_described(error))
            raise ProviderUnavailable("the payment provider did not answer; try again in a moment") from None
        finally:
            CALL_SECONDS.labels(operation, outcome).observe(asyncio.get_running_loop().time() - started)


def _intent(made: stripe.PaymentIntent) -> Intent:
    problem = made.last_payment_error
    return Intent(
        id=made.id,
        state=_STATES.get(made.status, IntentState.PROCESSING),
        received=Money(made.amount_received, made.currency.upper()) if made.status == "succeeded" else None,
        failure=None if problem is None else _last_failure(problem),
        client_secret=made.client_secret,
        next_action=None if made.next_action is None else _next_action(made.next_action),
    )


def _last_failure(problem: stripe.PaymentIntent.LastPaymentError) -> Failure:
    code, decline = getattr(problem, "code", None), getattr(problem, "decline_code", None)
    if code == "payment_intent_authentication_failure":
        return Failure(FailureCode.AUTHENTICATION_FAILED, code)
    return Failure(FailureCode.CARD_DECLINED, _discreet(decline or code))


def _next_action(wanted: stripe.PaymentIntent.NextAction) -> NextAction:
    redirect = getattr(wanted, "redirect_to_url", None)
    return NextAction(wanted.type, None if redirect is None else redirect.url)


def _refund(made: stripe.Refund) -> ProviderRefund:
    state = _REFUND_STATES.get(made.status or "", RefundState.PENDING)
    reason = getattr(made, "failure_reason", None)
    metadata = made.metadata.to_dict() if made.metadata is not None else {}
    return ProviderRefund(made.id, state, Money(made.amount, made.currency.upper()), reason, metadata.get("refund_id"))


def _card(method: stripe.PaymentMethod) -> SavedCard:
    card = method.card
    if card is None:
        raise InvalidMethod(Failure(FailureCode.INVALID_PAYMENT_METHOD, "not_a_card"))
    return SavedCard(method.id, card.brand, card.last4 or "", card.exp_month, card.exp_year)


def _decline_reason(error: stripe.CardError) -> str | None:
    details = error.error
    decline = None if details is None else getattr(details, "decline_code", None)
    return _discreet(cast("str | None", decline) or error.code)


def _discreet(reason: str | None) -> str | None:
    return "generic_decline" if reason in _KEPT_TO_OURSELVES else reason


def _refusal(error: stripe.InvalidRequestError, operation: str) -> ProviderRefused:
    """Where a method was sent, and nothing else is wrong, it is the method that Stripe does not take."""
    reason = error.code or "invalid_request"
    if operation in ("confirm", "attach") and reason != _UNEXPECTED_STATE and error.param not in ("intent", "customer"):
        return InvalidMethod(Failure(FailureCode.INVALID_PAYMENT_METHOD, reason))
    return ProviderRefused(Failure(FailureCode.REFUSED_BY_PROVIDER, reason))


def _described(error: Exception) -> str:
    status = getattr(error, "http_status", None)
    return f"{type(error).__name__} {status}" if status else type(error).__name__
