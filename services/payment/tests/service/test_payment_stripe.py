"""Payments through Stripe's own SDK, against a double of what Stripe documents: the states that stripe-mock cannot reach."""

import logging

import pytest
from chassis.http.authentication import Role
from payment_harness import ADMIN, ASKS, DECLINED, VISA, Payments
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded
from stripe_double import StripeDouble


async def test_the_amount_stripe_is_told_is_the_orders(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.begun(31, 4990)

    intent = stripe.intent_of(payment["id"])
    assert (intent["amount"], intent["currency"]) == (4990, "usd")
    assert payment["client_secret"] == intent["client_secret"]
    assert stripe.requests.count(("create_intent", payment["id"])) == 1


async def test_a_payment_is_charged_once_and_refunded_in_parts(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.paid(31, 1000)

    part = await striped.refund(payment["id"], amount=400)
    rest = await striped.refund(payment["id"])

    assert stripe.charges_of(payment["id"]) == 1
    assert [part.json()["data"]["status"], rest.json()["data"]["status"]] == ["succeeded"] * 2
    assert stripe.refunded_of(payment["id"]) == 1000
    assert ("create_refund", part.json()["data"]["id"]) in stripe.requests
    await striped.heard(payment["order_id"], PaymentCompleted, PaymentRefunded, PaymentRefunded)


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (DECLINED, "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedStolenCard", "generic_decline"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ],
)
async def test_a_decline_kills_the_intent_before_the_payment_fails(
    striped: Payments, stripe: StripeDouble, card: str, reason: str
) -> None:
    payment = await striped.begun(32)

    answer = await striped.confirm(32, payment["id"], card)

    assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (402, "card_declined", reason)
    assert stripe.intent_of(payment["id"])["status"] == "canceled"
    failed = await striped.payment(payment["id"])
    assert (failed["status"], failed["failure"]["reason"]) == ("failed", reason)


async def test_a_declined_payment_whose_intent_cannot_be_killed_is_not_failed_yet(
    striped: Payments, stripe: StripeDouble
) -> None:
    order_id = striped.orders.place(32)
    payment = (await striped.begin(32, order_id)).json()["data"]

    async def go_away() -> None:
        stripe.is_away = True

    stripe.after["confirm_intent"] = go_away
    answer = await striped.confirm(32, payment["id"], DECLINED)

    assert answer.status_code == 503
    assert (await striped.payment(payment["id"]))["status"] == "processing"
    assert (await striped.begin(32, order_id)).json()["code"] == "payment_exists"
    stripe.recover()
    failed = await striped.becomes(payment["id"], "failed")
    assert failed["failure"] == {"code": "card_declined", "reason": "generic_decline"}
    assert stripe.intent_of(payment["id"])["status"] == "canceled"


async def test_a_customer_who_authenticates_has_paid(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.begun(33, payment_method=ASKS, confirm=True)

    assert (payment["status"], payment["next_action"]) == (
        "processing",
        {"type": "use_stripe_sdk", "redirect_url": None},
    )
    assert payment["client_secret"] == stripe.intent_of(payment["id"])["client_secret"]
    stripe.authenticate(payment["id"])
    assert (await striped.confirm(33, payment["id"], None)).json()["data"]["status"] == "completed"
    assert stripe.charges_of(payment["id"]) == 1


async def test_a_customer_who_fails_to_authenticate_has_not_paid(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.begun(33, payment_method=ASKS, confirm=True)

    stripe.authenticate(payment["id"], succeeds=False)
    answer = await striped.confirm(33, payment["id"], None)

    assert (answer.status_code, answer.json()["code"]) == (402, "card_declined")
    assert (await striped.payment(payment["id"]))["failure"]["code"] == "authentication_failed"
    assert stripe.intent_of(payment["id"])["status"] == "canceled"


async def test_without_any_webhook_the_sweeper_finds_what_was_paid_in_the_browser(
    striped: Payments, stripe: StripeDouble
) -> None:
    payment = await striped.begun(33)

    stripe.pay_in_browser(payment["id"])

    await striped.becomes(payment["id"], "completed")
    await striped.heard(payment["order_id"], PaymentCompleted)


async def test_another_amount_than_the_orders_is_never_taken_for_paid(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.begun(33, 1000)
    stripe.intent_of(payment["id"])["amount"] = 1

    answer = await striped.confirm(33, payment["id"])

    assert answer.json()["data"]["status"] == "processing"
    assert striped.about(payment["order_id"]) == []
    stripe.intent_of(payment["id"])["amount_received"] = 1000
    await striped.becomes(payment["id"], "completed")


async def test_a_method_stripe_does_not_know_is_a_422(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.begun(34)

    answer = await striped.confirm(34, payment["id"], "pm_nonsense")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_payment_method")
    assert stripe.intent_of(payment["id"])["status"] == "canceled"


async def test_a_payment_stripe_does_not_take_has_failed(striped: Payments, stripe: StripeDouble) -> None:
    order_id = striped.orders.place(34, 1)
    stripe.refuses_intents = True

    answer = await striped.begin(34, order_id)

    assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (
        409,
        "payment_refused",
        "amount_too_small",
    )
    found = (await striped.get(f"/payments/order/{order_id}", 34)).json()["data"]
    assert (found["status"], found["failure"]["code"]) == ("failed", "refused_by_provider")


async def test_a_stripe_that_is_away_is_a_503_and_the_key_goes_on(striped: Payments, stripe: StripeDouble) -> None:
    order_id = striped.orders.place(35)
    stripe.is_away = True

    away = await striped.begin(35, order_id, key="on", payment_method=VISA, confirm=True)
    assert (away.status_code, away.json()["code"], away.headers["retry-after"]) == (503, "provider_unavailable", "1")
    stripe.recover()
    again = await striped.begin(35, order_id, key="on", payment_method=VISA, confirm=True)

    assert again.json()["data"]["status"] == "completed"
    assert stripe.charges_of(again.json()["data"]["id"]) == 1


async def test_a_slow_stripe_is_not_waited_for_without_end(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.begun(35)
    stripe.slow["confirm_intent"] = 4.0

    answer = await striped.confirm(35, payment["id"])

    assert (answer.status_code, answer.json()["code"]) == (503, "provider_unavailable")
    stripe.recover()
    await striped.becomes(payment["id"], "completed")
    assert stripe.charges_of(payment["id"]) == 1


async def test_an_answer_that_is_lost_is_asked_for_again(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.begun(35)
    stripe.loses = {"confirm_intent"}

    answer = await striped.confirm(35, payment["id"])

    assert (answer.status_code, answer.json()["code"]) == (503, "provider_unavailable")
    assert stripe.requests.count(("confirm_intent", f"{payment['id']}-confirm")) >= 3
    again = await striped.confirm(35, payment["id"])
    assert again.json()["data"]["status"] == "completed"
    assert stripe.charges_of(payment["id"]) == 1


async def test_a_cancellation_that_comes_too_late_says_so(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.begun(36)
    stripe.pay_in_browser(payment["id"])

    answer = await striped.cancel(36, payment["id"])

    assert (answer.status_code, answer.json()["code"]) == (409, "not_cancellable")
    paid = await striped.payment(payment["id"])
    assert (paid["status"], paid["failure"]) == ("completed", None)


async def test_an_intent_cancelled_at_stripe_has_failed_here(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.begun(36)
    stripe.intent_of(payment["id"])["status"] = "canceled"

    failed = await striped.becomes(payment["id"], "failed")

    assert failed["failure"] == {"code": "cancelled", "reason": "by_provider"}


async def test_a_refund_stripe_refuses_gives_the_amount_free_again(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.paid(37, 1000)
    stripe.refuses_refunds = True

    answer = await striped.refund(payment["id"], amount=600)

    assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (
        409,
        "refund_refused",
        "charge_disputed",
    )
    assert (await striped.refunds(payment["id"]))[0]["status"] == "failed"
    stripe.refuses_refunds = False
    assert (await striped.refund(payment["id"], amount=1000)).status_code == 201


async def test_a_refund_stripe_takes_its_time_for_is_finished_by_itself(
    striped: Payments, stripe: StripeDouble
) -> None:
    payment = await striped.paid(37, 1000)
    stripe.late_refunds = True

    answer = await striped.refund(payment["id"], amount=600)
    assert answer.json()["data"]["status"] == "pending"
    for refund in stripe.refunds.values():
        refund["status"] = "succeeded"

    await striped.becomes(payment["id"], "partially_refunded")
    assert stripe.refunded_of(payment["id"]) == 600


async def test_saved_methods_are_charged_through_their_customer(striped: Payments, stripe: StripeDouble) -> None:
    method = (await striped.post("/payment-methods", 38, {"payment_method": VISA})).json()["data"]
    second = (await striped.post("/payment-methods", 38, {"payment_method": VISA})).json()["data"]

    payment = await striped.begun(38, payment_method_id=method["id"], confirm=True)

    assert payment["status"] == "completed"
    customer = stripe.intent_of(payment["id"])["customer"]
    assert len(stripe.customers[customer]) == 2
    assert (await striped.delete(f"/payment-methods/{second['id']}", 38)).status_code == 204
    assert len(stripe.customers[customer]) == 1
    refused = await striped.post("/payment-methods", 38, {"payment_method": "pm_nonsense"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_payment_method")


async def test_a_saved_method_of_somebody_else_is_refused_by_its_reference_too(
    striped: Payments, stripe: StripeDouble
) -> None:
    await striped.post("/payment-methods", 38, {"payment_method": VISA})
    (stolen,) = {m for c in stripe.customers.values() for m in c[-1:]} & set(next(reversed(stripe.customers.values())))
    payment = await striped.begun(39)

    answer = await striped.confirm(39, payment["id"], stolen)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_payment_method")


async def test_neither_keys_nor_secrets_nor_methods_are_logged(
    striped: Payments, stripe: StripeDouble, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        payment = await striped.begun(40, payment_method=ASKS, confirm=True)
        stripe.authenticate(payment["id"])
        await striped.confirm(40, payment["id"], None)
        await striped.get(f"/payments/{payment['id']}", ADMIN, Role.ADMIN)
        await striped.begin(40, striped.orders.place(40), payment_method=DECLINED, confirm=True)
        stripe.is_away = True
        await striped.begin(40, striped.orders.place(40), payment_method="pm_very_secret", confirm=True)

    captured = capsys.readouterr()
    written = caplog.text + captured.out + captured.err
    assert "payment settled" in written
    for secret in ("sk_test_of_the_tests", "_secret_of_the_browser", "whsec_", ASKS, DECLINED, "pm_very_secret"):
        assert secret not in written
