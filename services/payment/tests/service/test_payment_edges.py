"""What ends in a defined state and not in a loop: wrong amounts, late cancellations, refunds without an event."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.grpc.wire import timestamp
from chassis_testing.waiting import eventually
from payment_harness import REQUIRES_ACTION, VISA, Payments, order_cancelled
from payment_service.clients.stripe import StripeProvider
from payment_service.domain.intents import Intent
from payment_service.service.sweeper import PaymentSweeper
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded
from stripe_double import StripeDouble, sign


async def schedule_of(payments: Payments, payment_id: str) -> datetime | None:
    async with payments.sql() as sql:
        due: datetime | None = await sql.fetchval("SELECT next_check_at FROM payments WHERE id = $1", UUID(payment_id))
        return due


async def make_due(payments: Payments, payment_id: str) -> None:
    async with payments.sql() as sql:
        await sql.execute("UPDATE payments SET next_check_at = now(), attempts = 0 WHERE id = $1", UUID(payment_id))


async def do_not_check(_sweeper: PaymentSweeper, _payment_id: UUID) -> None:
    """Replaces a check of the sweeper."""


@pytest.mark.parametrize("is_order_cancelled", [False, True])
async def test_a_wrong_amount_is_refunded_and_its_payment_has_failed(
    stripe_payments: Payments, stripe: StripeDouble, is_order_cancelled: bool
) -> None:
    payment = await stripe_payments.begin_payment(81, 1000)
    stripe.intent_of(payment["id"])["amount"] = 700
    stripe.pay_in_browser(payment["id"])
    if is_order_cancelled:
        await stripe_payments.deliver_events(order_cancelled(payment["order_id"]))
    else:
        await make_due(stripe_payments, payment["id"])

    failed = await stripe_payments.wait_for_status(payment["id"], "failed")
    assert (failed["failure"]["code"], failed["captured"]["amount"]) == ("wrong_amount", 700)

    async def is_refunded() -> bool:
        return bool((await stripe_payments.get_payment(payment["id"]))["refunded"]["amount"] == 700)

    await eventually(is_refunded)
    assert stripe.refunded_of(payment["id"]) == 700
    assert [refund["reason"] for refund in await stripe_payments.list_refunds(payment["id"])] == ["wrong_amount"]
    assert await schedule_of(stripe_payments, payment["id"]) is None
    assert stripe_payments.events_of_order(payment["order_id"]) == []
    again = await stripe_payments.post_payment(81, payment["order_id"], payment_method=VISA, confirm=True)
    if not is_order_cancelled:
        assert again.json()["data"]["status"] == "completed"


async def test_a_wrong_amount_is_an_error_for_the_buyer_who_confirms(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(82, 1000)
    stripe.intent_of(payment["id"])["amount"] = 1001

    refused = await stripe_payments.confirm(82, payment["id"])

    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_amount")


async def test_a_closing_payment_that_is_being_charged_is_cancelled_once_a_check(
    stripe_payments: Payments, stripe: StripeDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await stripe_payments.begin_payment(83, 1000)
    stripe.intent_of(payment["id"])["status"] = "processing"
    monkeypatch.setattr(PaymentSweeper, "_check_payment", do_not_check)  # the request is the only check
    before = len(stripe.requests)

    cancelled = await stripe_payments.cancel(83, payment["id"])

    assert cancelled.status_code == 200
    assert [name for name, _ in stripe.requests[before:]].count("cancel_intent") == 1
    monkeypatch.undo()
    stripe.intent_of(payment["id"])["status"] = "canceled"
    await make_due(stripe_payments, payment["id"])
    await stripe_payments.wait_for_status(payment["id"], "failed")


async def test_a_dashboard_refund_without_an_event_is_found_before_more_is_refunded(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.complete_payment(84, 1000)
    stripe.refund_in_dashboard(payment["id"], 400)

    too_much = await stripe_payments.refund(payment["id"], amount=601)
    remainder = await stripe_payments.refund(payment["id"])

    assert (too_much.status_code, too_much.json()["code"]) == (409, "refund_exceeds_captured")
    assert remainder.json()["data"]["amount"]["amount"] == 600
    await stripe_payments.wait_for_status(payment["id"], "refunded")


async def test_a_dashboard_refund_without_an_event_is_found_when_the_order_is_cancelled(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.complete_payment(85, 1000)
    stripe.refund_in_dashboard(payment["id"], 400)
    stripe.refuses_excessive_refunds = True

    await stripe_payments.deliver_events(order_cancelled(payment["order_id"]))

    await stripe_payments.wait_for_status(payment["id"], "refunded")
    refunds = await stripe_payments.list_refunds(payment["id"])
    assert sorted((refund["amount"]["amount"], refund["status"]) for refund in refunds) == [
        (400, "succeeded"),
        (600, "succeeded"),
        (1000, "failed"),
    ]


async def test_a_refund_of_which_the_provider_reports_another_amount_is_corrected(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.complete_payment(86, 1000)
    stripe.keeps_refunds_pending = True
    pending = (await stripe_payments.refund(payment["id"], amount=500)).json()["data"]
    (made,) = [r for r in stripe.refunds.values() if r["metadata"].get("refund_id") == pending["id"]]
    made.update(amount=300, status="succeeded")
    body = stripe.event("refund.updated", made)
    await stripe_payments.http.post("/api/v1/webhooks/stripe", content=body, headers=sign(body))

    refunded = await stripe_payments.wait_for_status(payment["id"], "partially_refunded")

    assert refunded["refunded"]["amount"] == 300
    await stripe_payments.wait_for_events(payment["order_id"], PaymentCompleted, PaymentRefunded)


async def test_more_refunded_in_the_dashboard_than_was_captured_is_reported_and_not_asked_for_again(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.complete_payment(87, 1000)
    made = stripe.refund_in_dashboard(payment["id"], 1001)
    body = stripe.event("refund.created", made)
    await stripe_payments.http.post("/api/v1/webhooks/stripe", content=body, headers=sign(body))

    async def is_not_due() -> bool:
        return await schedule_of(stripe_payments, payment["id"]) is None

    await eventually(is_not_due)
    assert (await stripe_payments.get_payment(payment["id"]))["refunded"]["amount"] == 0


async def test_a_waiting_payment_is_asked_for_once_and_then_when_its_order_expires(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    order_id = stripe_payments.orders.place(88)
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    stripe_payments.orders.orders[order_id].expires_at.CopyFrom(timestamp(expires_at))
    payment = (await stripe_payments.post_payment(88, order_id, payment_method=REQUIRES_ACTION, confirm=True)).json()

    async def waits_for_the_expiry() -> bool:
        return await schedule_of(stripe_payments, payment["data"]["id"]) == expires_at

    await eventually(waits_for_the_expiry)
    stripe.pay_in_browser(payment["data"]["id"])
    shown = await stripe_payments.get(f"/payments/{payment['data']['id']}", 88)  # the buyer returns: a hint

    assert shown.status_code == 200
    await stripe_payments.wait_for_status(payment["data"]["id"], "completed")


async def test_a_refund_does_not_wait_for_the_checks_of_payments(
    stripe_payments: Payments, stripe: StripeDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid, waiting = await stripe_payments.complete_payment(89, 1000), await stripe_payments.begin_payment(89)
    get_intent, is_asked, may_answer = StripeProvider.get_intent, asyncio.Event(), asyncio.Event()

    async def get_and_wait(self: StripeProvider, intent_id: str) -> Intent:
        is_asked.set()
        await may_answer.wait()
        return await get_intent(self, intent_id)

    monkeypatch.setattr(StripeProvider, "get_intent", get_and_wait)
    await make_due(stripe_payments, waiting["id"])
    await is_asked.wait()
    try:
        await stripe_payments.deliver_events(order_cancelled(paid["order_id"]))
        await stripe_payments.wait_for_status(paid["id"], "refunded")
    finally:
        may_answer.set()


async def test_at_most_twenty_methods_are_saved_at_once(stripe_payments: Payments, stripe: StripeDouble) -> None:
    responses = await asyncio.gather(
        *(stripe_payments.post("/payment-methods", 90, {"payment_method": VISA}) for _ in range(30))
    )

    codes = sorted(response.status_code for response in responses)
    assert codes == [201] * 20 + [409] * 10
    customer = next(reversed(stripe.customers))

    async def the_others_are_detached() -> bool:
        return len(stripe.customers[customer]) == 20

    await eventually(the_others_are_detached)
    assert len((await stripe_payments.get("/payment-methods", 90)).json()["data"]) == 20


async def test_shops_on_one_account_of_stripe_have_customers_of_their_own(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    await stripe_payments.post("/payment-methods", 91, {"payment_method": VISA})
    async with stripe_payments.sql() as sql:
        first = await sql.fetchval("SELECT id FROM shop")
        await sql.execute("UPDATE shop SET id = gen_random_uuid()")
        await sql.execute("UPDATE customers SET provider_ref = NULL WHERE user_id = 91")  # user 91 of another shop
    saved = await stripe_payments.post("/payment-methods", 91, {"payment_method": VISA})

    keys = [key for name, key in stripe.requests if name == "create_customer" and key.endswith("customer-91")]
    assert saved.status_code == 201
    assert len(set(keys)) == 2
    assert keys[0] == f"{first}-customer-91"
