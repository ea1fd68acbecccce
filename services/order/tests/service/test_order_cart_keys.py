"""Adding to a cart under an idempotency key: repeated requests add once."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
from chassis.database.engine import Database
from order_harness import UNKNOWN_PRODUCT, OrderApp
from order_service.app import SCHEMA
from order_service.repository.carts import CartKeyRepository


async def add(app: OrderApp, key: str, product: int, quantity: int, **headers: str) -> httpx.Response:
    body = {"product_id": product, "quantity": quantity}
    return await app.http.post("/api/v1/cart", json=body, headers=headers | {"Idempotency-Key": key})


async def test_a_repeated_addition_adds_once(app: OrderApp) -> None:
    buyer = app.bearer(1201)
    first = await add(app, "add-1", 1, 2, **buyer)
    again = await add(app, "add-1", 1, 2, **buyer)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.text == first.text
    await add(app, "add-2", 1, 2, **buyer)
    assert await app.cart_quantities(1201) == {1: 4}


async def test_concurrent_additions_under_one_key_add_once(app: OrderApp) -> None:
    responses = await asyncio.gather(*(add(app, "add-1", 1, 2, **app.bearer(1202)) for _ in range(6)))

    assert {(response.status_code, response.text) for response in responses} == {(201, responses[0].text)}
    assert await app.cart_quantities(1202) == {1: 2}


async def test_a_key_sent_with_another_addition_is_refused(app: OrderApp) -> None:
    await add(app, "add-1", 1, 2, **app.bearer(1203))
    others = [await add(app, "add-1", product, quantity, **app.bearer(1203)) for product, quantity in ((1, 3), (2, 2))]

    assert [(each.status_code, each.json()["code"]) for each in others] == [(422, "idempotency_key_reused")] * 2
    assert await app.cart_quantities(1203) == {1: 2}


async def test_a_key_belongs_to_one_cart(app: OrderApp) -> None:
    await add(app, "add-1", 1, 1, **app.bearer(1204))
    await add(app, "add-1", 2, 1, **app.bearer(1205))

    assert await app.cart_quantities(1204) == {1: 1}
    assert await app.cart_quantities(1205) == {2: 1}


async def test_a_guests_key_is_known_after_the_carts_are_merged(app: OrderApp) -> None:
    token = await app.fill_guest_cart((2, 1))
    for _ in range(2):
        await add(app, "add-1", 1, 2, **{"Cart-Token": token})
    assert await app.cart_quantities(token=token) == {2: 1, 1: 2}

    await add(app, "add-1", 1, 2, **app.bearer(1206), **{"Cart-Token": token})

    assert await app.cart_quantities(1206) == {2: 1, 1: 2}


async def test_a_refused_addition_leaves_its_key_free(app: OrderApp) -> None:
    refused = await add(app, "add-1", UNKNOWN_PRODUCT, 1, **app.bearer(1207))
    accepted = await add(app, "add-1", 1, 1, **app.bearer(1207))

    assert (refused.status_code, refused.json()["code"], accepted.status_code) == (422, "unknown_product", 201)


async def test_a_repeated_addition_succeeds_after_its_product_was_withdrawn(app: OrderApp) -> None:
    await add(app, "add-1", 1, 2, **app.bearer(1208))
    app.products.withdrawn.add(1)

    assert (await add(app, "add-1", 1, 2, **app.bearer(1208))).status_code == 201
    assert await app.cart_quantities(1208) == {1: 2}


async def test_old_keys_are_deleted_in_batches(app: OrderApp) -> None:
    await add(app, "kept", 1, 1, **app.bearer(1209))
    old, now = [f"{uuid4()}" for _ in range(5)], datetime.now(UTC)
    async with app.sql() as sql:
        cart = await sql.fetchval("SELECT id FROM carts WHERE owner_id = 1209")
        insert = "INSERT INTO cart_keys (cart_id, key, fingerprint, created_at) SELECT $1, unnest($2::text[]), '', $3"
        await sql.execute(insert, cart, old, now - timedelta(days=8))
    database = Database(app.database, SCHEMA)

    async with database.begin() as transaction:
        keys = CartKeyRepository(transaction)
        deleted = [await keys.prune(now - timedelta(days=7), limit=3) for _ in range(3)]

    await database.close()
    assert deleted == [3, 2, 0]
    async with app.sql() as sql:
        kept = await sql.fetch("SELECT key FROM cart_keys WHERE cart_id = $1", cart)
    assert [row["key"] for row in kept] == ["kept"]
