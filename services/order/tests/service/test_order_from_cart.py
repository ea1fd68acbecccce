"""Ordering a cart: it is ordered once and emptied in the same transaction, and products added during that are kept."""

import asyncio
import random
from uuid import UUID

import pytest
from order_harness import OrderApp, erasure_of

SEEDS = range(20)


def quantities_of(placed: dict[str, list[dict[str, int]]]) -> dict[int, int]:
    return {item["product_id"]: item["quantity"] for item in placed["items"]}


async def test_ordering_a_cart_empties_it(app: OrderApp) -> None:
    await app.add_to_cart(301, 2, 3)
    await app.add_to_cart(301, 1, 1)

    response = await app.post_order(301)

    assert response.status_code == 201
    placed = response.json()["data"]
    assert quantities_of(placed) == {1: 1, 2: 3}
    assert placed["total"] == {"amount": 700, "currency": "USD"}
    assert await app.cart_quantities(301) == {}
    assert app.inventory.reservations[UUID(placed["id"])] == {1: 1, 2: 3}
    await app.wait_for_events(placed["id"], "order.placed.v1")


async def test_a_cart_is_ordered_at_current_prices(app: OrderApp) -> None:
    await app.add_to_cart(302, 1, 2)
    app.products.prices[1] = 999

    assert (await app.post_order(302)).json()["data"]["total"]["amount"] == 1998


@pytest.mark.parametrize("body", [{}, {"items": None}])
async def test_an_empty_cart_cannot_be_ordered(app: OrderApp, body: dict[str, None]) -> None:
    response = await app.post_order(303, key=f"empty-{len(body)}", **body)

    assert (response.status_code, response.json()["code"]) == (422, "cart_empty")
    await app.add_to_cart(303, 1, 1)
    assert (await app.post_order(303, key=f"empty-{len(body)}")).status_code == 201


async def test_ordering_sent_items_leaves_the_cart_unchanged(app: OrderApp) -> None:
    await app.add_to_cart(304, 1, 1)

    await app.place_order(304, (1, 1))

    assert await app.cart_quantities(304) == {1: 1}


async def test_the_same_key_returns_the_same_order_after_the_cart_changed(app: OrderApp) -> None:
    await app.add_to_cart(305, 1, 1)
    first = await app.post_order(305, key="checkout")
    again = await app.post_order(305, key="checkout")
    await app.add_to_cart(305, 2, 1)
    later = await app.post_order(305, key="checkout")

    assert {response.text for response in (first, again, later)} == {first.text}
    assert await app.cart_quantities(305) == {2: 1}
    assert len(await app.orders_of(305)) == 1


async def test_a_key_used_for_items_cannot_order_the_cart(app: OrderApp) -> None:
    await app.order_items(306, (1, 1), key="checkout")
    await app.add_to_cart(306, 1, 1)

    response = await app.post_order(306, key="checkout")

    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_refused_cart_can_be_changed_and_ordered_under_the_same_key(app: OrderApp) -> None:
    app.inventory.stock[4] = 1
    await app.add_to_cart(307, 4, 2)
    refused = await app.post_order(307, key="checkout")
    await app.request_cart("PUT", "/4", {"quantity": 1}, buyer=307)

    accepted = await app.post_order(307, key="checkout")

    assert (refused.status_code, refused.json()["code"], accepted.status_code) == (409, "out_of_stock", 201)
    assert quantities_of(accepted.json()["data"]) == {4: 1}


async def test_a_retry_after_a_database_failure_orders_the_cart_of_the_first_request(app: OrderApp) -> None:
    """The order holds what was reserved, not the products that were added to the cart since then."""
    await app.add_to_cart(308, 1, 1)
    app.inventory.after_reserving = app.cut_database
    try:
        interrupted = await app.post_order(308, key="checkout")
    finally:
        app.inventory.after_reserving = None
        await app.restore_database()
    await app.add_to_cart(308, 1, 1)
    await app.add_to_cart(308, 2, 1)

    finished = await app.post_order(308, key="checkout")

    assert (interrupted.status_code, finished.status_code) == (503, 201)
    placed = finished.json()["data"]
    assert quantities_of(placed) == app.inventory.reservations[UUID(placed["id"])] == {1: 1}
    assert await app.cart_quantities(308) == {1: 1, 2: 1}


async def test_a_product_removed_while_the_cart_is_ordered_is_not_ordered(app: OrderApp) -> None:
    async def remove_product() -> None:
        app.inventory.after_reserving = None
        await app.request_cart("DELETE", "/1", buyer=309)

    await app.add_to_cart(309, 1, 1)
    await app.add_to_cart(309, 2, 1)
    before = set(app.inventory.reservations)
    app.inventory.after_reserving = remove_product

    refused = await app.post_order(309, key="checkout")

    assert (refused.status_code, refused.json()["code"]) == (409, "cart_changed")
    (reserved,) = set(app.inventory.reservations) - before
    assert reserved in app.inventory.released
    assert (await app.orders_of(309), await app.cart_quantities(309)) == ([], {2: 1})
    accepted = await app.post_order(309, key="checkout")
    assert (accepted.status_code, quantities_of(accepted.json()["data"])) == (201, {2: 1})
    assert accepted.json()["data"]["id"] != str(reserved)


async def test_a_product_added_while_the_cart_is_ordered_stays_in_the_cart(app: OrderApp) -> None:
    async def add_more() -> None:
        app.inventory.after_reserving = None
        await app.add_to_cart(310, 1, 4)
        await app.add_to_cart(310, 2, 1)

    await app.add_to_cart(310, 1, 1)
    app.inventory.after_reserving = add_more

    placed = (await app.post_order(310)).json()["data"]

    assert (quantities_of(placed), await app.cart_quantities(310)) == ({1: 1}, {1: 4, 2: 1})


async def test_an_erased_account_cannot_order(app: OrderApp) -> None:
    await app.add_to_cart(311, 1, 1)
    await app.publish(erasure_of(311))

    for response in (await app.post_order(311), await app.order_items(311, (1, 1))):
        assert (response.status_code, response.json()["code"]) == (403, "account_erased")
    response = await app.request_cart("POST", body={"product_id": 1, "quantity": 1}, buyer=311)
    assert (response.status_code, response.json()["code"]) == (403, "account_erased")


async def test_fifty_concurrent_requests_under_one_key_order_the_cart_once(app: OrderApp) -> None:
    await app.add_to_cart(312, 1, 5)
    await app.add_to_cart(312, 2, 1)
    before = set(app.inventory.reservations)

    async def add_more() -> None:
        app.inventory.after_reserving = None
        await app.add_to_cart(312, 1, 5)

    app.inventory.after_reserving = add_more
    responses = await asyncio.gather(*(app.post_order(312, key="checkout") for _ in range(50)))

    assert {response.status_code for response in responses} == {201}
    assert len({response.text for response in responses}) == 1
    (stored,) = await app.orders_of(312)
    assert quantities_of(stored) == {1: 5, 2: 1}
    assert set(app.inventory.reservations) - before == {UUID(stored["id"])}
    assert await app.cart_quantities(312) == {1: 5}
    await app.wait_for_events(stored["id"], "order.placed.v1")


@pytest.mark.parametrize("seed", SEEDS)
async def test_concurrent_requests_with_different_keys_order_the_cart_once(app: OrderApp, seed: int) -> None:
    rng, buyer = random.Random(seed), 3000 + seed
    await app.add_to_cart(buyer, 1, 2)
    keys: list[str | None] = [rng.choice([None, "a", "b", "c"]) for _ in range(8)]
    before = set(app.inventory.reservations)

    responses = await asyncio.gather(*(app.post_order(buyer, key=key) for key in keys))

    assert {response.status_code for response in responses} <= {201, 409, 422}
    (stored,) = await app.orders_of(buyer)
    assert {response.json()["data"]["id"] for response in responses if response.status_code == 201} == {stored["id"]}
    refused = {response.json()["code"] for response in responses if response.status_code != 201}
    assert refused <= {"cart_changed", "cart_empty"}
    others = set(app.inventory.reservations) - before - {UUID(stored["id"])}
    assert others <= set(app.inventory.released)
    assert await app.cart_quantities(buyer) == {}


@pytest.mark.parametrize("seed", SEEDS)
async def test_concurrent_orders_and_cart_changes_neither_lose_nor_duplicate_units(app: OrderApp, seed: int) -> None:
    rng, buyer = random.Random(seed), 3100 + seed
    await app.add_to_cart(buyer, 1, 1)
    added = [(rng.randint(1, 3), rng.randint(1, 5)) for _ in range(6)]
    requests = [app.add_to_cart(buyer, product, quantity) for product, quantity in added]
    requests += [app.post_order(buyer, key=f"key-{n}") for n in range(3)]
    rng.shuffle(requests)

    await asyncio.gather(*requests)

    expected = {1: 1}
    for product, quantity in added:
        expected[product] = expected.get(product, 0) + quantity
    found = dict(await app.cart_quantities(buyer))
    for placed in await app.orders_of(buyer):
        for product, quantity in quantities_of(placed).items():
            found[product] = found.get(product, 0) + quantity
        assert app.inventory.reservations[UUID(placed["id"])] == quantities_of(placed)
    assert found == expected


async def test_placement_is_repeated_if_a_concurrent_request_released_the_key(app: OrderApp) -> None:
    await app.add_to_cart(313, 4, 1)
    before = set(app.inventory.reservations)

    async def refuse_concurrent_request() -> None:
        app.inventory.after_reserving = None
        app.inventory.stock[4] = 0
        assert (await app.post_order(313, key="checkout")).status_code == 409
        del app.inventory.stock[4]

    app.inventory.after_reserving = refuse_concurrent_request
    placed = await app.post_order(313, key="checkout")
    again = await app.post_order(313, key="checkout")

    assert (placed.status_code, again.text) == (201, placed.text)
    (stored,) = await app.orders_of(313)
    (abandoned,) = set(app.inventory.reservations) - before - {UUID(stored["id"])}
    assert abandoned in app.inventory.released
