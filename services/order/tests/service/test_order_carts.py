"""The carts of buyers and guests, and the merge of a guest's cart into a buyer's."""

import asyncio
import hashlib
import random
from datetime import UTC, datetime, timedelta

import pytest
from chassis.database.engine import Database
from chassis.types.ids import ProductId, UserId, uuid7
from order_harness import EURO_PRODUCT, EXPENSIVE_PRODUCT, UNKNOWN_PRODUCT, OrderApp
from order_service.app import SCHEMA
from order_service.domain.carts import GUEST_CART_LIFETIME
from order_service.domain.items import Line
from order_service.repository.carts import CartRepository

SEEDS = range(20)


def lines(*quantities: tuple[int, int]) -> list[Line]:
    return [Line(ProductId(product), quantity) for product, quantity in quantities]


def usd(amount: int) -> dict[str, object]:
    return {"amount": amount, "currency": "USD"}


async def test_a_cart_shows_current_prices_and_availability(app: OrderApp) -> None:
    app.inventory.stock[2] = 4
    await app.add_to_cart(101, 2, 5)
    response = await app.add_to_cart(101, 1, 3)

    assert response.json()["data"] == {
        "lines": [
            {
                "product_id": 2,
                "quantity": 5,
                "name": "Product 2",
                "unit_price": usd(200),
                "total": usd(1000),
                "available": False,
            },
            {
                "product_id": 1,
                "quantity": 3,
                "name": "Product 1",
                "unit_price": usd(100),
                "total": usd(300),
                "available": True,
            },
        ],
        "totals": [usd(1300)],
        "cart_token": None,
    }
    assert (await app.request_cart("GET", buyer=101)).json() == response.json()
    assert "Cart-Token" not in response.headers


async def test_a_cart_is_priced_when_it_is_read(app: OrderApp) -> None:
    await app.add_to_cart(102, 1, 2)
    app.products.prices[1] = 150

    shown = (await app.request_cart("GET", buyer=102)).json()["data"]

    assert shown["totals"] == [usd(300)]


async def test_a_withdrawn_product_stays_in_the_cart_as_unavailable(app: OrderApp) -> None:
    await app.add_to_cart(103, 1, 1)
    app.products.withdrawn.add(1)

    (line,) = (await app.request_cart("GET", buyer=103)).json()["data"]["lines"]

    assert (line["name"], line["unit_price"], line["available"]) == (None, None, False)


async def test_a_cart_has_a_total_per_currency(app: OrderApp) -> None:
    await app.add_to_cart(104, 1, 1)
    response = await app.add_to_cart(104, EURO_PRODUCT, 1)

    assert response.json()["data"]["totals"] == [{"amount": 100_000, "currency": "EUR"}, usd(100)]


async def test_a_cart_with_too_large_a_total_is_shown_but_cannot_be_ordered(app: OrderApp) -> None:
    app.products.prices[EXPENSIVE_PRODUCT] = 10**13
    response = await app.add_to_cart(105, EXPENSIVE_PRODUCT, 1_000)

    (line,) = response.json()["data"]["lines"]
    assert (line["total"], response.json()["data"]["totals"]) == (None, [])
    refused = await app.post_order(105)
    assert (refused.status_code, refused.json()["code"]) == (422, "total_too_large")


async def test_a_cart_is_shown_while_inventory_is_unavailable(app: OrderApp) -> None:
    await app.add_to_cart(106, 1, 1)
    app.inventory.is_unavailable = True

    response = await app.request_cart("GET", buyer=106)

    assert response.status_code == 200
    assert response.json()["data"]["lines"][0]["available"] is None


async def test_a_cart_request_answers_503_while_the_catalogue_is_unavailable(app: OrderApp) -> None:
    await app.add_to_cart(106, 1, 1)
    app.products.is_unavailable = True

    responses = [
        await app.request_cart("GET", buyer=106),
        await app.request_cart("POST", body={"product_id": 1, "quantity": 1}, buyer=106),
    ]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [
        (503, "neighbour_unavailable")
    ] * 2


async def test_post_adds_put_sets_and_delete_removes(app: OrderApp) -> None:
    await app.add_to_cart(107, 1, 2)
    await app.add_to_cart(107, 1, 3)
    await app.add_to_cart(107, 2, 1)
    assert await app.cart_quantities(107) == {1: 5, 2: 1}

    changed = await app.request_cart("PUT", "/1", {"quantity": 4}, buyer=107)
    assert (changed.status_code, await app.cart_quantities(107)) == (200, {1: 4, 2: 1})
    assert [(await app.request_cart("DELETE", "/2", buyer=107)).status_code for _ in range(2)] == [204, 204]
    assert await app.cart_quantities(107) == {1: 4}
    assert [(await app.request_cart("DELETE", buyer=107)).status_code for _ in range(2)] == [204, 204]
    assert await app.cart_quantities(107) == {}


async def test_put_adds_a_missing_line(app: OrderApp) -> None:
    await app.request_cart("PUT", "/3", {"quantity": 2}, buyer=108)

    assert await app.cart_quantities(108) == {3: 2}


async def test_an_unknown_product_cannot_be_added_to_a_cart(app: OrderApp) -> None:
    for response in (
        await app.request_cart("POST", body={"product_id": UNKNOWN_PRODUCT, "quantity": 1}, buyer=109),
        await app.request_cart("PUT", f"/{UNKNOWN_PRODUCT}", {"quantity": 1}, buyer=109),
    ):
        assert (response.status_code, response.json()["code"]) == (422, "unknown_product")
    assert await app.cart_quantities(109) == {}


async def test_a_line_holds_at_most_a_million_units(app: OrderApp) -> None:
    await app.add_to_cart(110, 1, 999_999)
    await app.add_to_cart(110, 1, 999_999)

    assert await app.cart_quantities(110) == {1: 1_000_000}


async def test_a_cart_holds_at_most_a_hundred_products(app: OrderApp) -> None:
    await fill_cart(app, 111, range(1, 101))

    add_response = await app.request_cart("POST", body={"product_id": 101, "quantity": 1}, buyer=111)
    set_response = await app.request_cart("PUT", "/101", {"quantity": 1}, buyer=111)

    assert {(response.status_code, response.json()["code"]) for response in (add_response, set_response)} == {
        (409, "cart_full")
    }
    assert len(await app.cart_quantities(111)) == 100
    await app.add_to_cart(111, 100, 1)
    assert (await app.cart_quantities(111))[100] == 2


async def fill_cart(app: OrderApp, buyer: int, products: range) -> None:
    await app.add_to_cart(buyer, products[0], 1)
    async with app.sql() as sql:
        await sql.execute(
            "INSERT INTO cart_lines (cart_id, product_id, quantity)"
            " SELECT id, unnest($2::bigint[]), 1 FROM carts WHERE owner_id = $1",
            buyer,
            list(products[1:]),
        )


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "", None),
        ("POST", "", {}),
        ("POST", "", {"product_id": 1}),
        ("POST", "", {"product_id": 1, "quantity": 0}),
        ("POST", "", {"product_id": 1, "quantity": 1_000_001}),
        ("POST", "", {"product_id": 2**63, "quantity": 1}),
        ("POST", "", {"product_id": 1, "quantity": 1, "unit_price": 1}),
        ("PUT", "/1", {"quantity": 0}),
        ("PUT", "/0", {"quantity": 1}),
        ("PUT", f"/{2**63}", {"quantity": 1}),
        ("PUT", "/one", {"quantity": 1}),
        ("DELETE", "/0", None),
    ],
)
async def test_an_invalid_cart_change_is_an_invalid_field(
    app: OrderApp, method: str, path: str, body: dict[str, int] | None
) -> None:
    response = await app.request_cart(method, path, body, buyer=112)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


@pytest.mark.parametrize("token", ["x", "x" * 44, "!" * 43])
async def test_a_malformed_cart_token_is_an_invalid_field(app: OrderApp, token: str) -> None:
    response = await app.request_cart("GET", token=token)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
    assert response.json()["errors"][0]["field"] == "Cart-Token"


async def test_an_invalid_access_token_is_not_treated_as_a_guest(app: OrderApp) -> None:
    response = await app.http.get("/api/v1/cart", headers={"Authorization": "Bearer x"})

    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


async def test_a_guests_token_is_sent_once_and_stored_only_as_a_hash(app: OrderApp) -> None:
    first = await app.add_to_cart(None, 1, 1)
    token = first.headers["Cart-Token"]
    second = await app.add_to_cart(None, 2, 1, token)

    assert first.json()["data"]["cart_token"] == token
    assert len(token) == 43
    assert ("Cart-Token" in second.headers, second.json()["data"]["cart_token"]) == (False, None)
    assert await app.cart_quantities(token=token) == {1: 1, 2: 1}
    async with app.sql() as sql:
        stored = await sql.fetchval("SELECT token_hash FROM carts WHERE token_hash = $1", _hash(token))
        rows = await sql.fetch("SELECT * FROM carts")
    assert stored == _hash(token)
    assert token not in str(rows)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def test_a_guest_changes_a_cart_as_a_buyer_does(app: OrderApp) -> None:
    token = await app.fill_guest_cart((1, 1), (2, 2))

    await app.request_cart("PUT", "/1", {"quantity": 9}, token=token)
    await app.request_cart("DELETE", "/2", token=token)
    assert await app.cart_quantities(token=token) == {1: 9}
    await app.request_cart("DELETE", token=token)
    assert await app.cart_quantities(token=token) == {}


async def test_an_unknown_token_gives_an_empty_cart_and_a_new_token_with_the_first_product(app: OrderApp) -> None:
    unknown = "A" * 43
    assert await app.cart_quantities(token=unknown) == {}
    assert (await app.request_cart("DELETE", "/1", token=unknown)).status_code == 204

    response = await app.add_to_cart(None, 1, 1, unknown)

    assert response.headers["Cart-Token"] != unknown
    assert await app.cart_quantities(token=unknown) == {}


async def test_a_cart_is_visible_only_to_its_owner(app: OrderApp) -> None:
    token = await app.fill_guest_cart((1, 1))
    await app.add_to_cart(113, 2, 2)

    assert await app.cart_quantities(114) == {}
    assert await app.cart_quantities() == {}
    assert (await app.cart_quantities(113), await app.cart_quantities(token=token)) == ({2: 2}, {1: 1})


async def test_a_guests_cart_expires_after_thirty_idle_days(app: OrderApp) -> None:
    stale, fresh = await app.fill_guest_cart((1, 1)), await app.fill_guest_cart((2, 1))
    await set_idle_time(app, stale, timedelta(days=30, minutes=1))
    await set_idle_time(app, fresh, timedelta(days=29))

    assert await app.cart_quantities(token=stale) == {}
    assert await app.cart_quantities(token=fresh) == {2: 1}
    async with app.sql() as sql:
        touched = await sql.fetchval("SELECT touched_at FROM carts WHERE token_hash = $1", _hash(fresh))
    assert datetime.now(UTC) - touched < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("taken", "are_taken", "left"),
    [
        ([(1, 1)], True, [(1, 1), (2, 1)]),
        ([(1, 2)], True, [(2, 1)]),
        ([(1, 1), (2, 1)], True, [(1, 1)]),
        ([(1, 2), (2, 2)], False, None),
        ([(1, 1), (3, 1)], False, None),
    ],
)
async def test_lines_are_taken_from_a_cart_that_holds_as_much(
    app: OrderApp, taken: list[tuple[int, int]], are_taken: bool, left: list[tuple[int, int]] | None
) -> None:
    buyer, database = UserId(117), Database(app.database, SCHEMA)
    async with database.begin() as transaction:
        carts = CartRepository(transaction)
        cart_id = await carts.ensure_of_buyer(buyer, uuid7(), datetime.now(UTC))
        assert cart_id is not None
        await carts.remove_lines(cart_id)
        filled = await carts.add_lines(cart_id, lines((1, 2), (2, 1)))
        assert filled == lines((1, 2), (2, 1))

        assert await carts.subtract_lines(cart_id, lines(*taken)) is are_taken

        if left is not None:
            assert await carts.lines(cart_id) == lines(*left)
    await database.close()


async def test_only_idle_carts_of_guests_are_pruned(app: OrderApp) -> None:
    stale, fresh = await app.fill_guest_cart((1, 1)), await app.fill_guest_cart((1, 1))
    await set_idle_time(app, stale, timedelta(days=31))
    await app.add_to_cart(115, 1, 1)
    async with app.sql() as sql:
        await sql.execute(
            "UPDATE carts SET touched_at = $1 WHERE owner_id = 115", datetime.now(UTC) - timedelta(days=99)
        )
    database = Database(app.database, SCHEMA)

    async with database.begin() as transaction:
        await CartRepository(transaction).prune_guest_carts(datetime.now(UTC) - GUEST_CART_LIFETIME, limit=100)
    await database.close()

    async with app.sql() as sql:
        stored = await sql.fetch(
            "SELECT token_hash FROM carts WHERE token_hash = ANY($1)", [_hash(stale), _hash(fresh)]
        )
    assert [row["token_hash"] for row in stored] == [_hash(fresh)]
    assert await app.cart_quantities(115) == {1: 1}


async def set_idle_time(app: OrderApp, token: str, idle: timedelta) -> None:
    async with app.sql() as sql:
        await sql.execute(
            "UPDATE carts SET touched_at = $1 WHERE token_hash = $2", datetime.now(UTC) - idle, _hash(token)
        )


@pytest.mark.parametrize("path", ["/api/v1/cart", "/api/v1/orders", "/api/v1/addresses"])
async def test_a_guests_cart_is_merged_by_the_first_authenticated_request(app: OrderApp, path: str) -> None:
    buyer = 120 + len(path)
    token = await app.fill_guest_cart((1, 2), (2, 1))
    await app.add_to_cart(buyer, 1, 3)

    await app.http.get(path, headers=app.bearer(buyer) | {"Cart-Token": token})

    assert await app.cart_quantities(buyer) == {1: 5, 2: 1}
    assert await app.cart_quantities(token=token) == {}
    await app.http.get(path, headers=app.bearer(buyer) | {"Cart-Token": token})
    assert await app.cart_quantities(buyer) == {1: 5, 2: 1}


async def test_a_merged_cart_is_ordered_with_the_guests_products(app: OrderApp) -> None:
    token = await app.fill_guest_cart((3, 2))

    response = await app.http.post("/api/v1/orders", headers=app.bearer(150) | {"Cart-Token": token})

    assert response.status_code == 201
    assert [(item["product_id"], item["quantity"]) for item in response.json()["data"]["items"]] == [(3, 2)]


async def test_a_merge_adds_products_up_to_the_limit_of_the_cart(app: OrderApp) -> None:
    await fill_cart(app, 151, range(1, 100))
    token = await app.fill_guest_cart((200, 1), (1, 4), (201, 1))

    await app.request_cart("GET", buyer=151, token=token)

    merged = await app.cart_quantities(151)
    assert (len(merged), merged[1], merged[200], 201 in merged) == (100, 5, 1, False)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_guests_cart_is_merged_once_by_concurrent_requests(app: OrderApp, seed: int) -> None:
    rng, buyer = random.Random(seed), 2000 + seed
    token = await app.fill_guest_cart((1, rng.randint(1, 9)), (2, rng.randint(1, 9)))
    guests, own = await app.cart_quantities(token=token), rng.randint(1, 9)
    await app.add_to_cart(buyer, 1, own)

    await asyncio.gather(*(app.request_cart("GET", buyer=buyer, token=token) for _ in range(rng.randint(2, 6))))

    assert await app.cart_quantities(buyer) == {1: own + guests[1], 2: guests[2]}


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_guests_cart_goes_to_one_of_two_concurrent_buyers(app: OrderApp, seed: int) -> None:
    token, buyers = await app.fill_guest_cart((1, 1)), (2100 + 2 * seed, 2101 + 2 * seed)

    await asyncio.gather(*(app.request_cart("GET", buyer=buyer, token=token) for buyer in buyers))

    assert sorted([await app.cart_quantities(buyer) for buyer in buyers], key=len) == [{}, {1: 1}]


@pytest.mark.parametrize("seed", SEEDS)
async def test_concurrent_cart_changes_lose_nothing(app: OrderApp, seed: int) -> None:
    rng, buyer = random.Random(seed), 2200 + seed
    token = await app.fill_guest_cart((1, 1))
    added = [(rng.randint(1, 4), rng.randint(1, 9)) for _ in range(15)]
    expected = {1: 1}
    for product, quantity in added:
        expected[product] = expected.get(product, 0) + quantity
    changes = [app.add_to_cart(buyer, product, quantity) for product, quantity in added]
    changes.append(app.request_cart("GET", buyer=buyer, token=token))
    rng.shuffle(changes)

    await asyncio.gather(*changes)

    assert await app.cart_quantities(buyer) == expected


@pytest.mark.parametrize("seed", SEEDS)
async def test_concurrent_first_requests_create_one_cart(app: OrderApp, seed: int) -> None:
    buyer = 2300 + seed

    await asyncio.gather(*(app.add_to_cart(buyer, product, 1) for product in (1, 2, 3, 1)))

    assert await app.cart_quantities(buyer) == {1: 2, 2: 1, 3: 1}
