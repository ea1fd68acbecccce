"""The Stripe adapter against stripe-mock, which is made from Stripe's own description of its API.

It knows every route and the types of its parameters, remembers nothing and answers with examples: what it proves is that we ask in
Stripe's words and understand its answers.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from chassis.types.ids import OrderId, UserId, uuid7
from chassis.types.money import Money
from chassis_testing.environment import environment_variable
from payment_service.clients.stripe import StripeProvider
from payment_service.domain.errors import ProviderRefused, ProviderUnavailable
from payment_service.domain.payments import Method, Payment, PaymentId, Refund, RefundId

NOW = datetime.now(UTC)


@pytest.fixture
async def provider() -> AsyncIterator[StripeProvider]:
    stripe = StripeProvider("sk_test_123", environment_variable("TEST_STRIPE_URL"), deadline=10)
    yield stripe
    await stripe.close()


def a_payment() -> Payment:
    return Payment(PaymentId(uuid7()), OrderId(uuid7()), UserId(3), Money(2000, "USD"), "stripe", NOW, NOW)


def a_refund(payment: Payment) -> Refund:
    return Refund(RefundId(uuid7()), payment.id, Money(100, "USD"), NOW)


async def test_intents_are_understood(provider: StripeProvider) -> None:
    payment = a_payment()

    made = await provider.create_intent(payment)
    seen = await provider.intent(made.id)
    confirmed = await provider.confirm(payment, made.id, Method("pm_card_visa"))
    saved = await provider.confirm(payment, made.id, Method("pm_1", "cus_1"))
    cancelled = await provider.cancel(made.id)

    assert made.client_secret
    assert {made.id, seen.id, confirmed.id, saved.id, cancelled.id} == {made.id}


async def test_refunds_are_understood(provider: StripeProvider) -> None:
    refund = a_refund(a_payment())

    first = await provider.refund(refund, "pi_1", is_repeated=False)
    again = await provider.refund(refund, "pi_1", is_repeated=True)
    seen = await provider.refund_state(first.id)

    assert first.amount == again.amount == Money(100, "USD")
    assert seen.id == first.id


async def test_customers_and_their_methods_are_understood(provider: StripeProvider) -> None:
    customer = await provider.create_customer(UserId(3))
    card = await provider.attach(customer, "pm_card_visa")

    assert customer.startswith("cus_")
    assert (len(card.last4), bool(card.brand)) == (4, True)
    await provider.detach(card.ref)
    await provider.erase_customer(customer)


async def test_a_request_that_stripe_does_not_understand_is_refused(provider: StripeProvider) -> None:
    with pytest.raises(ProviderRefused):
        async with provider._calling("create_intent"):
            await provider._stripe.payment_intents.create_async({"amount": "much", "currency": "usd"})  # type: ignore[typeddict-item]  # on purpose


async def test_a_key_that_stripe_does_not_take_is_for_the_shop_to_mend() -> None:
    stranger = StripeProvider("no key at all", environment_variable("TEST_STRIPE_URL"), deadline=10)

    with pytest.raises(ProviderUnavailable):
        await stranger.create_intent(a_payment())
    await stranger.close()


async def test_a_stripe_that_is_not_there_is_unavailable() -> None:
    nowhere = StripeProvider("sk_test_123", "http://127.0.0.1:1", deadline=5)

    with pytest.raises(ProviderUnavailable):
        await nowhere.intent("pi_1")
    await nowhere.close()
