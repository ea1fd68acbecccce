"""An order is placed once, whatever is repeated, at once, or cut off in the middle."""

import asyncio
from uuid import UUID

import httpx
import pytest
from order_harness import Order


async def test_one_key_fifty_times_at_once_is_one_order_and_one_reservation(order: Order) -> None:
    before = set(order.inventory.reserved)

    answers = await asyncio.gather(*(order.place(31, (1, 2), key="checkout-1") for _ in range(50)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    (stored,) = await order.orders_of(31)
    assert stored == answers[0].json()["data"]
    assert set(order.inventory.reserved) - before == {UUID(stored["id"])}
    await order.heard(stored["id"], "order.placed.v1")


async def test_the_same_key_later_gives_the_same_answer(order: Order) -> None:
    first = await order.place(32, (1, 2), (3, 1), key="checkout-1")
    again = await order.place(32, (3, 1), (1, 1), (1, 1), key="checkout-1")

    assert (again.status_code, again.text, again.headers["location"]) == (201, first.text, first.headers["location"])


async def test_the_same_key_never_reserves_again_for_an_order_that_was_cancelled(order: Order) -> None:
    placed = (await order.place(32, (1, 1), key="checkout-2")).json()["data"]
    await order.cancel(placed["id"], 32)
    order.inventory.reserved.clear()

    again = await order.place(32, (1, 1), key="checkout-2")

    assert (again.json()["data"]["id"], again.json()["data"]["status"]) == (placed["id"], "cancelled")
    assert order.inventory.reserved == {}


async def test_another_body_under_a_key_is_refused(order: Order) -> None:
    await order.place(33, (1, 1), key="checkout-1")

    answer = await order.place(33, (1, 2), key="checkout-1")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(await order.orders_of(33)) == 1


async def test_a_key_is_its_buyers_own(order: Order) -> None:
    placed = [(await order.place(buyer, (1, 1), key="mine")).json()["data"]["id"] for buyer in (34, 35)]

    assert len(set(placed)) == 2


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "schlüssel"])
async def test_a_malformed_key_is_a_bad_field(order: Order, key: str) -> None:
    headers = [*order.bearer(36).items(), ("Idempotency-Key", key)]
    body = {"items": [{"product_id": 1, "quantity": 1}]}
    answer = await order.http.post("/api/v1/orders", json=body, headers=httpx.Headers(headers, encoding="latin-1"))

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


async def test_a_refused_order_may_be_tried_again_under_its_key(order: Order) -> None:
    order.inventory.left[4] = 0
    refused = await order.place(37, (4, 1), key="checkout-1")
    order.inventory.left[4] = 1
    accepted = await order.place(37, (4, 1), key="checkout-1")

    assert (refused.status_code, accepted.status_code) == (409, 201)


async def test_a_database_that_dies_after_the_reservation_loses_nothing(order: Order) -> None:
    order.inventory.after_reserving = order.cable.sever
    before = set(order.inventory.reserved)
    try:
        cut_off = await order.place(38, (1, 1), key="checkout-1")
    finally:
        order.inventory.after_reserving = None
        await order.cable.restore()
    assert (cut_off.status_code, cut_off.json()["code"]) == (503, "database_unavailable")
    assert await order.orders_of(38) == []
    (reserved,) = set(order.inventory.reserved) - before

    finished = await order.place(38, (1, 1), key="checkout-1")

    assert finished.status_code == 201
    assert finished.json()["data"]["id"] == str(reserved)
    assert set(order.inventory.reserved) - before == {reserved}
    assert reserved not in order.inventory.released
    await order.heard(str(reserved), "order.placed.v1")


async def test_an_inventory_that_dies_after_the_reservation_loses_nothing(order: Order) -> None:
    before = set(order.inventory.reserved)
    order.inventory.loses_answers = True
    cut_off = await order.place(39, (1, 1), key="checkout-1")
    order.inventory.loses_answers = False

    finished = await order.place(39, (1, 1), key="checkout-1")

    assert (cut_off.status_code, finished.status_code) == (503, 201)
    assert set(order.inventory.reserved) - before == {UUID(finished.json()["data"]["id"])}


async def test_stock_stays_on_hold_where_nobody_knows_whether_the_order_was_stored(order: Order) -> None:
    order.inventory.after_reserving = order.cable.sever
    before = set(order.inventory.reserved)
    try:
        cut_off = await order.place(41, (1, 1))
    finally:
        await order.cable.restore()

    (reserved,) = set(order.inventory.reserved) - before
    assert (cut_off.status_code, reserved in order.inventory.released) == (503, False)


@pytest.mark.parametrize("table", ["orders", "outbox"])
@pytest.mark.parametrize(("has_key", "is_released"), [(False, True), (True, False)])
async def test_an_order_that_can_never_be_stored_is_not_announced_and_its_stock_goes_back(
    order: Order, has_key: bool, is_released: bool, table: str
) -> None:
    """Under a key another request may hold the same reservation: there it lapses by itself."""
    before = set(order.inventory.reserved)
    async with order.sql() as sql:
        await sql.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;"
            f"CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        try:
            answer = await order.place(40, (1, 1), key=f"checkout-{table}" if has_key else None)
        finally:
            await sql.execute(f"DROP TRIGGER refuse ON {table}; DROP FUNCTION refuse")
        recorded = await sql.fetch("SELECT convert_from(body, 'UTF8') AS body FROM outbox")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    (reserved,) = set(order.inventory.reserved) - before
    assert (reserved in order.inventory.released) is is_released
    assert await order.orders_of(40) == []
    assert not any(str(reserved) in row["body"] for row in recorded)
    assert order.about(str(reserved)) == []
