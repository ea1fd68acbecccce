"""Crash recovery: the service itself finishes work that was interrupted between any two steps, and does nothing twice.

A crash is simulated by disconnecting the database at the chosen step, so that nothing can be stored after it.
"""

import asyncio
from uuid import UUID

import pytest
from chassis_testing.waiting import eventually
from payment_harness import DECLINED, VISA, Payments, order_cancelled
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded
from stripe_double import StripeDouble


def crash_after(operation: str, stripe_payments: Payments, stripe: StripeDouble) -> None:
    stripe.hooks[operation] = stripe_payments.disconnect_database


async def test_an_intent_that_was_created_but_not_stored_is_reused(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    order_id = stripe_payments.orders.place(51)
    crash_after("create_intent", stripe_payments, stripe)

    response = await stripe_payments.post_payment(51, order_id, key="crash-create", payment_method=VISA, confirm=True)
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    await stripe_payments.reconnect_database()
    again = await stripe_payments.post_payment(51, order_id, key="crash-create", payment_method=VISA, confirm=True)

    assert again.json()["data"]["status"] == "completed"
    payment_id = again.json()["data"]["id"]
    assert stripe.charges_of(payment_id) == 1
    assert stripe.intent_of(payment_id)["metadata"]["order_id"] == order_id


async def test_a_charge_whose_response_was_not_stored_is_completed_by_the_sweeper(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(51)
    crash_after("confirm_intent", stripe_payments, stripe)

    response = await stripe_payments.confirm(51, payment["id"])
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    await stripe_payments.reconnect_database()

    await stripe_payments.wait_for_status(payment["id"], "completed")
    assert stripe.charges_of(payment["id"]) == 1
    await stripe_payments.wait_for_events(payment["order_id"], PaymentCompleted)


@pytest.mark.parametrize("operation", ["confirm_intent", "cancel_intent"])
async def test_a_decline_whose_response_was_not_stored_is_recorded_by_the_sweeper(
    stripe_payments: Payments, stripe: StripeDouble, operation: str
) -> None:
    payment = await stripe_payments.begin_payment(51)
    crash_after(operation, stripe_payments, stripe)

    await stripe_payments.confirm(51, payment["id"], DECLINED)
    await stripe_payments.reconnect_database()

    failed = await stripe_payments.wait_for_status(payment["id"], "failed")
    assert failed["failure"] == {"code": "card_declined", "reason": "generic_decline"}
    assert stripe.intent_of(payment["id"])["status"] == "canceled"


async def test_a_confirmation_that_never_reached_the_provider_is_made_by_the_sweeper(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(51)
    async with stripe_payments.sql() as sql:
        await sql.execute(
            "UPDATE payments SET status = 'processing', method_ref = $1 WHERE id = $2", VISA, UUID(payment["id"])
        )

    await stripe_payments.wait_for_status(payment["id"], "completed")
    assert stripe.charges_of(payment["id"]) == 1


async def test_a_confirmation_is_not_repeated_after_stripe_deleted_its_key(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(51)
    crash_after("confirm_intent", stripe_payments, stripe)
    await stripe_payments.confirm(51, payment["id"])
    stripe.delete_idempotency_keys()
    await stripe_payments.reconnect_database()

    await stripe_payments.wait_for_status(payment["id"], "completed")
    assert stripe.charges_of(payment["id"]) == 1


@pytest.mark.parametrize("is_key_deleted", [False, True])
async def test_a_refund_whose_response_was_not_stored_is_paid_once(
    stripe_payments: Payments, stripe: StripeDouble, is_key_deleted: bool
) -> None:
    payment = await stripe_payments.complete_payment(52, 1000)
    crash_after("create_refund", stripe_payments, stripe)

    response = await stripe_payments.refund(payment["id"], key=f"crash-refund-{is_key_deleted}", amount=300)
    assert (response.status_code, response.json()["data"]["status"]) == (201, "pending")
    if is_key_deleted:
        stripe.delete_idempotency_keys()
    await stripe_payments.reconnect_database()
    again = await stripe_payments.refund(payment["id"], key=f"crash-refund-{is_key_deleted}", amount=300)

    assert again.status_code == 201
    assert (await stripe_payments.wait_for_status(payment["id"], "partially_refunded"))["refunded"]["amount"] == 300
    assert stripe.refunded_of(payment["id"]) == 300
    await stripe_payments.wait_for_events(payment["order_id"], PaymentCompleted, PaymentRefunded)


async def test_a_refund_that_never_reached_the_provider_is_made_by_the_sweeper(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.complete_payment(52, 1000)
    stripe.is_unavailable = True

    response = await stripe_payments.refund(payment["id"], amount=300)

    assert (response.status_code, response.json()["data"]["status"]) == (201, "pending")
    stripe.reset()
    await stripe_payments.wait_for_status(payment["id"], "partially_refunded")
    assert stripe.refunded_of(payment["id"]) == 300


async def test_a_refund_whose_response_was_lost_is_paid_once(stripe_payments: Payments, stripe: StripeDouble) -> None:
    payment = await stripe_payments.complete_payment(52, 1000)
    stripe.lost_responses = {"create_refund", "list_refunds"}

    response = await stripe_payments.refund(payment["id"], amount=300)

    assert (response.status_code, response.json()["data"]["status"]) == (201, "pending")
    stripe.reset()
    await stripe_payments.wait_for_status(payment["id"], "partially_refunded")
    assert stripe.refunded_of(payment["id"]) == 300


async def test_a_refund_that_request_and_sweeper_make_concurrently_is_paid_once(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.complete_payment(52, 1000)
    stripe.held["create_refund"] = may_proceed = asyncio.Event()

    request = asyncio.create_task(stripe_payments.refund(payment["id"], amount=300))

    async def both_have_called_stripe() -> bool:
        refunds = await stripe_payments.list_refunds(payment["id"])
        return bool(refunds) and stripe.requests.count(("create_refund", refunds[0]["id"])) > 1

    await eventually(both_have_called_stripe)
    may_proceed.set()
    await request
    await stripe_payments.wait_for_status(payment["id"], "partially_refunded")
    assert stripe.refunded_of(payment["id"]) == 300


async def test_a_cancelled_payment_whose_cancellation_was_not_stored_fails(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(53)
    crash_after("cancel_intent", stripe_payments, stripe)

    response = await stripe_payments.cancel(53, payment["id"])
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    await stripe_payments.reconnect_database()

    assert (await stripe_payments.wait_for_status(payment["id"], "failed"))["failure"]["code"] == "cancelled"


async def test_a_cancelled_order_is_refunded_after_the_provider_was_unavailable(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.complete_payment(53, 1000)
    stripe.is_unavailable = True

    await stripe_payments.deliver_events(order_cancelled(payment["order_id"]))

    async def was_attempted() -> bool:
        async with stripe_payments.sql() as sql:
            return bool(
                await sql.fetchval("SELECT attempts > 0 FROM refunds WHERE payment_id = $1", UUID(payment["id"]))
            )

    await eventually(was_attempted)
    assert (await stripe_payments.get_payment(payment["id"]))["status"] == "completed"
    stripe.reset()
    await stripe_payments.wait_for_status(payment["id"], "refunded")
    assert stripe.refunded_of(payment["id"]) == 1000


async def test_a_method_that_could_not_be_detached_is_detached_later(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    method = (await stripe_payments.post("/payment-methods", 54, {"payment_method": VISA})).json()["data"]
    saved = next(reversed(stripe.customers.values()))
    stripe.is_unavailable = True

    assert (await stripe_payments.delete(f"/payment-methods/{method['id']}", 54)).status_code == 204
    assert (await stripe_payments.get("/payment-methods", 54)).json()["data"] == []
    assert len(saved) == 1
    stripe.reset()

    async def is_detached() -> bool:
        return saved == []

    await eventually(is_detached)
