"""What ends when an account is erased: unpaid orders, and everything that would place or pay one."""

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from chassis.grpc.client import call
from order_harness import OrderApp, erasure_of
from shopapi.order.v1.order_pb2 import GetPayableRequest

ADDRESS = {
    "recipient": "Ada",
    "line1": "12 St James's Square",
    "city": "London",
    "postal_code": "SW1Y 4JH",
    "country": "GB",
}


async def place(app: OrderApp, buyer: int) -> Any:
    return await app.post_order(buyer, items=[{"product_id": 1, "quantity": 1}], shipping_address=ADDRESS)


async def test_unpaid_orders_are_cancelled_with_the_account(app: OrderApp) -> None:
    placed = [(await place(app, 5301)).json()["data"] for _ in range(2)]
    paid, other = (await place(app, 5301)).json()["data"], (await place(app, 5302)).json()["data"]
    await app.pay(paid)

    await app.publish(erasure_of(5301), erasure_of(5301))

    for order in placed:
        found = (await app.get(order["id"], 5301)).json()["data"]
        assert (found["status"], found["cancel_reason"], found["shipping_address"]) == ("cancelled", "buyer", None)
        await app.wait_for_events(order["id"], "order.placed.v1", "order.cancelled.v1")
    assert (await app.get(paid["id"], 5301)).json()["data"]["status"] == "confirmed"
    assert (await app.get(other["id"], 5302)).json()["data"]["status"] == "pending"


async def test_an_order_of_an_erased_account_is_not_payable(app: OrderApp) -> None:
    placed = (await place(app, 5303)).json()["data"]
    async with app.sql() as sql:  # as if the erasure were recorded, and the cancellation of the order not yet
        await sql.execute("INSERT INTO buyers (id, erased_at) VALUES (5303, $1)"
                          " ON CONFLICT (id) DO UPDATE SET erased_at = $1", datetime.now(UTC))  # fmt: skip

    assert not (await call(app.rpc.GetPayable, GetPayableRequest(order_id=placed["id"]))).is_payable
    await app.publish(erasure_of(5303))


@pytest.mark.parametrize("seed", range(10))
async def test_no_order_outlives_an_erasure_that_happens_while_it_is_placed(app: OrderApp, seed: int) -> None:
    buyer, chance = 5310 + seed, random.Random(seed)

    async def place_later() -> None:
        await asyncio.sleep(chance.uniform(0, 0.05))
        assert (await place(app, buyer)).status_code in (201, 403)

    await asyncio.gather(app.publish(erasure_of(buyer)), *(place_later() for _ in range(3)))

    orders = await app.orders_of(buyer)
    assert [order["status"] for order in orders] == ["cancelled"] * len(orders)
    assert [order["shipping_address"] for order in orders] == [None] * len(orders)


async def test_an_erasure_after_the_reservation_refuses_the_order(app: OrderApp) -> None:
    async def erase() -> None:
        app.inventory.after_reserving = None
        await app.publish(erasure_of(5304))

    app.inventory.after_reserving = erase
    before = set(app.inventory.reservations)
    refused = await place(app, 5304)

    assert (refused.status_code, refused.json()["code"]) == (403, "account_erased")
    assert set(app.inventory.reservations) - before <= set(app.inventory.released)
    assert await app.orders_of(5304) == []
