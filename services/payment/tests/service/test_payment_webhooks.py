"""Stripe's webhooks: only what Stripe signed counts, and it counts the same however often and in whatever order it comes."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from chassis_testing.waiting import eventually
from payment_harness import ASKS, Payments, cancelled
from payment_service.clients.provider import ProviderRefund
from payment_service.clients.stripe import StripeProvider
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded
from stripe_double import StripeDouble, sign


async def send(striped: Payments, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    return await striped.http.post("/api/v1/webhooks/stripe", content=body, headers=headers or sign(body))


async def hours_pass(striped: Payments, payment_id: str) -> None:
    """The sweeper has looked often and now pauses for long: what happens soon is the webhook's doing."""
    async with striped.sql() as sql:
        await sql.execute(
            "UPDATE payments SET next_check_at = now() + interval '5 minutes' WHERE id = $1::uuid", payment_id
        )


async def test_a_webhook_settles_what_was_paid_in_the_browser(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.begun(61)
    await hours_pass(striped, payment["id"])
    stripe.pay_in_browser(payment["id"])

    answer = await send(striped, stripe.event("payment_intent.succeeded", stripe.intent_of(payment["id"])))

    assert (answer.status_code, answer.json()) == (200, {"received": True})
    await striped.becomes(payment["id"], "completed")
    await striped.heard(payment["order_id"], PaymentCompleted)


async def test_a_charge_tells_of_its_payment_too(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.begun(61)
    await hours_pass(striped, payment["id"])
    stripe.pay_in_browser(payment["id"])
    charge = {"id": "ch_1", "object": "charge", "payment_intent": stripe.intent_of(payment["id"])["id"], "metadata": {}}

    await send(striped, stripe.event("charge.succeeded", charge))

    await striped.becomes(payment["id"], "completed")


async def test_a_webhook_that_lies_changes_nothing(striped: Payments, stripe: StripeDouble) -> None:
    """Even signed, a webhook is a hint: what counts is what Stripe answers when it is asked."""
    payment = await striped.begun(61)
    lie = {**stripe.intent_of(payment["id"]), "status": "succeeded", "amount_received": 10_000}

    await send(striped, stripe.event("payment_intent.succeeded", lie))
    stripe.requests.clear()
    await hours_pass(striped, payment["id"])
    await send(striped, stripe.event("payment_intent.succeeded", lie))

    async with striped.sql() as sql:
        assert await sql.fetchval(
            "SELECT next_check_at < now() + interval '1 minute' FROM payments WHERE id = $1::uuid", payment["id"]
        )
    assert (await striped.payment(payment["id"]))["status"] == "pending"


@pytest.mark.parametrize("seed", range(5))
async def test_webhooks_replayed_and_shuffled_change_nothing(
    striped: Payments, stripe: StripeDouble, seed: int
) -> None:
    print(f"seed {seed}")  # noqa: T201 - to repeat it with
    chance = random.Random(seed)
    payment = await striped.begun(62, 1000, payment_method=ASKS, confirm=True)
    intent = stripe.intent_of(payment["id"])
    told = [stripe.event("payment_intent.created", dict(intent) | {"status": "requires_payment_method"})]
    told.append(stripe.event("payment_intent.requires_action", dict(intent)))
    told.append(stripe.event("payment_intent.payment_failed", dict(intent) | {"status": "requires_payment_method"}))
    stripe.authenticate(payment["id"])
    told.append(stripe.event("payment_intent.succeeded", dict(intent)))
    told.append(stripe.event("payment_intent.canceled", dict(intent) | {"status": "canceled"}))
    replayed = told * 3
    chance.shuffle(replayed)

    answers = [await send(striped, body) for body in replayed]

    assert {answer.status_code for answer in answers} == {200}
    await striped.becomes(payment["id"], "completed")
    await striped.refund(payment["id"], amount=100)
    for body in replayed:
        await send(striped, body)
    assert (await striped.payment(payment["id"]))["status"] == "partially_refunded"
    assert stripe.charges_of(payment["id"]) == 1

    async def is_told() -> bool:
        return any(isinstance(payload, PaymentCompleted) for payload in striped.about(payment["order_id"]))

    await eventually(is_told)
    assert sum(isinstance(payload, PaymentCompleted) for payload in striped.about(payment["order_id"])) == 1
    async with striped.sql() as sql:
        ids = [json.loads(body)["id"] for body in told]
        assert await sql.fetchval("SELECT count(*) FROM webhooks WHERE event_id = ANY($1)", ids) == len(told)


async def test_a_webhook_of_a_refund_finishes_it(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.paid(63, 1000)
    stripe.late_refunds = True
    refund_id = (await striped.refund(payment["id"], amount=400)).json()["data"]["id"]
    async with striped.sql() as sql:
        await sql.execute(
            "UPDATE refunds SET next_check_at = now() + interval '5 minutes' WHERE id = $1::uuid", refund_id
        )
    (refund,) = (r for r in stripe.refunds.values() if r["metadata"]["refund_id"] == refund_id)
    refund["status"] = "succeeded"

    await send(striped, stripe.event("refund.updated", refund))

    await striped.becomes(payment["id"], "partially_refunded")
    assert (await send(striped, stripe.event("refund.failed", refund | {"status": "failed"}))).status_code == 200
    assert (await striped.payment(payment["id"]))["refunded"]["amount"] == 400


async def test_a_refund_made_in_the_dashboard_is_recorded_once_and_not_given_back_again(
    striped: Payments, stripe: StripeDouble
) -> None:
    payment = await striped.paid(63, 1000)
    made = stripe.refund_in_dashboard(payment["id"], 400)
    told = [stripe.event(kind, made) for kind in ("refund.created", "refund.updated", "refund.created")]

    answers = await asyncio.gather(*(send(striped, body) for body in told))

    assert {answer.status_code for answer in answers} == {200}
    await striped.becomes(payment["id"], "partially_refunded")
    await striped.heard(payment["order_id"], PaymentCompleted, PaymentRefunded)
    too_much = await striped.refund(payment["id"], amount=601)
    assert (too_much.status_code, too_much.json()["code"]) == (409, "refund_exceeds_captured")
    await striped.tell(cancelled(payment["order_id"]))
    await striped.becomes(payment["id"], "refunded")
    refunds = await striped.refunds(payment["id"])
    assert sorted((refund["amount"]["amount"], refund["reason"]) for refund in refunds) == [
        (400, "made_at_the_provider"),
        (600, "order_cancelled"),
    ]
    given_back = [refund for refund in stripe.refunds.values() if refund["payment_intent"] == made["payment_intent"]]
    assert sum(refund["amount"] for refund in given_back) == 1000


async def test_a_refund_made_before_its_payment_is_known_to_be_captured_is_recorded(
    striped: Payments, stripe: StripeDouble
) -> None:
    payment = await striped.begun(63, 1000)
    stripe.pay_in_browser(payment["id"])
    made = stripe.refund_in_dashboard(payment["id"], 400)

    assert (await send(striped, stripe.event("refund.created", made))).status_code == 200

    await striped.becomes(payment["id"], "partially_refunded")
    await striped.heard(payment["order_id"], PaymentCompleted, PaymentRefunded)


async def test_news_that_come_while_refunds_are_listed_are_not_forgotten(
    striped: Payments, stripe: StripeDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await striped.paid(63, 1000)
    first = stripe.refund_in_dashboard(payment["id"], 100)
    listed, listing, told = StripeProvider.refunds, asyncio.Event(), asyncio.Event()

    async def list_and_be_overtaken(self: StripeProvider, intent_id: str) -> Sequence[ProviderRefund]:
        found = await listed(self, intent_id)
        listing.set()
        await told.wait()
        return found

    monkeypatch.setattr(StripeProvider, "refunds", list_and_be_overtaken)
    await send(striped, stripe.event("refund.created", first))
    await listing.wait()
    await send(striped, stripe.event("refund.created", stripe.refund_in_dashboard(payment["id"], 200)))
    told.set()

    async def both_are_recorded() -> bool:
        return bool((await striped.payment(payment["id"]))["refunded"]["amount"] == 300)

    await eventually(both_are_recorded)


async def test_a_payment_that_lands_after_the_cancellation_refunds_itself(
    striped: Payments, stripe: StripeDouble
) -> None:
    payment = await striped.begun(64, 1000)
    stripe.pay_in_browser(payment["id"])
    await striped.tell(cancelled(payment["order_id"]))
    await send(striped, stripe.event("payment_intent.succeeded", stripe.intent_of(payment["id"])))

    await striped.becomes(payment["id"], "refunded")
    assert stripe.refunded_of(payment["id"]) == 1000


@pytest.mark.parametrize(
    "about",
    [
        {"id": "cus_1", "object": "customer"},
        {"id": "pi_of_somebody_else", "object": "payment_intent", "metadata": {}},
        {"id": "pi_x", "object": "payment_intent", "metadata": {"payment_id": "018f0000-0000-7000-8000-000000000000"}},
        {"id": "pi_x", "object": "payment_intent", "metadata": {"payment_id": "nonsense"}},
        {"id": "re_x", "object": "refund", "metadata": {"refund_id": "018f0000-0000-7000-8000-000000000000"}},
        {"id": "ch_x", "object": "charge", "payment_intent": None},
        {"id": "pi_\x00", "object": "payment_intent"},
        {"something": "new"},
    ],
    ids=str,
)
async def test_what_concerns_nobody_here_is_received_and_ignored(
    striped: Payments, stripe: StripeDouble, about: dict[str, Any]
) -> None:
    assert (await send(striped, stripe.event("something.new", about))).status_code == 200


BODY = b'{"id":"evt_forged","object":"event","type":"payment_intent.succeeded","data":{"object":{}}}'


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Stripe-Signature": ""},
        {"Stripe-Signature": "t=1,v1=00"},
        {"Stripe-Signature": "nonsense"},
        {"Stripe-Signature": "t=x,v1="},
        sign(BODY, "whsec_of_somebody_else"),
        sign(BODY, at=int(time.time()) - 3600),
        sign(BODY + b" "),
    ],
    ids=["none", "empty", "wrong", "nonsense", "no number", "other secret", "too old", "other body"],
)
async def test_what_stripe_did_not_sign_is_refused(striped: Payments, headers: dict[str, str]) -> None:
    answer = await striped.http.post("/api/v1/webhooks/stripe", content=BODY, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature")
    async with striped.sql() as sql:
        assert await sql.fetchval("SELECT count(*) FROM webhooks WHERE event_id = 'evt_forged'") == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"{}", b'{"id": 1}', b'{"id":"evt","type":"t","data":{}}', b'{"id":"\\u0000"}']
)
async def test_what_is_signed_and_no_event_is_refused(striped: Payments, body: bytes) -> None:
    answer = await send(striped, body)

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_webhook")


async def test_a_body_of_broken_text_is_refused(striped: Payments) -> None:
    answer = await striped.http.post(
        "/api/v1/webhooks/stripe", content=b"\xff\xfe", headers={"Stripe-Signature": "t=1,v1=00"}
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature")


async def test_a_body_without_end_is_refused(striped: Payments) -> None:
    answer = await striped.http.post("/api/v1/webhooks/stripe", content=b"x" * (1024 * 1024 + 1))

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
