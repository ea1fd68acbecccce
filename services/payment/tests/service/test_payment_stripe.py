"""Payments with Stripe's SDK and a double of Stripe, for the states that stripe-mock cannot reach."""

import logging

import pytest
from chassis.http.authentication import Role
from payment_harness import ADMIN, DECLINED, REQUIRES_ACTION, VISA, Payments
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded
from stripe_double import StripeDouble


async def test_stripe_receives_the_amount_of_the_order(stripe_payments: Payments, stripe: StripeDouble) -> None:
    payment = await stripe_payments.begin_payment(31, 4990)

    intent = stripe.intent_of(payment["id"])
    assert (intent["amount"], intent["currency"]) == (4990, "usd")
    assert payment["client_secret"] == intent["client_secret"]
    assert stripe.requests.count(("create_intent", payment["id"])) == 1


async def test_a_payment_is_charged_once_and_refunded_in_parts(stripe_payments: Payments, stripe: StripeDouble) -> None:
    payment = await stripe_payments.complete_payment(31, 1000)

    part = await stripe_payments.refund(payment["id"], amount=400)
    remainder = await stripe_payments.refund(payment["id"])

    assert stripe.charges_of(payment["id"]) == 1
    assert [part.json()["data"]["status"], remainder.json()["data"]["status"]] == ["succeeded"] * 2
    assert stripe.refunded_of(payment["id"]) == 1000
    assert ("create_refund", part.json()["data"]["id"]) in stripe.requests
    await stripe_payments.wait_for_events(payment["order_id"], PaymentCompleted, PaymentRefunded, PaymentRefunded)


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (DECLINED, "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedStolenCard", "generic_decline"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ],
)
async def test_a_decline_cancels_the_intent_before_the_payment_fails(
    stripe_payments: Payments, stripe: StripeDouble, card: str, reason: str
) -> None:
    payment = await stripe_payments.begin_payment(32)

    response = await stripe_payments.confirm(32, payment["id"], card)

    assert (response.status_code, response.json()["code"], response.json()["reason"]) == (402, "card_declined", reason)
    assert stripe.intent_of(payment["id"])["status"] == "canceled"
    failed = await stripe_payments.get_payment(payment["id"])
    assert (failed["status"], failed["failure"]["reason"]) == ("failed", reason)


async def test_a_declined_payment_whose_intent_cannot_be_cancelled_has_not_failed_yet(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    order_id = stripe_payments.orders.place(32)
    payment = (await stripe_payments.post_payment(32, order_id)).json()["data"]

    async def become_unavailable() -> None:
        stripe.is_unavailable = True

    stripe.hooks["confirm_intent"] = become_unavailable
    response = await stripe_payments.confirm(32, payment["id"], DECLINED)

    assert (response.status_code, response.json()["code"]) == (503, "provider_unavailable")
    assert (await stripe_payments.get_payment(payment["id"]))["status"] == "processing"
    assert (await stripe_payments.post_payment(32, order_id)).json()["code"] == "payment_exists"
    stripe.reset()
    failed = await stripe_payments.wait_for_status(payment["id"], "failed")
    assert failed["failure"] == {"code": "card_declined", "reason": "generic_decline"}
    assert stripe.intent_of(payment["id"])["status"] == "canceled"


async def test_a_customer_who_authenticates_has_paid(stripe_payments: Payments, stripe: StripeDouble) -> None:
    payment = await stripe_payments.begin_payment(33, payment_method=REQUIRES_ACTION, confirm=True)

    assert (payment["status"], payment["next_action"]) == (
        "processing",
        {"type": "use_stripe_sdk", "redirect_url": None},
    )
    assert payment["client_secret"] == stripe.intent_of(payment["id"])["client_secret"]
    stripe.authenticate(payment["id"])
    assert (await stripe_payments.confirm(33, payment["id"], None)).json()["data"]["status"] == "completed"
    assert stripe.charges_of(payment["id"]) == 1


async def test_a_customer_who_fails_to_authenticate_has_not_paid(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(33, payment_method=REQUIRES_ACTION, confirm=True)

    stripe.authenticate(payment["id"], succeeds=False)
    response = await stripe_payments.confirm(33, payment["id"], None)

    assert (response.status_code, response.json()["code"]) == (402, "card_declined")
    assert (await stripe_payments.get_payment(payment["id"]))["failure"]["code"] == "authentication_failed"
    assert stripe.intent_of(payment["id"])["status"] == "canceled"


async def test_the_sweeper_completes_a_payment_made_in_the_browser_without_a_webhook(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(33)

    stripe.pay_in_browser(payment["id"])

    await stripe_payments.wait_for_status(payment["id"], "completed")
    await stripe_payments.wait_for_events(payment["order_id"], PaymentCompleted)


async def test_a_method_unknown_to_stripe_is_a_422(stripe_payments: Payments, stripe: StripeDouble) -> None:
    payment = await stripe_payments.begin_payment(34)

    response = await stripe_payments.confirm(34, payment["id"], "pm_nonsense")

    assert (response.status_code, response.json()["code"]) == (422, "invalid_payment_method")
    assert stripe.intent_of(payment["id"])["status"] == "canceled"


async def test_a_payment_that_stripe_refuses_has_failed(stripe_payments: Payments, stripe: StripeDouble) -> None:
    order_id = stripe_payments.orders.place(34)
    stripe.refuses_intents = True  # below the minimum of the currency that the account settles in

    response = await stripe_payments.post_payment(34, order_id)

    assert (response.status_code, response.json()["code"], response.json()["reason"]) == (
        409,
        "payment_refused",
        "amount_too_small",
    )
    found = (await stripe_payments.get(f"/payments/order/{order_id}", 34)).json()["data"]
    assert (found["status"], found["failure"]["code"]) == ("failed", "refused_by_provider")


async def test_an_unavailable_stripe_is_a_503_and_the_request_can_be_repeated(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    order_id = stripe_payments.orders.place(35)
    stripe.is_unavailable = True

    unavailable = await stripe_payments.post_payment(35, order_id, key="repeated", payment_method=VISA, confirm=True)
    assert (unavailable.status_code, unavailable.json()["code"], unavailable.headers["retry-after"]) == (
        503,
        "provider_unavailable",
        "1",
    )
    stripe.reset()
    again = await stripe_payments.post_payment(35, order_id, key="repeated", payment_method=VISA, confirm=True)

    assert again.json()["data"]["status"] == "completed"
    assert stripe.charges_of(again.json()["data"]["id"]) == 1


async def test_a_late_response_of_stripe_is_a_503_and_the_sweeper_finds_the_outcome(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(35)
    stripe.response_delays["confirm_intent"] = 4.0

    response = await stripe_payments.confirm(35, payment["id"])

    assert (response.status_code, response.json()["code"]) == (503, "provider_unavailable")
    stripe.reset()
    await stripe_payments.wait_for_status(payment["id"], "completed")
    assert stripe.charges_of(payment["id"]) == 1


async def test_a_lost_response_of_stripe_is_a_503_and_a_repeated_request_finds_the_outcome(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(35)
    stripe.lost_responses = {"confirm_intent"}

    response = await stripe_payments.confirm(35, payment["id"])

    assert (response.status_code, response.json()["code"]) == (503, "provider_unavailable")
    assert stripe.requests.count(("confirm_intent", f"{payment['id']}-confirm")) >= 3
    again = await stripe_payments.confirm(35, payment["id"])
    assert again.json()["data"]["status"] == "completed"
    assert stripe.charges_of(payment["id"]) == 1


async def test_a_cancellation_after_the_charge_is_refused(stripe_payments: Payments, stripe: StripeDouble) -> None:
    payment = await stripe_payments.begin_payment(36)
    stripe.pay_in_browser(payment["id"])

    response = await stripe_payments.cancel(36, payment["id"])

    assert (response.status_code, response.json()["code"]) == (409, "not_cancellable")
    paid = await stripe_payments.get_payment(payment["id"])
    assert (paid["status"], paid["failure"]) == ("completed", None)


async def test_a_payment_whose_intent_was_cancelled_at_stripe_fails(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(36)
    stripe.intent_of(payment["id"])["status"] = "canceled"

    failed = await stripe_payments.wait_for_status(payment["id"], "failed")

    assert failed["failure"] == {"code": "cancelled", "reason": "by_provider"}


async def test_a_refund_that_stripe_refuses_releases_its_amount(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.complete_payment(37, 1000)
    stripe.refuses_refunds = True

    response = await stripe_payments.refund(payment["id"], amount=600)

    assert (response.status_code, response.json()["code"], response.json()["reason"]) == (
        409,
        "refund_refused",
        "charge_disputed",
    )
    assert (await stripe_payments.list_refunds(payment["id"]))[0]["status"] == "failed"
    stripe.refuses_refunds = False
    assert (await stripe_payments.refund(payment["id"], amount=1000)).status_code == 201


async def test_a_refund_pending_at_stripe_is_finished_by_the_sweeper(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.complete_payment(37, 1000)
    stripe.keeps_refunds_pending = True

    response = await stripe_payments.refund(payment["id"], amount=600)
    assert response.json()["data"]["status"] == "pending"
    for refund in stripe.refunds.values():
        if refund["metadata"].get("payment_id") == payment["id"]:
            refund["status"] = "succeeded"

    await stripe_payments.wait_for_status(payment["id"], "partially_refunded")
    assert stripe.refunded_of(payment["id"]) == 600


async def test_saved_methods_are_charged_through_their_customer(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    method = (await stripe_payments.post("/payment-methods", 38, {"payment_method": VISA})).json()["data"]
    second = (await stripe_payments.post("/payment-methods", 38, {"payment_method": VISA})).json()["data"]

    payment = await stripe_payments.begin_payment(38, payment_method_id=method["id"], confirm=True)

    assert payment["status"] == "completed"
    customer = stripe.intent_of(payment["id"])["customer"]
    assert len(stripe.customers[customer]) == 2
    assert (await stripe_payments.delete(f"/payment-methods/{second['id']}", 38)).status_code == 204
    assert len(stripe.customers[customer]) == 1
    refused = await stripe_payments.post("/payment-methods", 38, {"payment_method": "pm_nonsense"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_payment_method")


async def test_another_users_saved_method_is_refused_by_its_reference_too(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    await stripe_payments.post("/payment-methods", 38, {"payment_method": VISA})
    (foreign,) = {m for c in stripe.customers.values() for m in c[-1:]} & set(next(reversed(stripe.customers.values())))
    payment = await stripe_payments.begin_payment(39)

    response = await stripe_payments.confirm(39, payment["id"], foreign)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_payment_method")


async def test_keys_secrets_and_methods_are_not_logged(
    stripe_payments: Payments,
    stripe: StripeDouble,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.DEBUG):
        payment = await stripe_payments.begin_payment(40, payment_method=REQUIRES_ACTION, confirm=True)
        stripe.authenticate(payment["id"])
        await stripe_payments.confirm(40, payment["id"], None)
        await stripe_payments.get(f"/payments/{payment['id']}", ADMIN, Role.ADMIN)
        await stripe_payments.post_payment(40, stripe_payments.orders.place(40), payment_method=DECLINED, confirm=True)
        stripe.is_unavailable = True
        await stripe_payments.post_payment(
            40, stripe_payments.orders.place(40), payment_method="pm_very_secret", confirm=True
        )

    captured = capsys.readouterr()
    output = caplog.text + captured.out + captured.err
    assert "payment settled" in output
    for secret in (
        "sk_test_of_the_tests",
        "_secret_of_the_browser",
        "whsec_",
        REQUIRES_ACTION,
        DECLINED,
        "pm_very_secret",
    ):
        assert secret not in output
