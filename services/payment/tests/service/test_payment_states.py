"""The order service learns what is paid, in process or not paid at all before it lets an unpaid order expire."""

from uuid import UUID

import pytest
from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis_testing.ids import UNKNOWN_ID
from payment_harness import DECLINED, REQUIRES_ACTION, VISA, Payments, order_cancelled
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded
from shopapi.payment.v1.payment_pb2 import (
    PAYMENT_STATE_CAPTURED,
    PAYMENT_STATE_IN_PROCESS,
    PAYMENT_STATE_NONE,
    GetPaymentStatesRequest,
    GetPaymentStatesResponse,
    StateOfPayment,
)
from stripe_double import StripeDouble


async def states_of(payments: Payments, *order_ids: str) -> list[StateOfPayment]:
    request = GetPaymentStatesRequest(order_ids=order_ids)
    response: GetPaymentStatesResponse = await call(payments.rpc.GetPaymentStates, request)
    return list(response.orders)


async def state_of(payments: Payments, order_id: str) -> int:
    (found,) = await states_of(payments, order_id)
    return found.state


async def test_a_completed_payment_is_captured_also_after_its_refund(payments: Payments) -> None:
    payment = await payments.complete_payment(801, 2_000)
    await payments.refund(payment["id"], amount=2_000)
    await payments.wait_for_status(payment["id"], "refunded")

    (found,) = await states_of(payments, payment["order_id"])

    assert (found.order_id, found.state) == (payment["order_id"], PAYMENT_STATE_CAPTURED)
    captured = found.captured
    assert (captured.payment_id, captured.amount.amount, captured.amount.currency) == (payment["id"], 2_000, "USD")
    assert captured.HasField("completed_at")


async def test_the_refunds_that_succeeded_are_reported_as_their_events_report_them(payments: Payments) -> None:
    payment = await payments.complete_payment(821, 2_000)
    await payments.refund(payment["id"], amount=500)
    await payments.refund(payment["id"], amount=700)
    _, *events = await payments.wait_for_events(payment["order_id"], PaymentCompleted, PaymentRefunded, PaymentRefunded)

    (found,) = await states_of(payments, payment["order_id"])

    reported = {(each.refund_id, each.amount.amount, each.refunded_at.ToJsonString()) for each in found.refunds}
    assert reported == {
        (event.refund_id, event.amount.amount, event.refunded_at.ToJsonString())
        for event in events
        if isinstance(event, PaymentRefunded)
    }


async def test_an_order_is_closed_when_its_cancellation_is_known(payments: Payments) -> None:
    open_order, cancelled = payments.orders.place(822), payments.orders.place(822)
    await payments.deliver_events(order_cancelled(cancelled))

    found = await states_of(payments, open_order, cancelled, UNKNOWN_ID)

    assert [each.is_closed for each in found] == [False, True, False]
    assert all(each.HasField("is_closed") for each in found)


async def test_orders_whose_payment_is_missing_unconfirmed_or_failed_have_none(payments: Payments) -> None:
    begun = await payments.begin_payment(802, payment_method=VISA)
    declined = payments.orders.place(802)
    response = await payments.post_payment(802, declined, payment_method=DECLINED, confirm=True)
    assert response.status_code == 402

    found = await states_of(payments, UNKNOWN_ID, begun["order_id"], declined, begun["order_id"])

    assert [(each.order_id, each.state, each.HasField("captured")) for each in found] == [
        (order_id, PAYMENT_STATE_NONE, False) for order_id in (UNKNOWN_ID, begun["order_id"], declined)
    ]


async def test_a_payment_that_waits_for_its_customer_is_in_process_for_a_quarter_of_an_hour(payments: Payments) -> None:
    payment = await payments.begin_payment(803, payment_method=REQUIRES_ACTION, confirm=True)
    assert payment["next_action"] is not None
    assert await state_of(payments, payment["order_id"]) == PAYMENT_STATE_IN_PROCESS

    async with payments.sql() as sql:
        await sql.execute(
            "UPDATE payments SET updated_at = now() - interval '16 minutes' WHERE id = $1", UUID(payment["id"])
        )

    assert await state_of(payments, payment["order_id"]) == PAYMENT_STATE_NONE


async def test_a_payment_confirmed_in_the_browser_is_found_although_no_webhook_arrived(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(804)
    stripe.pay_in_browser(payment["id"])

    assert await state_of(stripe_payments, payment["order_id"]) == PAYMENT_STATE_CAPTURED

    assert (await stripe_payments.get_payment(payment["id"]))["status"] == "completed"
    await stripe_payments.wait_for_events(payment["order_id"], PaymentCompleted)


async def test_a_payment_whose_provider_does_not_answer_is_in_process(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.begin_payment(805)
    stripe.is_unavailable = True

    assert await state_of(stripe_payments, payment["order_id"]) == PAYMENT_STATE_IN_PROCESS

    stripe.is_unavailable = False
    assert await state_of(stripe_payments, payment["order_id"]) == PAYMENT_STATE_NONE


@pytest.mark.parametrize("order_ids", [["x"], [""], [UNKNOWN_ID] * 101])
async def test_the_states_of_too_many_or_malformed_ids_are_refused(payments: Payments, order_ids: list[str]) -> None:
    with pytest.raises(NeighbourRefused) as refusal:
        await states_of(payments, *order_ids)
    assert refusal.value.code == "invalid_field"
