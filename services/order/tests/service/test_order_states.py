"""The state machine through the doors: admins, buyers, payments, time."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis.http.authentication import Role
from chassis.messaging.events import Event
from chassis_testing.ids import UNKNOWN_ID
from order_harness import ADMIN, SELLER, Order, payment_of, refund_of, rejection_of
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderConfirmed, OrderShipped
from shopapi.order.v1.order_pb2 import GetPayableRequest, GetPayableResponse

SEEDS = range(20)


async def seen(order: Order, placed: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await order.get(placed["id"], placed["buyer_id"])).json()["data"]
    return found


def steps(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(step["status"], step["by"]) for step in found["history"]]


async def test_a_paid_order_is_confirmed_and_announced_whole(order: Order) -> None:
    placed = await order.placed(401, (2, 3), (19, 1))
    await order.pay(placed)

    found = await seen(order, placed)
    assert (found["status"], steps(found)) == ("confirmed", [("pending", "buyer"), ("confirmed", "system")])
    assert found["payment"] == {"paid": found["total"], "refunded": {"amount": 0, "currency": "USD"}}
    await order.heard(placed["id"], "order.placed.v1", "order.confirmed.v1")
    payload = order.about(placed["id"])[-1].payload
    assert isinstance(payload, OrderConfirmed)
    assert [(x.product_id, x.name, x.quantity, x.unit_price.amount, x.seller_id) for x in payload.lines] == [
        (2, "Product 2", 3, 200, SELLER),
        (19, "Product 19", 1, 1900, SELLER + 1),
    ]
    assert (payload.buyer_id, payload.total.amount) == (401, 2500)
    assert payload.confirmed_at.ToDatetime(UTC) == datetime.fromisoformat(found["history"][-1]["at"])


async def test_an_admin_ships_an_order_and_its_buyer_can_follow_it(order: Order) -> None:
    placed = await order.confirmed(402, (1, 1))
    await order.moved(placed["id"], "processing")
    parcel = {"carrier": "DHL", "tracking_number": "JD014"}

    answer = await order.move(placed["id"], "shipped", **parcel)
    await order.moved(placed["id"], "delivered")

    assert (answer.status_code, answer.json()["data"]["shipment"]) == (200, parcel)
    found = await seen(order, placed)
    assert (found["status"], found["shipment"]) == ("delivered", parcel)
    assert steps(found)[2:] == [("processing", "admin"), ("shipped", "admin"), ("delivered", "admin")]
    times = [step["at"] for step in found["history"]]
    assert times == sorted(times)
    await order.heard(placed["id"], "order.placed.v1", "order.confirmed.v1", "order.shipped.v1")
    payload = order.about(placed["id"])[-1].payload
    assert isinstance(payload, OrderShipped)
    assert (payload.buyer_id, payload.carrier, payload.tracking_number) == (402, "DHL", "JD014")


async def test_a_parcel_may_be_nobodys(order: Order) -> None:
    placed = await order.confirmed(403, (1, 1))
    await order.moved(placed["id"], "processing", "shipped")

    assert (await seen(order, placed))["shipment"] is None
    await order.heard(placed["id"], "order.placed.v1", "order.confirmed.v1", "order.shipped.v1")


async def test_moving_twice_is_as_moving_once(order: Order) -> None:
    placed = await order.confirmed(404, (1, 1))
    await order.moved(placed["id"], "processing", "processing")
    answers = [await order.move(placed["id"], "shipped", carrier="UPS") for _ in range(2)]

    other = await order.move(placed["id"], "shipped", carrier="DHL")

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert (other.status_code, other.json()["code"]) == (409, "illegal_transition")
    await order.heard(placed["id"], "order.placed.v1", "order.confirmed.v1", "order.shipped.v1")


@pytest.mark.parametrize("status", ["confirmed", "processing", "shipped", "delivered"])
async def test_nobody_confirms_or_ships_what_is_not_paid(order: Order, status: str) -> None:
    placed = await order.placed(405, (1, 1))

    answer = await order.move(placed["id"], status)

    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert (await seen(order, placed))["status"] == "pending"


async def test_an_admin_cancels_and_it_says_so(order: Order) -> None:
    placed = await order.confirmed(406, (1, 1))

    answer = await order.move(placed["id"], "cancelled")

    assert answer.json()["data"]["cancel_reason"] == "admin"
    assert steps(answer.json()["data"])[-1] == ("cancelled", "admin")
    await order.heard(placed["id"], "order.placed.v1", "order.confirmed.v1", "order.cancelled.v1")
    payload = order.about(placed["id"])[-1].payload
    assert isinstance(payload, OrderCancelled)
    assert (payload.total.amount, payload.total.currency) == (100, "USD")


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.SELLER])
async def test_only_an_admin_moves_an_order(order: Order, role: Role) -> None:
    placed = await order.confirmed(407, (1, 1))
    path = f"/api/v1/orders/{placed['id']}/status"

    answer = await order.http.put(path, json={"status": "processing"}, headers=order.bearer(407, role))
    anonymous = await order.http.put(path, json={"status": "processing"})

    assert (answer.status_code, anonymous.status_code) == (403, 401)
    assert (await seen(order, placed))["status"] == "confirmed"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": None},
        {"status": "lost"},
        {"status": 1},
        {"status": "processing", "carrier": "DHL"},
        {"status": "shipped", "carrier": ""},
        {"status": "shipped", "carrier": "x" * 101},
        {"status": "shipped", "carrier": "a\x00"},
        {"status": "shipped", "tracking_number": 7},
        {"status": "shipped", "by": "me"},
    ],
)
async def test_a_bad_move_is_a_bad_field(order: Order, body: dict[str, object]) -> None:
    path = f"/api/v1/orders/{uuid4()}/status"
    answer = await order.http.put(path, json=body, headers=order.bearer(ADMIN, Role.ADMIN))

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


async def test_an_unknown_order_cannot_be_moved(order: Order) -> None:
    answer = await order.move(str(uuid4()), "processing")

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_order")


@pytest.mark.parametrize("amount", [99, 101])
async def test_another_amount_than_it_costs_confirms_no_order(order: Order, amount: int) -> None:
    placed = await order.placed(408, (1, 1))

    await order.pay(placed, amount=amount)

    found = await seen(order, placed)
    assert (found["status"], found["payment"]["paid"]["amount"]) == ("pending", amount)
    await order.heard(placed["id"], "order.placed.v1")
    async with order.sql() as sql:  # a person's work: the books would say so for ever
        await sql.execute("DELETE FROM payments WHERE order_id = $1", UUID(placed["id"]))


async def test_another_currency_confirms_no_order(order: Order) -> None:
    placed = await order.placed(409, (1, 1))

    await order.tell(payment_of(placed | {"total": {"amount": 100, "currency": "EUR"}}))

    found = await seen(order, placed)
    assert (found["status"], found["payment"]) == ("pending", None)


async def test_a_payment_of_a_cancelled_order_is_recorded_and_changes_nothing(order: Order) -> None:
    placed = await order.placed(410, (1, 1))
    await order.cancel(placed["id"], 410)
    await order.pay(placed)

    found = await seen(order, placed)
    assert (found["status"], found["payment"]["paid"]["amount"]) == ("cancelled", 100)
    await order.heard(placed["id"], "order.placed.v1", "order.cancelled.v1")


async def test_an_order_in_processing_whose_stock_is_gone_is_cancelled_by_the_shop(order: Order) -> None:
    placed = await order.confirmed(419, (1, 1))
    await order.moved(placed["id"], "processing")

    await order.tell(rejection_of(placed["id"]))

    found = await seen(order, placed)
    assert (found["status"], found["cancel_reason"]) == ("cancelled", "out_of_stock")
    assert steps(found)[2:] == [("processing", "admin"), ("cancelled", "system")]
    await order.heard(placed["id"], "order.placed.v1", "order.confirmed.v1", "order.cancelled.v1")


async def test_a_confirmed_order_whose_stock_is_gone_is_cancelled(order: Order) -> None:
    placed = await order.confirmed(411, (1, 1))

    await order.tell(rejection_of(placed["id"]))

    found = await seen(order, placed)
    assert (found["status"], found["cancel_reason"]) == ("cancelled", "out_of_stock")
    assert steps(found) == [("pending", "buyer"), ("confirmed", "system"), ("cancelled", "system")]
    await order.heard(placed["id"], "order.placed.v1", "order.confirmed.v1", "order.cancelled.v1")


async def test_refunds_are_recorded_each_once(order: Order) -> None:
    placed = await order.placed(412, (2, 1))
    await order.pay(placed, "payment-412")
    first = refund_of(placed, "payment-412", 50, refund_id="refund-412-1")
    again = refund_of(placed, "payment-412", 50, refund_id="refund-412-1")

    await order.tell(first, again, refund_of(placed, "payment-412", 30))

    found = await seen(order, placed)
    assert (found["payment"]["paid"]["amount"], found["payment"]["refunded"]["amount"]) == (200, 80)
    assert found["status"] == "confirmed"


async def test_events_of_orders_that_never_were_are_harmless(order: Order) -> None:
    stranger: dict[str, Any] = {"id": str(uuid4()), "buyer_id": 1, "total": {"amount": 1, "currency": "USD"}}

    await order.tell(payment_of(stranger), refund_of(stranger, "p", 1), rejection_of(stranger["id"]))


@pytest.mark.parametrize("seed", SEEDS)
async def test_events_replayed_and_shuffled_end_where_they_end_in_order(order: Order, seed: int) -> None:
    chance = random.Random(seed)
    kept, full, partial, dropped, late = [await order.placed(413, (2, 1)) for _ in range(5)]
    await order.cancel(late["id"], 413)
    told: list[Event] = [payment_of(found, f"{found['id']}-p") for found in (kept, full, partial, dropped, late)]
    told += [refund_of(full, f"{full['id']}-p", 200), refund_of(late, f"{late['id']}-p", 200)]
    told += [refund_of(partial, f"{partial['id']}-p", amount) for amount in (10, 20, 30)]
    told += [rejection_of(dropped["id"]), refund_of(dropped, f"{dropped['id']}-p", 200)]
    replayed = told * 2
    chance.shuffle(replayed)

    await order.tell(*replayed)

    async def state(placed: dict[str, Any]) -> tuple[str, int, int]:
        found = await seen(order, placed)
        return found["status"], found["payment"]["paid"]["amount"], found["payment"]["refunded"]["amount"]

    assert await state(kept) == ("confirmed", 200, 0)
    assert await state(full) == ("confirmed", 200, 200)
    assert await state(partial) == ("confirmed", 200, 60)
    assert await state(dropped) == ("cancelled", 200, 200)
    assert await state(late) == ("cancelled", 200, 200)
    for placed in (kept, full, partial):
        await order.heard(placed["id"], "order.placed.v1", "order.confirmed.v1")
    await order.heard(late["id"], "order.placed.v1", "order.cancelled.v1")
    await consistent(order, dropped)


async def consistent(order: Order, placed: dict[str, Any]) -> dict[str, Any]:
    """What was announced of an order is what its history says, and that ends with what it is."""
    found = await seen(order, placed)
    reached = [step["status"] for step in found["history"]]
    assert reached[-1] == found["status"]
    told = {"pending": "placed", "confirmed": "confirmed", "shipped": "shipped", "cancelled": "cancelled"}
    await order.heard(placed["id"], *(f"order.{told[status]}.v1" for status in reached if status in told))
    return found


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_cancellation_and_a_payment_at_once_end_as_one(order: Order, seed: int) -> None:
    chance = random.Random(seed)
    placed = await order.placed(414, (1, 1))
    event = payment_of(placed)

    async def cancel_soon() -> None:
        await asyncio.sleep(chance.random() * 0.03)
        answer = await order.cancel(placed["id"], 414)
        assert answer.status_code == 204

    await asyncio.gather(order.tell(event), cancel_soon())

    found = await consistent(order, placed)
    reached = [step["status"] for step in found["history"]]
    assert reached in (["pending", "cancelled"], ["pending", "confirmed", "cancelled"])
    assert found["payment"]["paid"]["amount"] == 100


@pytest.mark.parametrize("seed", SEEDS)
async def test_an_expiry_and_a_payment_at_once_end_as_one_or_the_other(order: Order, seed: int) -> None:
    chance = random.Random(seed)
    placed = await order.placed(415, (1, 1))
    expires_at = datetime.now(UTC) + timedelta(seconds=chance.random() * 0.06)
    async with order.sql() as sql:
        await sql.execute("UPDATE orders SET expires_at = $1 WHERE id = $2", expires_at, UUID(placed["id"]))

    await order.pay(placed)
    await asyncio.sleep(0.1)  # past the expiry and a sweep: nothing more may happen

    found = await consistent(order, placed)
    assert [step["status"] for step in found["history"]] in (["pending", "cancelled"], ["pending", "confirmed"])


@pytest.mark.parametrize("seed", SEEDS)
async def test_an_admin_and_a_buyer_at_once_do_not_both_have_their_way(order: Order, seed: int) -> None:
    placed = await order.confirmed(416, (1, 1))

    moved, cancelled = await asyncio.gather(order.move(placed["id"], "processing"), order.cancel(placed["id"], 416))

    assert sorted([moved.status_code, cancelled.status_code]) in ([200, 409], [204, 409])
    found = await consistent(order, placed)
    assert found["status"] == ("processing" if moved.status_code == 200 else "cancelled")


async def payable(order: Order, order_id: str) -> GetPayableResponse:
    answer: GetPayableResponse = await call(order.rpc.GetPayable, GetPayableRequest(order_id=order_id))
    return answer


async def test_payment_learns_what_an_order_costs_and_whether_it_may_be_paid(order: Order) -> None:
    placed = await order.placed(417, (2, 2))

    answer = await payable(order, placed["id"])

    assert (answer.order_id, answer.buyer_id, answer.status, answer.is_payable) == (placed["id"], 417, "pending", True)
    assert (answer.total.amount, answer.total.currency) == (400, "USD")
    assert answer.expires_at.ToDatetime(UTC) == datetime.fromisoformat(placed["expires_at"])


async def test_what_is_paid_or_cancelled_may_not_be_paid(order: Order) -> None:
    paid, cancelled = await order.confirmed(418, (1, 1)), await order.placed(418, (1, 1))
    await order.cancel(cancelled["id"], 418)

    answers = [await payable(order, found["id"]) for found in (paid, cancelled)]

    assert [(answer.is_payable, answer.status) for answer in answers] == [(False, "confirmed"), (False, "cancelled")]


@pytest.mark.parametrize("order_id", [UNKNOWN_ID, "", "1", "x" * 1000])
async def test_nobody_pays_an_order_that_never_was(order: Order, order_id: str) -> None:
    with pytest.raises(NeighbourRefused) as refusal:
        await payable(order, order_id)
    assert refusal.value.code == "unknown_order"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await order.rpc.GetPayable(GetPayableRequest(order_id=order_id))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
