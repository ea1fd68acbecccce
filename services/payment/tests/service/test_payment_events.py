"""What orders and users do to payments, delivered twice and in any order."""

import random
from datetime import UTC, datetime
from uuid import UUID

import pytest
from chassis.messaging.events import Event
from chassis.types.ids import uuid7
from chassis_testing.waiting import eventually
from payment_harness import ASKS, VISA, Payments, cancelled
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded, UserErased
from stripe_double import StripeDouble


async def test_an_unpaid_payment_of_a_cancelled_order_dies_at_the_provider(
    striped: Payments, stripe: StripeDouble
) -> None:
    pending, asking = await striped.begun(71), await striped.begun(71, payment_method=ASKS, confirm=True)

    await striped.tell(cancelled(pending["order_id"]), cancelled(asking["order_id"]))

    for payment in (pending, asking):
        failed = await striped.becomes(payment["id"], "failed")
        assert failed["failure"] == {"code": "order_cancelled", "reason": None}
        assert stripe.intent_of(payment["id"])["status"] == "canceled"
    assert (await striped.confirm(71, pending["id"])).json()["code"] == "not_confirmable"


async def test_what_was_paid_for_a_cancelled_order_goes_back_whole(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.paid(71, 1000)

    await striped.tell(cancelled(payment["order_id"]))

    await striped.becomes(payment["id"], "refunded")
    _, refunded = await striped.heard(payment["order_id"], PaymentCompleted, PaymentRefunded)
    assert isinstance(refunded, PaymentRefunded)
    assert (refunded.payment_id, refunded.buyer_id) == (payment["id"], 71)
    assert (refunded.amount.amount, refunded.refunded_total.amount) == (1000, 1000)
    assert (await striped.refunds(payment["id"]))[0]["reason"] == "order_cancelled"


async def test_only_what_is_left_of_a_payment_goes_back(payments: Payments) -> None:
    payment = await payments.paid(72, 1000)
    await payments.refund(payment["id"], amount=300)

    await payments.tell(cancelled(payment["order_id"]))

    await payments.becomes(payment["id"], "refunded")
    assert [refund["amount"]["amount"] for refund in await payments.refunds(payment["id"])] == [700, 300]


async def test_a_payment_captured_after_the_cancellation_refunds_itself(
    striped: Payments, stripe: StripeDouble
) -> None:
    """The order was payable when the order service was asked, and its cancellation arrived while the provider was charging."""
    payment = await striped.begun(73, 1000)

    async def cancel_meanwhile() -> None:
        await striped.tell(cancelled(payment["order_id"]))

    stripe.after["confirm_intent"] = cancel_meanwhile
    await striped.confirm(73, payment["id"])

    await striped.becomes(payment["id"], "refunded")
    assert (stripe.charges_of(payment["id"]), stripe.refunded_of(payment["id"])) == (1, 1000)
    await striped.heard(payment["order_id"], PaymentCompleted, PaymentRefunded)


async def test_whoever_settles_a_payment_finds_that_its_order_was_cancelled(
    striped: Payments, stripe: StripeDouble
) -> None:
    """Without the sweeper's help: it has just looked."""
    payment = await striped.begun(73, 1000)
    async with striped.sql() as sql:
        await sql.execute(
            "WITH later AS (UPDATE payments SET next_check_at = now() + interval '5 minutes' WHERE id = $1)"
            " UPDATE orders SET cancelled_at = now() WHERE id = $2",
            UUID(payment["id"]),
            UUID(payment["order_id"]),
        )

    await striped.confirm(73, payment["id"])

    await striped.becomes(payment["id"], "refunded")
    assert stripe.refunded_of(payment["id"]) == 1000


async def test_an_order_that_was_cancelled_before_its_payment_cannot_be_paid(payments: Payments) -> None:
    order_id = payments.orders.place(73)
    await payments.tell(cancelled(order_id))

    answer = await payments.begin(73, order_id)

    assert (answer.status_code, answer.json()["code"]) == (409, "order_not_payable")


async def test_a_refund_that_the_provider_refused_is_tried_again(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.paid(73, 1000)
    stripe.refuses_refunds = True
    await striped.tell(cancelled(payment["order_id"]))

    async def has_failed() -> bool:
        return [refund["status"] for refund in await striped.refunds(payment["id"])] == ["failed"]

    await eventually(has_failed)
    stripe.refuses_refunds = False
    async with striped.sql() as sql:
        await sql.execute("UPDATE payments SET next_check_at = now() WHERE id = $1", UUID(payment["id"]))

    await striped.becomes(payment["id"], "refunded")
    assert stripe.refunded_of(payment["id"]) == 1000


@pytest.mark.parametrize("seed", range(10))
async def test_replayed_and_shuffled_events_change_nothing(striped: Payments, stripe: StripeDouble, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - to repeat it with
    chance = random.Random(seed)
    paid, half, pending, spared = [await striped.paid(74, 1000) for _ in range(2)] + [
        await striped.begun(74, 1000) for _ in range(2)
    ]
    await striped.refund(half["id"], amount=500)
    told = [
        Event(uuid7(), "test", datetime.now(UTC), cancelled(order_id), {})
        for order_id in (paid["order_id"], half["order_id"], pending["order_id"], str(uuid7()), paid["order_id"])
    ] * 3
    chance.shuffle(told)

    await striped.publish(told)

    for payment in (paid, half):
        await striped.becomes(payment["id"], "refunded")
        assert stripe.refunded_of(payment["id"]) == 1000
    await striped.becomes(pending["id"], "failed")
    assert (await striped.payment(spared["id"]))["status"] == "pending"
    await striped.heard(paid["order_id"], PaymentCompleted, PaymentRefunded)
    await striped.heard(half["order_id"], PaymentCompleted, PaymentRefunded, PaymentRefunded)


async def test_nothing_is_kept_of_an_erased_user(striped: Payments, stripe: StripeDouble) -> None:
    for _ in range(2):
        await striped.post("/payment-methods", 75, {"payment_method": VISA})
    customer = next(reversed(stripe.customers))
    payment = await striped.paid(75)
    await striped.refund(payment["id"], amount=1, reason="said so on the phone")

    await striped.tell(UserErased(user_id=75), UserErased(user_id=75))

    async def is_gone() -> bool:
        async with striped.sql() as sql:
            kept = await sql.fetchval("SELECT count(*) FROM payment_methods WHERE user_id = 75")
            ref = await sql.fetchval("SELECT provider_ref FROM customers WHERE user_id = 75")
            return kept == 0 and ref is None

    await eventually(is_gone)
    assert customer not in stripe.customers
    assert (await striped.get("/payment-methods", 75)).json()["data"] == []
    assert [refund["reason"] for refund in await striped.refunds(payment["id"])] == [None]
    refused = await striped.post("/payment-methods", 75, {"payment_method": VISA})
    assert (refused.status_code, refused.json()["code"]) == (409, "account_erased")


async def test_an_erased_user_who_had_saved_nothing_is_remembered(payments: Payments) -> None:
    await payments.tell(UserErased(user_id=76))

    assert (await payments.post("/payment-methods", 76, {"payment_method": VISA})).json()["code"] == "account_erased"
