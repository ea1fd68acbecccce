"""The consumed events of orders and users, also delivered twice and in any order."""

import random
from datetime import UTC, datetime
from uuid import UUID

import pytest
from chassis.messaging.events import Event
from chassis.types.ids import uuid7
from chassis_testing.waiting import eventually
from payment_harness import REQUIRES_ACTION, VISA, Payments, order_cancelled, order_paid_manually
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded, UserErased
from stripe_double import StripeDouble


async def test_an_unpaid_payment_of_a_cancelled_order_is_cancelled_at_the_provider(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    pending, processing = (
        await stripe_payments.begin_payment(71),
        await stripe_payments.begin_payment(71, payment_method=REQUIRES_ACTION, confirm=True),
    )

    await stripe_payments.deliver_events(order_cancelled(pending["order_id"]), order_cancelled(processing["order_id"]))

    for payment in (pending, processing):
        failed = await stripe_payments.wait_for_status(payment["id"], "failed")
        assert failed["failure"] == {"code": "order_cancelled", "reason": None}
        assert stripe.intent_of(payment["id"])["status"] == "canceled"
    assert (await stripe_payments.confirm(71, pending["id"])).json()["code"] == "not_confirmable"


async def test_a_cancelled_order_is_refunded_in_full(stripe_payments: Payments, stripe: StripeDouble) -> None:
    payment = await stripe_payments.complete_payment(71, 1000)

    await stripe_payments.deliver_events(order_cancelled(payment["order_id"]))

    await stripe_payments.wait_for_status(payment["id"], "refunded")
    _, refunded = await stripe_payments.wait_for_events(payment["order_id"], PaymentCompleted, PaymentRefunded)
    assert isinstance(refunded, PaymentRefunded)
    assert (refunded.payment_id, refunded.buyer_id) == (payment["id"], 71)
    assert (refunded.amount.amount, refunded.refunded_total.amount) == (1000, 1000)
    assert (await stripe_payments.list_refunds(payment["id"]))[0]["reason"] == "order_cancelled"


async def test_nothing_is_captured_or_kept_for_an_order_that_was_paid_manually(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    pending, captured = await stripe_payments.begin_payment(79), await stripe_payments.complete_payment(79, 1000)

    await stripe_payments.deliver_events(*(order_paid_manually(each["order_id"]) for each in (pending, captured)))

    failed = await stripe_payments.wait_for_status(pending["id"], "failed")
    assert failed["failure"] == {"code": "cancelled", "reason": None}
    assert stripe.intent_of(pending["id"])["status"] == "canceled"
    await stripe_payments.wait_for_status(captured["id"], "refunded")


async def test_only_the_rest_of_a_partially_refunded_payment_is_refunded(payments: Payments) -> None:
    payment = await payments.complete_payment(72, 1000)
    await payments.refund(payment["id"], amount=300)

    await payments.deliver_events(order_cancelled(payment["order_id"]))

    await payments.wait_for_status(payment["id"], "refunded")
    assert [refund["amount"]["amount"] for refund in await payments.list_refunds(payment["id"])] == [700, 300]


async def test_a_payment_captured_after_the_cancellation_is_refunded(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    """The order was payable at first, and its cancellation arrives while the provider charges."""
    payment = await stripe_payments.begin_payment(73, 1000)

    async def cancel_order() -> None:
        await stripe_payments.deliver_events(order_cancelled(payment["order_id"]))

    stripe.hooks["confirm_intent"] = cancel_order
    await stripe_payments.confirm(73, payment["id"])

    await stripe_payments.wait_for_status(payment["id"], "refunded")
    assert (stripe.charges_of(payment["id"]), stripe.refunded_of(payment["id"])) == (1, 1000)
    await stripe_payments.wait_for_events(payment["order_id"], PaymentCompleted, PaymentRefunded)


async def test_a_confirmation_refunds_the_payment_if_its_order_was_cancelled(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    """The sweeper does not help: the payment is not due for a check."""
    payment = await stripe_payments.begin_payment(73, 1000)
    async with stripe_payments.sql() as sql:
        await sql.execute(
            "WITH later AS (UPDATE payments SET next_check_at = now() + interval '5 minutes' WHERE id = $1)"
            " UPDATE orders SET cancelled_at = now() WHERE id = $2",
            UUID(payment["id"]),
            UUID(payment["order_id"]),
        )

    await stripe_payments.confirm(73, payment["id"])

    await stripe_payments.wait_for_status(payment["id"], "refunded")
    assert stripe.refunded_of(payment["id"]) == 1000


async def test_an_order_that_was_cancelled_before_its_payment_cannot_be_paid(payments: Payments) -> None:
    order_id = payments.orders.place(73)
    await payments.deliver_events(order_cancelled(order_id))

    response = await payments.post_payment(73, order_id)

    assert (response.status_code, response.json()["code"]) == (409, "order_not_payable")


async def test_a_refund_that_the_provider_refused_is_retried(stripe_payments: Payments, stripe: StripeDouble) -> None:
    payment = await stripe_payments.complete_payment(73, 1000)
    stripe.refuses_refunds = True
    await stripe_payments.deliver_events(order_cancelled(payment["order_id"]))

    async def has_failed() -> bool:
        refunds = await stripe_payments.list_refunds(payment["id"])  # it may have been retried in vain already
        return {refund["status"] for refund in refunds} == {"failed"}

    await eventually(has_failed)
    stripe.refuses_refunds = False
    async with stripe_payments.sql() as sql:
        await sql.execute("UPDATE payments SET next_check_at = now() WHERE id = $1", UUID(payment["id"]))

    await stripe_payments.wait_for_status(payment["id"], "refunded")
    assert stripe.refunded_of(payment["id"]) == 1000


@pytest.mark.parametrize("seed", range(10))
async def test_replayed_and_shuffled_events_change_nothing(
    stripe_payments: Payments, stripe: StripeDouble, seed: int
) -> None:
    print(f"seed {seed}")  # noqa: T201 - to reproduce a failure
    chance = random.Random(seed)
    paid, half_refunded, pending, unrelated = [await stripe_payments.complete_payment(74, 1000) for _ in range(2)] + [
        await stripe_payments.begin_payment(74, 1000) for _ in range(2)
    ]
    await stripe_payments.refund(half_refunded["id"], amount=500)
    events = [
        Event(uuid7(), "test", datetime.now(UTC), order_cancelled(order_id), {})
        for order_id in (
            paid["order_id"],
            half_refunded["order_id"],
            pending["order_id"],
            str(uuid7()),
            paid["order_id"],
        )
    ] * 3
    chance.shuffle(events)

    await stripe_payments.publish(events)

    for payment in (paid, half_refunded):
        await stripe_payments.wait_for_status(payment["id"], "refunded")
        assert stripe.refunded_of(payment["id"]) == 1000
    await stripe_payments.wait_for_status(pending["id"], "failed")
    assert (await stripe_payments.get_payment(unrelated["id"]))["status"] == "pending"
    await stripe_payments.wait_for_events(paid["order_id"], PaymentCompleted, PaymentRefunded)
    await stripe_payments.wait_for_events(half_refunded["order_id"], PaymentCompleted, PaymentRefunded, PaymentRefunded)


async def test_saved_methods_and_refund_reasons_of_an_erased_user_are_erased(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    for _ in range(2):
        await stripe_payments.post("/payment-methods", 75, {"payment_method": VISA})
    customer = next(reversed(stripe.customers))
    payment = await stripe_payments.complete_payment(75)
    await stripe_payments.refund(payment["id"], amount=1, reason="requested by phone")

    await stripe_payments.deliver_events(UserErased(user_id=75), UserErased(user_id=75))

    async def is_erased() -> bool:
        async with stripe_payments.sql() as sql:
            count = await sql.fetchval("SELECT count(*) FROM payment_methods WHERE user_id = 75")
            ref = await sql.fetchval("SELECT provider_ref FROM customers WHERE user_id = 75")
            return count == 0 and ref is None

    await eventually(is_erased)
    assert customer not in stripe.customers
    assert (await stripe_payments.get("/payment-methods", 75)).json()["data"] == []
    assert [refund["reason"] for refund in await stripe_payments.list_refunds(payment["id"])] == [None]
    refused = await stripe_payments.post("/payment-methods", 75, {"payment_method": VISA})
    assert (refused.status_code, refused.json()["code"]) == (403, "account_erased")


async def test_an_erased_user_without_saved_methods_cannot_save_one(payments: Payments) -> None:
    await payments.deliver_events(UserErased(user_id=76))

    assert (await payments.post("/payment-methods", 76, {"payment_method": VISA})).json()["code"] == "account_erased"


async def test_an_erased_user_neither_begins_nor_confirms_a_payment(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    begun = await stripe_payments.begin_payment(77)
    await stripe_payments.deliver_events(UserErased(user_id=77))
    second_order = stripe_payments.orders.place(77)

    responses = [
        await stripe_payments.post_payment(77, begun["order_id"], payment_method=VISA, confirm=True),
        await stripe_payments.post_payment(77, second_order),
        await stripe_payments.confirm(77, begun["id"]),
        await stripe_payments.confirm(77, begun["id"], None),
        await stripe_payments.post("/payment-methods", 77, {"payment_method": VISA}),
    ]

    assert [(r.status_code, r.json()["code"]) for r in responses] == [(403, "account_erased")] * 5
    assert [intent["customer"] for intent in stripe.intents_of_order(begun["order_id"])] == [None]
    assert stripe.intents_of_order(second_order) == []
    assert ("confirm_intent", f"{begun['id']}-confirm") not in stripe.requests
    assert not any(key.endswith("-customer-77") for _, key in stripe.requests)
    assert stripe.charges_of(begun["id"]) == 0
