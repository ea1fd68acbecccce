"""Orders that were paid without the provider: by bank transfer, in cash or by invoice."""

import asyncio
from typing import Any

import pytest
from order_harness import ADMIN, OrderApp, payment_of, refund_of
from shopapi.events.v1.events_pb2 import OrderPaidManually

PLACED, CONFIRMED, PAID_MANUALLY = "order.placed.v1", "order.confirmed.v1", "order.paid_manually.v1"


async def pay_manually(app: OrderApp, order: dict[str, Any], reason: str = "bank transfer 1017") -> dict[str, Any]:
    response = await app.put(order["id"], "manual-payment", reason=reason)
    assert response.status_code == 200, response.text
    paid: dict[str, Any] = response.json()["data"]
    return paid


async def test_a_manual_payment_confirms_the_order_with_its_reason_and_admin(app: OrderApp) -> None:
    placed = await app.place_order(1401, (1, 2))

    paid = await pay_manually(app, placed)
    again = await pay_manually(app, placed)

    assert paid["status"] == "confirmed"
    assert (paid["history"][-1]["status"], paid["history"][-1]["by"]) == ("confirmed", "admin")
    assert paid["payment"] == {"paid": placed["total"], "refunded": {"amount": 0, "currency": "USD"}}
    manual = paid["manual_payment"]
    assert manual == {
        "amount": placed["total"],
        "reason": "bank transfer 1017",
        "recorded_by": ADMIN,
        "at": paid["history"][-1]["at"],
    }
    assert again == paid == (await app.get(placed["id"], 1401)).json()["data"]
    await app.wait_for_events(placed["id"], PLACED, CONFIRMED, PAID_MANUALLY)
    (payload,) = [e.payload for e in app.events_about(placed["id"]) if isinstance(e.payload, OrderPaidManually)]
    assert (payload.buyer_id, payload.amount.amount) == (1401, 200)
    await app.change_status(placed["id"], "processing", "shipped")


@pytest.mark.parametrize("status", ["confirmed", "processing"])
async def test_a_refunded_order_is_fulfilled_after_it_is_paid_again(app: OrderApp, status: str) -> None:
    placed, payment_id = await app.place_order(1402, (1, 1)), f"payment-1402-{status}"
    await app.pay(placed, payment_id)
    if status == "processing":
        await app.change_status(placed["id"], status)
    await app.publish(refund_of(placed, payment_id, 100))

    paid = await pay_manually(app, placed)

    assert paid["status"] == status
    assert (paid["payment"]["paid"]["amount"], paid["payment"]["refunded"]["amount"]) == (200, 100)
    await app.change_status(placed["id"], *(["processing", "shipped"] if status == "confirmed" else ["shipped"]))


async def test_a_paid_or_cancelled_order_takes_no_manual_payment(app: OrderApp) -> None:
    paid, cancelled = await app.place_confirmed_order(1403, (1, 1)), await app.place_order(1403, (1, 1))
    await app.cancel(cancelled["id"], 1403)
    by_hand = await app.place_order(1403, (1, 1))
    await pay_manually(app, by_hand)

    responses = [await app.put(order["id"], "manual-payment", reason="cash") for order in (paid, by_hand, cancelled)]

    codes = [(response.status_code, response.json()["code"]) for response in responses]
    assert codes == [(409, "already_paid"), (409, "already_paid"), (409, "illegal_transition")]


async def test_a_card_payment_of_an_order_that_was_paid_manually_is_recorded(app: OrderApp) -> None:
    """The payment service refunds it. Until then the order was paid twice, and stays confirmed."""
    placed = await app.place_order(1404, (1, 1))
    await pay_manually(app, placed)

    await app.publish(payment_of(placed, "payment-1404"))
    paid_twice = (await app.get(placed["id"], 1404)).json()["data"]
    await app.publish(refund_of(placed, "payment-1404", 100))

    assert (paid_twice["status"], paid_twice["payment"]["paid"]["amount"]) == ("confirmed", 200)
    await app.change_status(placed["id"], "processing", "shipped")


async def test_concurrent_manual_payments_and_a_cancellation_end_consistently(app: OrderApp) -> None:
    for _ in range(5):
        placed = await app.place_order(1405, (1, 1))
        *recorded, cancelled = await asyncio.gather(
            *(app.put(placed["id"], "manual-payment", reason=reason) for reason in ("cash", "cash", "cheque")),
            app.cancel(placed["id"], 1405),
        )

        assert cancelled.status_code == 204
        found = (await app.get(placed["id"], 1405)).json()["data"]
        assert found["status"] == "cancelled"
        accepted = {response.json()["data"]["manual_payment"]["reason"] for response in recorded if response.is_success}
        assert accepted == ({found["manual_payment"]["reason"]} if found["manual_payment"] else set())


@pytest.mark.parametrize(
    "body", [{}, {"reason": ""}, {"reason": " "}, {"reason": "x" * 501}, {"reason": "x", "amount": 1}]
)
async def test_an_invalid_manual_payment_is_an_invalid_field(app: OrderApp, body: dict[str, object]) -> None:
    placed = await app.place_order(1406, (1, 1))

    response = await app.put(placed["id"], "manual-payment", **body)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
