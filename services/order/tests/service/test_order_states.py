"""The state machine of orders, driven by admins, buyers, payments and expiry."""

import asyncio
import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import grpc
import httpx
import pytest
from chassis.errors import NeighbourRefused
from chassis.grpc.client import call
from chassis.http.authentication import Role
from chassis.messaging.events import Event
from chassis_testing.ids import UNKNOWN_ID
from order_harness import ADMIN, SELLER, OrderApp, payment_of, refund_of, rejection_of
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderConfirmed, OrderShipped
from shopapi.order.v1.order_pb2 import (
    ORDER_STATE_CANCELLED,
    ORDER_STATE_OPEN,
    ORDER_STATE_PAID,
    ORDER_STATE_UNKNOWN,
    GetOrderStatesRequest,
    GetOrderStatesResponse,
    GetPayableRequest,
    GetPayableResponse,
)

SEEDS = range(20)
PAYMENT_MARGIN_SECONDS = 30
"""How long after its expiry payment is asked about an order."""


async def get_order(app: OrderApp, placed: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await app.get(placed["id"], placed["buyer_id"])).json()["data"]
    return found


def status_changes(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(change["status"], change["by"]) for change in found["history"]]


async def test_a_paid_order_is_confirmed_and_published(app: OrderApp) -> None:
    placed = await app.place_order(401, (2, 3), (19, 1))
    await app.pay(placed)

    found = await get_order(app, placed)
    assert (found["status"], status_changes(found)) == ("confirmed", [("pending", "buyer"), ("confirmed", "system")])
    assert found["payment"] == {"paid": found["total"], "refunded": {"amount": 0, "currency": "USD"}}
    await app.wait_for_events(placed["id"], "order.placed.v1", "order.confirmed.v1")
    payload = app.events_about(placed["id"])[-1].payload
    assert isinstance(payload, OrderConfirmed)
    assert [(x.product_id, x.name, x.quantity, x.unit_price.amount, x.seller_id) for x in payload.lines] == [
        (2, "Product 2", 3, 200, SELLER),
        (19, "Product 19", 1, 1900, SELLER + 1),
    ]
    assert (payload.buyer_id, payload.total.amount) == (401, 2500)
    assert payload.confirmed_at.ToDatetime(UTC) == datetime.fromisoformat(found["history"][-1]["at"])


async def test_an_admin_ships_an_order_and_its_buyer_can_track_it(app: OrderApp) -> None:
    placed = await app.place_confirmed_order(402, (1, 1))
    await app.change_status(placed["id"], "processing")
    shipment = {"carrier": "DHL", "tracking_number": "JD014"}

    response = await app.put_status(placed["id"], "shipped", **shipment)
    await app.change_status(placed["id"], "delivered")

    assert (response.status_code, response.json()["data"]["shipment"]) == (200, shipment)
    found = await get_order(app, placed)
    assert (found["status"], found["shipment"]) == ("delivered", shipment)
    assert status_changes(found)[2:] == [("processing", "admin"), ("shipped", "admin"), ("delivered", "admin")]
    times = [change["at"] for change in found["history"]]
    assert times == sorted(times)
    await app.wait_for_events(placed["id"], "order.placed.v1", "order.confirmed.v1", "order.shipped.v1")
    payload = app.events_about(placed["id"])[-1].payload
    assert isinstance(payload, OrderShipped)
    assert (payload.buyer_id, payload.carrier, payload.tracking_number) == (402, "DHL", "JD014")


async def test_carrier_and_tracking_number_are_optional(app: OrderApp) -> None:
    placed = await app.place_confirmed_order(403, (1, 1))
    await app.change_status(placed["id"], "processing", "shipped")

    assert (await get_order(app, placed))["shipment"] is None
    await app.wait_for_events(placed["id"], "order.placed.v1", "order.confirmed.v1", "order.shipped.v1")


async def test_changing_to_the_same_status_again_changes_nothing(app: OrderApp) -> None:
    placed = await app.place_confirmed_order(404, (1, 1))
    await app.change_status(placed["id"], "processing", "processing")
    responses = [await app.put_status(placed["id"], "shipped", carrier="UPS") for _ in range(2)]

    other = await app.put_status(placed["id"], "shipped", carrier="DHL")

    assert [response.status_code for response in responses] == [200, 200]
    assert responses[0].json() == responses[1].json()
    assert (other.status_code, other.json()["code"]) == (409, "illegal_transition")
    await app.wait_for_events(placed["id"], "order.placed.v1", "order.confirmed.v1", "order.shipped.v1")


@pytest.mark.parametrize("status", ["confirmed", "processing", "shipped", "delivered"])
async def test_an_unpaid_order_cannot_be_confirmed_or_shipped(app: OrderApp, status: str) -> None:
    placed = await app.place_order(405, (1, 1))

    response = await app.put_status(placed["id"], status)

    assert (response.status_code, response.json()["code"]) == (409, "illegal_transition")
    assert (await get_order(app, placed))["status"] == "pending"


async def test_an_order_cancelled_by_an_admin_has_that_reason(app: OrderApp) -> None:
    placed = await app.place_confirmed_order(406, (1, 1))

    response = await app.put_status(placed["id"], "cancelled")

    assert response.json()["data"]["cancel_reason"] == "admin"
    assert status_changes(response.json()["data"])[-1] == ("cancelled", "admin")
    await app.wait_for_events(placed["id"], "order.placed.v1", "order.confirmed.v1", "order.cancelled.v1")
    payload = app.events_about(placed["id"])[-1].payload
    assert isinstance(payload, OrderCancelled)
    assert (payload.total.amount, payload.total.currency) == (100, "USD")


@pytest.mark.parametrize("route", ["status", "delete"])
async def test_an_admin_cancels_an_order_until_it_is_shipped(app: OrderApp, route: str) -> None:
    async def cancel(order_id: str) -> httpx.Response:
        if route == "status":
            return await app.put_status(order_id, "cancelled")
        return await app.cancel(order_id, ADMIN, Role.ADMIN)

    packed, shipped = [await app.place_confirmed_order(417, (1, 1)) for _ in range(2)]
    await app.change_status(packed["id"], "processing")
    await app.change_status(shipped["id"], "processing", "shipped")

    by_buyer = await app.cancel(packed["id"], 417)
    by_admin, again, too_late = [await cancel(order["id"]) for order in (packed, packed, shipped)]

    assert (by_buyer.status_code, by_buyer.json()["code"]) == (409, "not_cancellable")
    assert by_admin.is_success
    assert again.is_success
    assert (too_late.status_code, too_late.json()["code"]) == (409, "not_cancellable")
    found = await get_order(app, packed)
    assert (found["cancel_reason"], status_changes(found)[-1]) == ("admin", ("cancelled", "admin"))
    await app.wait_for_events(packed["id"], "order.placed.v1", "order.confirmed.v1", "order.cancelled.v1")


@pytest.mark.parametrize("statuses", [(), ("processing",)])
async def test_a_refunded_order_is_not_fulfilled(app: OrderApp, statuses: tuple[str, ...]) -> None:
    placed = await app.place_order(418, (1, 1))
    await app.pay(placed, "payment-418" + "".join(statuses))
    await app.change_status(placed["id"], *statuses)
    following = "shipped" if statuses else "processing"
    await app.publish(refund_of(placed, "payment-418" + "".join(statuses), 100))

    refused = await app.put_status(placed["id"], following)
    cancelled = await app.put_status(placed["id"], "cancelled")

    assert (refused.status_code, refused.json()["code"]) == (409, "order_refunded")
    assert (cancelled.status_code, cancelled.json()["data"]["status"]) == (200, "cancelled")


async def test_a_partial_refund_does_not_stop_an_order(app: OrderApp) -> None:
    placed = await app.place_order(419, (1, 1))
    await app.pay(placed, "payment-419")
    await app.publish(refund_of(placed, "payment-419", 99))

    await app.change_status(placed["id"], "processing", "shipped")


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.SELLER])
async def test_only_an_admin_changes_the_status(app: OrderApp, role: Role) -> None:
    placed = await app.place_confirmed_order(407, (1, 1))
    path = f"/api/v1/orders/{placed['id']}/status"

    response = await app.http.put(path, json={"status": "processing"}, headers=app.bearer(407, role))
    anonymous = await app.http.put(path, json={"status": "processing"})

    assert (response.status_code, anonymous.status_code) == (403, 401)
    assert (await get_order(app, placed))["status"] == "confirmed"


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
async def test_an_invalid_status_change_is_an_invalid_field(app: OrderApp, body: dict[str, object]) -> None:
    path = f"/api/v1/orders/{uuid4()}/status"
    response = await app.http.put(path, json=body, headers=app.bearer(ADMIN, Role.ADMIN))

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


async def test_the_status_of_an_unknown_order_cannot_be_changed(app: OrderApp) -> None:
    response = await app.put_status(str(uuid4()), "processing")

    assert (response.status_code, response.json()["code"]) == (404, "unknown_order")


@pytest.mark.parametrize("amount", [99, 101])
async def test_a_payment_of_another_amount_does_not_confirm_the_order(app: OrderApp, amount: int) -> None:
    placed = await app.place_order(408, (1, 1))

    await app.pay(placed, amount=amount)

    found = await get_order(app, placed)
    assert (found["status"], found["payment"]["paid"]["amount"]) == ("pending", amount)
    await app.wait_for_events(placed["id"], "order.placed.v1")
    async with app.sql() as sql:  # an admin's correction: the invariants would fail otherwise
        await sql.execute("DELETE FROM payments WHERE order_id = $1", UUID(placed["id"]))


async def test_a_payment_in_another_currency_does_not_confirm_the_order(app: OrderApp) -> None:
    placed = await app.place_order(409, (1, 1))

    await app.publish(payment_of(placed | {"total": {"amount": 100, "currency": "EUR"}}))

    found = await get_order(app, placed)
    assert (found["status"], found["payment"]) == ("pending", None)


async def test_a_payment_of_a_cancelled_order_is_recorded_and_the_order_stays_cancelled(app: OrderApp) -> None:
    placed = await app.place_order(410, (1, 1))
    await app.cancel(placed["id"], 410)
    await app.pay(placed)

    found = await get_order(app, placed)
    assert (found["status"], found["payment"]["paid"]["amount"]) == ("cancelled", 100)
    await app.wait_for_events(placed["id"], "order.placed.v1", "order.cancelled.v1")


async def test_an_order_in_processing_without_stock_is_cancelled_by_the_system(app: OrderApp) -> None:
    placed = await app.place_confirmed_order(419, (1, 1))
    await app.change_status(placed["id"], "processing")

    await app.publish(rejection_of(placed["id"]))

    found = await get_order(app, placed)
    assert (found["status"], found["cancel_reason"]) == ("cancelled", "out_of_stock")
    assert status_changes(found)[2:] == [("processing", "admin"), ("cancelled", "system")]
    await app.wait_for_events(placed["id"], "order.placed.v1", "order.confirmed.v1", "order.cancelled.v1")


async def test_a_confirmed_order_without_stock_is_cancelled(app: OrderApp) -> None:
    placed = await app.place_confirmed_order(411, (1, 1))

    await app.publish(rejection_of(placed["id"]))

    found = await get_order(app, placed)
    assert (found["status"], found["cancel_reason"]) == ("cancelled", "out_of_stock")
    assert status_changes(found) == [("pending", "buyer"), ("confirmed", "system"), ("cancelled", "system")]
    await app.wait_for_events(placed["id"], "order.placed.v1", "order.confirmed.v1", "order.cancelled.v1")


async def test_each_refund_is_recorded_once(app: OrderApp) -> None:
    placed = await app.place_order(412, (2, 1))
    await app.pay(placed, "payment-412")
    first = refund_of(placed, "payment-412", 50, refund_id="refund-412-1")
    again = refund_of(placed, "payment-412", 50, refund_id="refund-412-1")

    await app.publish(first, again, refund_of(placed, "payment-412", 30))

    found = await get_order(app, placed)
    assert (found["payment"]["paid"]["amount"], found["payment"]["refunded"]["amount"]) == (200, 80)
    assert found["status"] == "confirmed"


async def test_events_of_unknown_orders_are_ignored(app: OrderApp) -> None:
    unknown: dict[str, Any] = {"id": str(uuid4()), "buyer_id": 1, "total": {"amount": 1, "currency": "USD"}}

    await app.publish(payment_of(unknown), refund_of(unknown, "p", 1), rejection_of(unknown["id"]))


@pytest.mark.parametrize("seed", SEEDS)
async def test_replayed_and_shuffled_events_end_in_the_same_state(app: OrderApp, seed: int) -> None:
    rng = random.Random(seed)
    unrefunded, full, partial, rejected, late = [await app.place_order(413, (2, 1)) for _ in range(5)]
    await app.cancel(late["id"], 413)
    deliveries: list[Event] = [
        payment_of(found, f"{found['id']}-p") for found in (unrefunded, full, partial, rejected, late)
    ]
    deliveries += [refund_of(full, f"{full['id']}-p", 200), refund_of(late, f"{late['id']}-p", 200)]
    deliveries += [refund_of(partial, f"{partial['id']}-p", amount) for amount in (10, 20, 30)]
    deliveries += [rejection_of(rejected["id"]), refund_of(rejected, f"{rejected['id']}-p", 200)]
    replayed = deliveries * 2
    rng.shuffle(replayed)

    await app.publish(*replayed)

    async def state(placed: dict[str, Any]) -> tuple[str, int, int]:
        found = await get_order(app, placed)
        return found["status"], found["payment"]["paid"]["amount"], found["payment"]["refunded"]["amount"]

    assert await state(unrefunded) == ("confirmed", 200, 0)
    assert await state(full) == ("confirmed", 200, 200)
    assert await state(partial) == ("confirmed", 200, 60)
    assert await state(rejected) == ("cancelled", 200, 200)
    assert await state(late) == ("cancelled", 200, 200)
    for placed in (unrefunded, full, partial):
        await app.wait_for_events(placed["id"], "order.placed.v1", "order.confirmed.v1")
    await app.wait_for_events(late["id"], "order.placed.v1", "order.cancelled.v1")
    await check_consistency(app, rejected)


async def check_consistency(app: OrderApp, placed: dict[str, Any]) -> dict[str, Any]:
    """Checks that the published events match the history, and the history the status. Returns the order."""
    found = await get_order(app, placed)
    reached = [change["status"] for change in found["history"]]
    assert reached[-1] == found["status"]
    event_names = {"pending": "placed", "confirmed": "confirmed", "shipped": "shipped", "cancelled": "cancelled"}
    await app.wait_for_events(
        placed["id"], *(f"order.{event_names[status]}.v1" for status in reached if status in event_names)
    )
    return found


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_concurrent_cancellation_and_payment_end_consistently(app: OrderApp, seed: int) -> None:
    rng = random.Random(seed)
    placed = await app.place_order(414, (1, 1))
    event = payment_of(placed)

    async def cancel_soon() -> None:
        await asyncio.sleep(rng.random() * 0.03)
        response = await app.cancel(placed["id"], 414)
        assert response.status_code == 204

    await asyncio.gather(app.publish(event), cancel_soon())

    found = await check_consistency(app, placed)
    reached = [change["status"] for change in found["history"]]
    assert reached in (["pending", "cancelled"], ["pending", "confirmed", "cancelled"])
    assert found["payment"]["paid"]["amount"] == 100


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_concurrent_expiry_and_payment_end_consistently(app: OrderApp, seed: int) -> None:
    rng = random.Random(seed)
    placed = await app.place_order(415, (1, 1))
    await app.expire(placed["id"], seconds_ago=PAYMENT_MARGIN_SECONDS - rng.random() * 0.06)

    await app.pay(placed)
    await asyncio.sleep(0.1)  # longer than the expiry and a sweep: nothing more may happen

    found = await check_consistency(app, placed)
    assert [change["status"] for change in found["history"]] in (["pending", "cancelled"], ["pending", "confirmed"])


@pytest.mark.parametrize("seed", SEEDS)
async def test_only_one_of_a_concurrent_status_change_and_cancellation_succeeds(app: OrderApp, seed: int) -> None:
    placed = await app.place_confirmed_order(416, (1, 1))

    moved, cancelled = await asyncio.gather(app.put_status(placed["id"], "processing"), app.cancel(placed["id"], 416))

    assert sorted([moved.status_code, cancelled.status_code]) in ([200, 409], [204, 409])
    found = await check_consistency(app, placed)
    assert found["status"] == ("processing" if moved.status_code == 200 else "cancelled")


async def get_payable(app: OrderApp, order_id: str) -> GetPayableResponse:
    response: GetPayableResponse = await call(app.rpc.GetPayable, GetPayableRequest(order_id=order_id))
    return response


async def test_get_payable_returns_the_total_and_whether_it_can_be_paid(app: OrderApp) -> None:
    placed = await app.place_order(417, (2, 2))

    response = await get_payable(app, placed["id"])

    assert (response.order_id, response.buyer_id, response.status, response.is_payable) == (
        placed["id"],
        417,
        "pending",
        True,
    )
    assert (response.total.amount, response.total.currency) == (400, "USD")
    assert response.expires_at.ToDatetime(UTC) == datetime.fromisoformat(placed["expires_at"])


async def test_a_paid_or_cancelled_order_cannot_be_paid(app: OrderApp) -> None:
    paid, cancelled = await app.place_confirmed_order(418, (1, 1)), await app.place_order(418, (1, 1))
    await app.cancel(cancelled["id"], 418)

    responses = [await get_payable(app, found["id"]) for found in (paid, cancelled)]

    assert [(response.is_payable, response.status) for response in responses] == [
        (False, "confirmed"),
        (False, "cancelled"),
    ]


@pytest.mark.parametrize("order_id", [UNKNOWN_ID, "", "1", "x" * 1000])
async def test_an_unknown_order_cannot_be_paid(app: OrderApp, order_id: str) -> None:
    with pytest.raises(NeighbourRefused) as refusal:
        await get_payable(app, order_id)
    assert refusal.value.code == "unknown_order"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await app.rpc.GetPayable(GetPayableRequest(order_id=order_id))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_get_order_states_tells_unknown_open_paid_and_cancelled_orders_apart(app: OrderApp) -> None:
    open_, paid = await app.place_order(419, (1, 1)), await app.place_confirmed_order(419, (1, 1))
    shipped, cancelled = await app.place_confirmed_order(419, (1, 1)), await app.place_order(419, (1, 1))
    await app.change_status(shipped["id"], "processing", "shipped")
    await app.cancel(cancelled["id"], 419)

    ids = [open_["id"], paid["id"], shipped["id"], cancelled["id"], UNKNOWN_ID, open_["id"]]
    response: GetOrderStatesResponse = await call(app.rpc.GetOrderStates, GetOrderStatesRequest(order_ids=ids))

    assert [(found.order_id, found.state) for found in response.orders] == [
        (open_["id"], ORDER_STATE_OPEN),
        (paid["id"], ORDER_STATE_PAID),
        (shipped["id"], ORDER_STATE_PAID),
        (cancelled["id"], ORDER_STATE_CANCELLED),
        (UNKNOWN_ID, ORDER_STATE_UNKNOWN),
    ]
    assert response.orders[0].expires_at.ToDatetime(UTC) == datetime.fromisoformat(open_["expires_at"])
    assert not response.orders[1].HasField("expires_at")


@pytest.mark.parametrize("order_ids", [["x"], [""], [UNKNOWN_ID] * 101])
async def test_the_states_of_too_many_or_malformed_ids_are_refused(app: OrderApp, order_ids: list[str]) -> None:
    with pytest.raises(NeighbourRefused) as refusal:
        await call(app.rpc.GetOrderStates, GetOrderStatesRequest(order_ids=order_ids))
    assert refusal.value.code == "invalid_field"
