"""Stripe's webhooks: only signed ones are accepted, and neither their number nor their order matters."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from chassis_testing.waiting import eventually
from payment_harness import REQUIRES_ACTION, Payments, order_cancelled
from payment_service.clients.provider import ProviderRefund
from payment_service.clients.stripe import StripeProvider
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded
from stripe_double import StripeDouble, sign


async def send(stripe_payments: Payments, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    return await stripe_payments.http.post("/api/v1/webhooks/stripe", content=body, headers=headers or sign(body))


async def postpone_check(stripe_payments: Payments, payment_id: str) -> None:
    """Postpones the sweeper's next check by five minutes, so that what happens before is the effect of a webhook."""
    async with stripe_payments.sql() as sql:
        await sql.execute(
            "UPDATE payments SET next_check_at = now() + interval '5 minutes' WHERE id = $1::uuid", payment_id
        )


async def test_a_webhook_completes_a_payment_made_in_the_browser(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(61)
    await postpone_check(stripe_payments, payment["id"])
    stripe.pay_in_browser(payment["id"])

    response = await send(stripe_payments, stripe.event("payment_intent.succeeded", stripe.intent_of(payment["id"])))

    assert (response.status_code, response.json()) == (200, {"received": True})
    await stripe_payments.wait_for_status(payment["id"], "completed")
    await stripe_payments.wait_for_events(payment["order_id"], PaymentCompleted)


async def test_a_webhook_of_a_charge_completes_its_payment(stripe_payments: Payments, stripe: StripeDouble) -> None:
    payment = await stripe_payments.begin_payment(61)
    await postpone_check(stripe_payments, payment["id"])
    stripe.pay_in_browser(payment["id"])
    charge = {"id": "ch_1", "object": "charge", "payment_intent": stripe.intent_of(payment["id"])["id"], "metadata": {}}

    await send(stripe_payments, stripe.event("charge.succeeded", charge))

    await stripe_payments.wait_for_status(payment["id"], "completed")


async def test_a_webhook_with_a_false_status_changes_nothing(stripe_payments: Payments, stripe: StripeDouble) -> None:
    """Even a signed webhook is only a hint: what counts is what Stripe responds when it is called."""
    payment = await stripe_payments.begin_payment(61)
    false_intent = {**stripe.intent_of(payment["id"]), "status": "succeeded", "amount_received": 10_000}

    await send(stripe_payments, stripe.event("payment_intent.succeeded", false_intent))
    await postpone_check(stripe_payments, payment["id"])
    await send(stripe_payments, stripe.event("payment_intent.succeeded", false_intent))

    async with stripe_payments.sql() as sql:
        assert await sql.fetchval(
            "SELECT next_check_at < now() + interval '1 minute' FROM payments WHERE id = $1::uuid", payment["id"]
        )
    assert (await stripe_payments.get_payment(payment["id"]))["status"] == "pending"


@pytest.mark.parametrize("seed", range(5))
async def test_webhooks_replayed_and_shuffled_change_nothing(
    stripe_payments: Payments, stripe: StripeDouble, seed: int
) -> None:
    print(f"seed {seed}")  # noqa: T201 - to reproduce a failure
    chance = random.Random(seed)
    payment = await stripe_payments.begin_payment(62, 1000, payment_method=REQUIRES_ACTION, confirm=True)
    intent = stripe.intent_of(payment["id"])
    bodies = [stripe.event("payment_intent.created", dict(intent) | {"status": "requires_payment_method"})]
    bodies.append(stripe.event("payment_intent.requires_action", dict(intent)))
    bodies.append(stripe.event("payment_intent.payment_failed", dict(intent) | {"status": "requires_payment_method"}))
    stripe.authenticate(payment["id"])
    bodies.append(stripe.event("payment_intent.succeeded", dict(intent)))
    bodies.append(stripe.event("payment_intent.canceled", dict(intent) | {"status": "canceled"}))
    replayed = bodies * 3
    chance.shuffle(replayed)

    responses = [await send(stripe_payments, body) for body in replayed]

    assert {response.status_code for response in responses} == {200}
    await stripe_payments.wait_for_status(payment["id"], "completed")
    await stripe_payments.refund(payment["id"], amount=100)
    for body in replayed:
        await send(stripe_payments, body)
    assert (await stripe_payments.get_payment(payment["id"]))["status"] == "partially_refunded"
    assert stripe.charges_of(payment["id"]) == 1

    async def is_published() -> bool:
        return any(
            isinstance(payload, PaymentCompleted) for payload in stripe_payments.events_of_order(payment["order_id"])
        )

    await eventually(is_published)
    assert (
        sum(isinstance(payload, PaymentCompleted) for payload in stripe_payments.events_of_order(payment["order_id"]))
        == 1
    )
    async with stripe_payments.sql() as sql:
        ids = [json.loads(body)["id"] for body in bodies]
        assert await sql.fetchval("SELECT count(*) FROM webhooks WHERE event_id = ANY($1)", ids) == len(bodies)


async def test_a_webhook_of_a_refund_finishes_it(stripe_payments: Payments, stripe: StripeDouble) -> None:
    payment = await stripe_payments.complete_payment(63, 1000)
    stripe.keeps_refunds_pending = True
    refund_id = (await stripe_payments.refund(payment["id"], amount=400)).json()["data"]["id"]
    async with stripe_payments.sql() as sql:
        await sql.execute(
            "UPDATE refunds SET next_check_at = now() + interval '5 minutes' WHERE id = $1::uuid", refund_id
        )
    (refund,) = (r for r in stripe.refunds.values() if r["metadata"].get("refund_id") == refund_id)
    refund["status"] = "succeeded"

    await send(stripe_payments, stripe.event("refund.updated", refund))

    await stripe_payments.wait_for_status(payment["id"], "partially_refunded")
    assert (
        await send(stripe_payments, stripe.event("refund.failed", refund | {"status": "failed"}))
    ).status_code == 200
    assert (await stripe_payments.get_payment(payment["id"]))["refunded"]["amount"] == 400


async def test_a_refund_made_in_the_dashboard_is_recorded_once_and_not_paid_again(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.complete_payment(63, 1000)
    made = stripe.refund_in_dashboard(payment["id"], 400)
    bodies = [stripe.event(event_type, made) for event_type in ("refund.created", "refund.updated", "refund.created")]

    responses = await asyncio.gather(*(send(stripe_payments, body) for body in bodies))

    assert {response.status_code for response in responses} == {200}
    await stripe_payments.wait_for_status(payment["id"], "partially_refunded")
    await stripe_payments.wait_for_events(payment["order_id"], PaymentCompleted, PaymentRefunded)
    too_much = await stripe_payments.refund(payment["id"], amount=601)
    assert (too_much.status_code, too_much.json()["code"]) == (409, "refund_exceeds_captured")
    await stripe_payments.deliver_events(order_cancelled(payment["order_id"]))
    await stripe_payments.wait_for_status(payment["id"], "refunded")
    refunds = await stripe_payments.list_refunds(payment["id"])
    assert sorted((refund["amount"]["amount"], refund["reason"]) for refund in refunds) == [
        (400, "made_at_the_provider"),
        (600, "order_cancelled"),
    ]
    refunded = [refund for refund in stripe.refunds.values() if refund["payment_intent"] == made["payment_intent"]]
    assert sum(refund["amount"] for refund in refunded) == 1000


async def test_a_refund_made_before_its_payment_is_known_to_be_captured_is_recorded(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(63, 1000)
    stripe.pay_in_browser(payment["id"])
    made = stripe.refund_in_dashboard(payment["id"], 400)

    assert (await send(stripe_payments, stripe.event("refund.created", made))).status_code == 200

    await stripe_payments.wait_for_status(payment["id"], "partially_refunded")
    await stripe_payments.wait_for_events(payment["order_id"], PaymentCompleted, PaymentRefunded)


async def test_a_webhook_received_while_refunds_are_listed_is_not_lost(
    stripe_payments: Payments, stripe: StripeDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await stripe_payments.complete_payment(63, 1000)
    first = stripe.refund_in_dashboard(payment["id"], 100)
    list_refunds, has_listed, may_return = StripeProvider.list_refunds, asyncio.Event(), asyncio.Event()

    async def list_and_wait(self: StripeProvider, intent_id: str) -> Sequence[ProviderRefund]:
        found = await list_refunds(self, intent_id)
        has_listed.set()
        await may_return.wait()
        return found

    monkeypatch.setattr(StripeProvider, "list_refunds", list_and_wait)
    await send(stripe_payments, stripe.event("refund.created", first))
    await has_listed.wait()
    await send(stripe_payments, stripe.event("refund.created", stripe.refund_in_dashboard(payment["id"], 200)))
    may_return.set()

    async def both_are_recorded() -> bool:
        return bool((await stripe_payments.get_payment(payment["id"]))["refunded"]["amount"] == 300)

    await eventually(both_are_recorded)


async def test_a_webhook_of_a_payment_captured_after_the_cancellation_refunds_it(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(64, 1000)
    stripe.pay_in_browser(payment["id"])
    await stripe_payments.deliver_events(order_cancelled(payment["order_id"]))
    await send(stripe_payments, stripe.event("payment_intent.succeeded", stripe.intent_of(payment["id"])))

    await stripe_payments.wait_for_status(payment["id"], "refunded")
    assert stripe.refunded_of(payment["id"]) == 1000


@pytest.mark.parametrize(
    "subject",
    [
        {"id": "cus_1", "object": "customer"},
        {"id": "pi_of_another_account", "object": "payment_intent", "metadata": {}},
        {"id": "pi_x", "object": "payment_intent", "metadata": {"payment_id": "018f0000-0000-7000-8000-000000000000"}},
        {"id": "pi_x", "object": "payment_intent", "metadata": {"payment_id": "nonsense"}},
        {"id": "re_x", "object": "refund", "metadata": {"refund_id": "018f0000-0000-7000-8000-000000000000"}},
        {"id": "ch_x", "object": "charge", "payment_intent": None},
        {"id": "pi_\x00", "object": "payment_intent"},
        {"something": "new"},
    ],
    ids=str,
)
async def test_an_event_about_an_unknown_object_is_accepted_and_ignored(
    stripe_payments: Payments, stripe: StripeDouble, subject: dict[str, Any]
) -> None:
    assert (await send(stripe_payments, stripe.event("something.new", subject))).status_code == 200


BODY = b'{"id":"evt_forged","object":"event","type":"payment_intent.succeeded","data":{"object":{}}}'


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Stripe-Signature": ""},
        {"Stripe-Signature": "t=1,v1=00"},
        {"Stripe-Signature": "nonsense"},
        {"Stripe-Signature": "t=x,v1="},
        sign(BODY, "whsec_of_another_account"),
        sign(BODY, at=int(time.time()) - 3600),
        sign(BODY + b" "),
    ],
    ids=["none", "empty", "wrong", "nonsense", "no number", "other secret", "too old", "other body"],
)
async def test_a_webhook_without_a_valid_signature_is_refused(
    stripe_payments: Payments, headers: dict[str, str]
) -> None:
    response = await stripe_payments.http.post("/api/v1/webhooks/stripe", content=BODY, headers=headers)

    assert (response.status_code, response.json()["code"]) == (400, "invalid_signature")
    async with stripe_payments.sql() as sql:
        assert await sql.fetchval("SELECT count(*) FROM webhooks WHERE event_id = 'evt_forged'") == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"{}", b'{"id": 1}', b'{"id":"evt","type":"t","data":{}}', b'{"id":"\\u0000"}']
)
async def test_a_signed_body_that_is_no_event_is_refused(stripe_payments: Payments, body: bytes) -> None:
    response = await send(stripe_payments, body)

    assert (response.status_code, response.json()["code"]) == (400, "malformed_webhook")


async def test_a_body_that_is_not_utf8_is_refused(stripe_payments: Payments) -> None:
    response = await stripe_payments.http.post(
        "/api/v1/webhooks/stripe", content=b"\xff\xfe", headers={"Stripe-Signature": "t=1,v1=00"}
    )

    assert (response.status_code, response.json()["code"]) == (400, "invalid_signature")


async def test_an_oversized_body_is_refused(stripe_payments: Payments) -> None:
    response = await stripe_payments.http.post("/api/v1/webhooks/stripe", content=b"x" * (1024 * 1024 + 1))

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
