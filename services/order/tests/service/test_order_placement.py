"""An order is placed once under repeated and concurrent requests, and when databases and neighbours fail."""

import asyncio
from uuid import UUID

import httpx
import pytest
from order_harness import OrderApp


async def test_fifty_concurrent_requests_under_one_key_place_one_order(app: OrderApp) -> None:
    before = set(app.inventory.reservations)

    responses = await asyncio.gather(*(app.order_items(31, (1, 2), key="checkout-1") for _ in range(50)))

    assert {response.status_code for response in responses} == {201}
    assert len({response.text for response in responses}) == 1
    (stored,) = await app.orders_of(31)
    assert stored == responses[0].json()["data"]
    assert set(app.inventory.reservations) - before == {UUID(stored["id"])}
    await app.wait_for_events(stored["id"], "order.placed.v1")


async def test_the_same_key_returns_the_same_order(app: OrderApp) -> None:
    first = await app.order_items(32, (1, 2), (3, 1), key="checkout-1")
    again = await app.order_items(32, (3, 1), (1, 1), (1, 1), key="checkout-1")

    assert (again.status_code, again.text, again.headers["location"]) == (201, first.text, first.headers["location"])


async def test_the_same_key_reserves_nothing_for_a_cancelled_order(app: OrderApp) -> None:
    placed = (await app.order_items(32, (1, 1), key="checkout-2")).json()["data"]
    await app.cancel(placed["id"], 32)
    app.inventory.reservations.clear()

    again = await app.order_items(32, (1, 1), key="checkout-2")

    assert (again.json()["data"]["id"], again.json()["data"]["status"]) == (placed["id"], "cancelled")
    assert app.inventory.reservations == {}


async def test_another_body_under_a_key_is_refused(app: OrderApp) -> None:
    await app.order_items(33, (1, 1), key="checkout-1")

    response = await app.order_items(33, (1, 2), key="checkout-1")

    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert len(await app.orders_of(33)) == 1


async def test_buyers_do_not_share_keys(app: OrderApp) -> None:
    placed = [(await app.order_items(buyer, (1, 1), key="mine")).json()["data"]["id"] for buyer in (34, 35)]

    assert len(set(placed)) == 2


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "schlüssel"])
async def test_a_malformed_key_is_an_invalid_field(app: OrderApp, key: str) -> None:
    headers = [*app.bearer(36).items(), ("Idempotency-Key", key)]
    body = {"items": [{"product_id": 1, "quantity": 1}]}
    response = await app.http.post("/api/v1/orders", json=body, headers=httpx.Headers(headers, encoding="latin-1"))

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
    assert response.json()["errors"][0]["field"] == "Idempotency-Key"


async def test_a_refused_order_can_be_retried_under_its_key(app: OrderApp) -> None:
    app.inventory.stock[4] = 0
    refused = await app.order_items(37, (4, 1), key="checkout-1")
    app.inventory.stock[4] = 1
    accepted = await app.order_items(37, (4, 1), key="checkout-1")

    assert (refused.status_code, accepted.status_code) == (409, 201)


async def test_a_database_failure_after_the_reservation_loses_nothing(app: OrderApp) -> None:
    app.inventory.after_reserving = app.cut_database
    before = set(app.inventory.reservations)
    try:
        interrupted = await app.order_items(38, (1, 1), key="checkout-1")
    finally:
        app.inventory.after_reserving = None
        await app.restore_database()
    assert (interrupted.status_code, interrupted.json()["code"]) == (503, "database_unavailable")
    assert await app.orders_of(38) == []
    (reserved,) = set(app.inventory.reservations) - before

    finished = await app.order_items(38, (1, 1), key="checkout-1")

    assert finished.status_code == 201
    assert finished.json()["data"]["id"] == str(reserved)
    assert set(app.inventory.reservations) - before == {reserved}
    assert reserved not in app.inventory.released
    await app.wait_for_events(str(reserved), "order.placed.v1")


async def test_an_inventory_failure_after_the_reservation_loses_nothing(app: OrderApp) -> None:
    before = set(app.inventory.reservations)
    app.inventory.loses_responses = True
    interrupted = await app.order_items(39, (1, 1), key="checkout-1")
    app.inventory.loses_responses = False

    finished = await app.order_items(39, (1, 1), key="checkout-1")

    assert (interrupted.status_code, finished.status_code) == (503, 201)
    assert set(app.inventory.reservations) - before == {UUID(finished.json()["data"]["id"])}


async def test_stock_stays_reserved_if_it_is_unknown_whether_the_order_was_stored(app: OrderApp) -> None:
    app.inventory.after_reserving = app.cut_database
    before = set(app.inventory.reservations)
    try:
        interrupted = await app.order_items(41, (1, 1))
    finally:
        await app.restore_database()

    (reserved,) = set(app.inventory.reservations) - before
    assert (interrupted.status_code, reserved in app.inventory.released) == (503, False)


@pytest.mark.parametrize("table", ["orders", "outbox"])
@pytest.mark.parametrize(("has_key", "is_released"), [(False, True), (True, False)])
async def test_an_order_that_cannot_be_stored_is_not_published_and_its_stock_is_released(
    app: OrderApp, has_key: bool, is_released: bool, table: str
) -> None:
    """The stock of a request with a key is not released, since another request may hold the reservation: it expires."""
    before = set(app.inventory.reservations)
    async with app.sql() as sql:
        await sql.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;"
            f"CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        try:
            response = await app.order_items(40, (1, 1), key=f"checkout-{table}" if has_key else None)
        finally:
            await sql.execute(f"DROP TRIGGER refuse ON {table}; DROP FUNCTION refuse")
        recorded = await sql.fetch("SELECT convert_from(body, 'UTF8') AS body FROM outbox")

    assert (response.status_code, response.json()["code"]) == (500, "internal")
    (reserved,) = set(app.inventory.reservations) - before
    assert (reserved in app.inventory.released) is is_released
    assert await app.orders_of(40) == []
    assert not any(str(reserved) in row["body"] for row in recorded)
    assert app.events_about(str(reserved)) == []
