"""What a process that dies between any two steps leaves behind is finished without help, and nothing twice.

The process dies for its database: at the chosen moment the cable is cut, so that nothing which comes after can be stored.
"""

from uuid import UUID

import pytest
from chassis_testing.waiting import eventually
from payment_harness import DECLINED, VISA, Payments, cancelled
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded
from stripe_double import StripeDouble


async def dies(striped: Payments, stripe: StripeDouble, after: str) -> None:
    stripe.after[after] = striped.cable.sever


async def test_an_intent_that_was_made_and_not_stored_is_the_same_one_later(
    striped: Payments, stripe: StripeDouble
) -> None:
    order_id = striped.orders.place(51)
    await dies(striped, stripe, after="create_intent")

    answer = await striped.begin(51, order_id, key="crash-create", payment_method=VISA, confirm=True)
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    await striped.cable.restore()
    again = await striped.begin(51, order_id, key="crash-create", payment_method=VISA, confirm=True)

    assert again.json()["data"]["status"] == "completed"
    payment_id = again.json()["data"]["id"]
    assert stripe.charges_of(payment_id) == 1
    assert stripe.intent_of(payment_id)["metadata"]["order_id"] == order_id


async def test_a_charge_whose_answer_was_not_stored_is_settled_by_the_sweeper(
    striped: Payments, stripe: StripeDouble
) -> None:
    payment = await striped.begun(51)
    await dies(striped, stripe, after="confirm_intent")

    answer = await striped.confirm(51, payment["id"])
    assert answer.status_code == 503
    await striped.cable.restore()

    await striped.becomes(payment["id"], "completed")
    assert stripe.charges_of(payment["id"]) == 1
    await striped.heard(payment["order_id"], PaymentCompleted)


@pytest.mark.parametrize("operation", ["confirm_intent", "cancel_intent"])
async def test_a_decline_whose_answer_was_not_stored_is_settled_by_the_sweeper(
    striped: Payments, stripe: StripeDouble, operation: str
) -> None:
    payment = await striped.begun(51)
    await dies(striped, stripe, after=operation)

    await striped.confirm(51, payment["id"], DECLINED)
    await striped.cable.restore()

    failed = await striped.becomes(payment["id"], "failed")
    assert failed["failure"] == {"code": "card_declined", "reason": "generic_decline"}
    assert stripe.intent_of(payment["id"])["status"] == "canceled"


async def test_a_confirmation_that_never_reached_the_provider_is_made_by_the_sweeper(
    striped: Payments, stripe: StripeDouble
) -> None:
    payment = await striped.begun(51)
    async with striped.sql() as sql:
        await sql.execute(
            "UPDATE payments SET status = 'processing', method_ref = $1 WHERE id = $2", VISA, UUID(payment["id"])
        )

    await striped.becomes(payment["id"], "completed")
    assert stripe.charges_of(payment["id"]) == 1


async def test_a_confirmation_is_not_made_again_when_stripe_has_forgotten_its_key(
    striped: Payments, stripe: StripeDouble
) -> None:
    payment = await striped.begun(51)
    await dies(striped, stripe, after="confirm_intent")
    await striped.confirm(51, payment["id"])
    stripe.forget_keys()
    await striped.cable.restore()

    await striped.becomes(payment["id"], "completed")
    assert stripe.charges_of(payment["id"]) == 1


@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_a_refund_whose_answer_was_not_stored_is_given_once(
    striped: Payments, stripe: StripeDouble, is_forgotten: bool
) -> None:
    payment = await striped.paid(52, 1000)
    await dies(striped, stripe, after="create_refund")

    answer = await striped.refund(payment["id"], key=f"crash-refund-{is_forgotten}", amount=300)
    assert (answer.status_code, answer.json()["data"]["status"]) == (201, "pending")
    if is_forgotten:
        stripe.forget_keys()
    await striped.cable.restore()
    again = await striped.refund(payment["id"], key=f"crash-refund-{is_forgotten}", amount=300)

    assert again.status_code == 201
    assert (await striped.becomes(payment["id"], "partially_refunded"))["refunded"]["amount"] == 300
    assert stripe.refunded_of(payment["id"]) == 300
    await striped.heard(payment["order_id"], PaymentCompleted, PaymentRefunded)


async def test_a_refund_that_never_reached_the_provider_is_made_by_the_sweeper(
    striped: Payments, stripe: StripeDouble
) -> None:
    payment = await striped.paid(52, 1000)
    stripe.is_away = True

    answer = await striped.refund(payment["id"], amount=300)

    assert (answer.status_code, answer.json()["data"]["status"]) == (201, "pending")
    stripe.recover()
    await striped.becomes(payment["id"], "partially_refunded")
    assert stripe.refunded_of(payment["id"]) == 300


async def test_a_refund_called_twice_is_one_refund(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.paid(52, 1000)
    stripe.loses = {"create_refund", "list_refunds"}

    answer = await striped.refund(payment["id"], amount=300)

    assert (answer.status_code, answer.json()["data"]["status"]) == (201, "pending")
    stripe.recover()
    await striped.becomes(payment["id"], "partially_refunded")
    assert stripe.refunded_of(payment["id"]) == 300


async def test_a_refund_that_request_and_sweeper_make_at_once_is_one_refund(
    striped: Payments, stripe: StripeDouble
) -> None:
    payment = await striped.paid(52, 1000)
    stripe.late["create_refund"] = 1.5

    await striped.refund(payment["id"], amount=300)

    refund_id = (await striped.refunds(payment["id"]))[0]["id"]
    assert stripe.requests.count(("create_refund", refund_id)) > 1
    await striped.becomes(payment["id"], "partially_refunded")
    assert stripe.refunded_of(payment["id"]) == 300


async def test_a_cancelled_payment_whose_cancellation_was_not_stored_fails(
    striped: Payments, stripe: StripeDouble
) -> None:
    payment = await striped.begun(53)
    await dies(striped, stripe, after="cancel_intent")

    assert (await striped.cancel(53, payment["id"])).status_code == 503
    await striped.cable.restore()

    assert (await striped.becomes(payment["id"], "failed"))["failure"]["code"] == "cancelled"


async def test_a_cancelled_order_is_refunded_though_the_provider_is_away_for_a_while(
    striped: Payments, stripe: StripeDouble
) -> None:
    payment = await striped.paid(53, 1000)
    stripe.is_away = True

    await striped.tell(cancelled(payment["order_id"]))

    async def is_on_its_way() -> bool:
        async with striped.sql() as sql:
            return bool(
                await sql.fetchval("SELECT attempts > 0 FROM refunds WHERE payment_id = $1", UUID(payment["id"]))
            )

    await eventually(is_on_its_way)
    assert (await striped.payment(payment["id"]))["status"] == "completed"
    stripe.recover()
    await striped.becomes(payment["id"], "refunded")
    assert stripe.refunded_of(payment["id"]) == 1000


async def test_a_method_that_could_not_be_detached_is_detached_later(striped: Payments, stripe: StripeDouble) -> None:
    method = (await striped.post("/payment-methods", 54, {"payment_method": VISA})).json()["data"]
    kept = next(reversed(stripe.customers.values()))
    stripe.is_away = True

    assert (await striped.delete(f"/payment-methods/{method['id']}", 54)).status_code == 204
    assert (await striped.get("/payment-methods", 54)).json()["data"] == []
    assert len(kept) == 1
    stripe.recover()

    async def is_detached() -> bool:
        return kept == []

    await eventually(is_detached)
