"""Amounts in Stripe's units, on the way there and back: https://docs.stripe.com/currencies."""

import pytest
from payment_harness import VISA, Payments
from stripe_double import StripeDouble, sign

UNITS = pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [
        (5000, "ISK", 500_000),
        (20_000, "UGX", 2_000_000),
        (500_000, "MGA", 5000),
        (5120, "KWD", 5120),
        (5000, "JPY", 5000),
        (17_550, "HUF", 17_550),
    ],
)


@UNITS
async def test_a_payment_and_its_refunds_are_sent_in_stripes_units_and_read_back(
    stripe_payments: Payments, stripe: StripeDouble, amount: int, currency: str, units: int
) -> None:
    payment = await stripe_payments.complete_payment(70, amount, VISA, currency)

    intent = stripe.intent_of(payment["id"])
    assert (intent["amount"], intent["currency"]) == (units, currency.lower())
    assert payment["captured"] == {"amount": amount, "currency": currency}

    refund = await stripe_payments.refund(payment["id"])

    assert refund.json()["data"]["amount"] == {"amount": amount, "currency": currency}
    assert refund.json()["data"]["status"] == "succeeded"
    assert stripe.refunded_of(payment["id"]) == units


async def test_a_refund_made_in_the_dashboard_is_read_in_stripes_units(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.complete_payment(71, 5000, VISA, "ISK")
    body = stripe.event("refund.created", stripe.refund_in_dashboard(payment["id"], 120_000))
    await stripe_payments.http.post("/api/v1/webhooks/stripe", content=body, headers=sign(body))

    refunded = await stripe_payments.wait_for_status(payment["id"], "partially_refunded")

    assert refunded["refunded"] == {"amount": 1200, "currency": "ISK"}


@pytest.mark.parametrize(
    ("amount", "currency", "reason"),
    [
        (5124, "KWD", "it takes multiples of 0.010 KWD only"),
        (150, "MGA", "it takes multiples of 1.00 MGA only"),
        (5000, "LYD", "takes no payments in LYD"),
        (49, "USD", "less than the smallest possible payment, 0.50 USD"),
        (1_000_000_000_000, "USD", "more than the largest possible payment, 9999999999.99 USD"),
    ],
)
async def test_a_total_that_stripe_cannot_charge_is_refused_before_stripe_is_asked(
    stripe_payments: Payments, stripe: StripeDouble, amount: int, currency: str, reason: str
) -> None:
    order_id = stripe_payments.orders.place(72, amount, currency)

    response = await stripe_payments.post_payment(72, order_id)

    assert (response.status_code, response.json()["code"]) == (409, "total_not_chargeable")
    assert reason in response.json()["detail"]
    assert stripe.intents_of_order(order_id) == []


async def test_a_part_that_stripe_cannot_refund_is_refused_and_not_rounded(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.complete_payment(73, 5120, VISA, "KWD")

    refused = await stripe_payments.refund(payment["id"], amount=1234)

    assert (refused.status_code, refused.json()["code"]) == (422, "amount_not_chargeable")
    assert stripe.refunded_of(payment["id"]) == 0
    assert (await stripe_payments.refund(payment["id"], amount=1230)).status_code == 201


async def test_the_simulated_provider_has_no_minimum(payments: Payments) -> None:
    assert (await payments.complete_payment(74, 1, VISA, "LYD"))["status"] == "completed"
