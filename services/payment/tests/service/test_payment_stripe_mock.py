"""The Stripe adapter with stripe-mock, which is generated from Stripe's own description of its API.

stripe-mock knows every route and the types of its parameters, stores nothing and responds with examples. So these
tests prove that our requests are valid and that Stripe's responses are parsed.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from chassis.types.ids import OrderId, UserId, uuid7
from chassis.types.money import Money
from chassis_testing.environment import environment_variable
from payment_service.clients.stripe import StripeProvider
from payment_service.domain.errors import ProviderRefused, ProviderUnavailable
from payment_service.domain.payment_methods import PaymentMethod
from payment_service.domain.payments import Payment, PaymentId, Refund, RefundId

NOW = datetime.now(UTC)


@pytest.fixture
async def provider() -> AsyncIterator[StripeProvider]:
    stripe = StripeProvider("sk_test_123", environment_variable("TEST_STRIPE_URL"), deadline=10)
    yield stripe
    await stripe.close()


def new_payment() -> Payment:
    return Payment(PaymentId(uuid7()), OrderId(uuid7()), UserId(3), Money(2000, "USD"), "stripe", NOW, NOW)


def new_refund(payment: Payment) -> Refund:
    return Refund(RefundId(uuid7()), payment.id, Money(100, "USD"), NOW)


async def test_the_adapter_creates_confirms_and_cancels_intents(provider: StripeProvider) -> None:
    payment = new_payment()

    created = await provider.create_intent(payment)
    retrieved = await provider.get_intent(created.id)
    confirmed = await provider.confirm_intent(payment, created.id, PaymentMethod("pm_card_visa"))
    saved = await provider.confirm_intent(payment, created.id, PaymentMethod("pm_1", "cus_1"))
    cancelled = await provider.cancel_intent(created.id)

    assert created.client_secret
    assert {created.id, retrieved.id, confirmed.id, saved.id, cancelled.id} == {created.id}


async def test_the_adapter_lists_events(provider: StripeProvider) -> None:
    first = await provider.list_events(NOW, None)
    next_page = await provider.list_events(NOW, "evt_1")

    assert [event.event_id[:4] for event in [*first.events, *next_page.events]] == ["evt_", "evt_"]


async def test_the_adapter_creates_and_retrieves_refunds(provider: StripeProvider) -> None:
    refund = new_refund(new_payment())

    first = await provider.create_refund(refund, "pi_1", is_repeated=False)
    again = await provider.create_refund(refund, "pi_1", is_repeated=True)
    retrieved = await provider.get_refund(first.id)

    assert first.amount == again.amount == Money(100, "USD")
    assert retrieved.id == first.id


async def test_the_adapter_attaches_and_detaches_methods_of_customers(provider: StripeProvider) -> None:
    customer = await provider.create_customer(UserId(3), uuid7())
    card = await provider.attach_method(customer, "pm_card_visa")

    assert customer.startswith("cus_")
    assert (len(card.last4), bool(card.brand)) == (4, True)
    await provider.detach_method(card.ref)
    await provider.erase_customer(customer)


async def test_an_invalid_request_is_refused(provider: StripeProvider) -> None:
    with pytest.raises(ProviderRefused):
        async with provider._call("create_intent"):
            await provider._stripe.payment_intents.create_async({"amount": "much", "currency": "usd"})  # type: ignore[typeddict-item]  # deliberately of a wrong type


async def test_an_invalid_api_key_makes_the_provider_unavailable() -> None:
    unauthorized = StripeProvider("no key at all", environment_variable("TEST_STRIPE_URL"), deadline=10)

    with pytest.raises(ProviderUnavailable):
        await unauthorized.create_intent(new_payment())
    await unauthorized.close()


async def test_an_unreachable_stripe_is_unavailable() -> None:
    unreachable = StripeProvider("sk_test_123", "http://127.0.0.1:1", deadline=5)

    with pytest.raises(ProviderUnavailable):
        await unreachable.get_intent("pi_1")
    await unreachable.close()
