"""Carts: a buyer's, a guest's, and how the one becomes the other."""

import asyncio
import hashlib
import random
from datetime import UTC, datetime, timedelta

import pytest
from chassis.database.engine import Database
from order_harness import EURO, PRECIOUS, UNKNOWN, Order
from order_service.app import SCHEMA
from order_service.domain.carts import GUEST_CART_KEPT
from order_service.repository.carts import CartRepository

SEEDS = range(20)


def usd(amount: int) -> dict[str, object]:
    return {"amount": amount, "currency": "USD"}


async def test_a_cart_shows_what_the_shop_asks_now(order: Order) -> None:
    order.inventory.left[2] = 4
    await order.put_in(101, 2, 5)
    answer = await order.put_in(101, 1, 3)

    assert answer.json()["data"] == {
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
    assert (await order.cart("GET", buyer=101)).json() == answer.json()
    assert "Cart-Token" not in answer.headers


async def test_prices_are_never_older_than_the_look_at_them(order: Order) -> None:
    await order.put_in(102, 1, 2)
    order.products.repriced[1] = 150

    shown = (await order.cart("GET", buyer=102)).json()["data"]

    assert shown["totals"] == [usd(300)]


async def test_a_product_that_is_sold_no_more_stays_in_the_cart_and_says_so(order: Order) -> None:
    await order.put_in(103, 1, 1)
    order.products.gone.add(1)

    (line,) = (await order.cart("GET", buyer=103)).json()["data"]["lines"]

    assert (line["name"], line["unit_price"], line["available"]) == (None, None, False)


async def test_a_cart_holds_several_currencies_and_sums_each(order: Order) -> None:
    await order.put_in(104, 1, 1)
    answer = await order.put_in(104, EURO, 1)

    assert answer.json()["data"]["totals"] == [{"amount": 100_000, "currency": "EUR"}, usd(100)]


async def test_a_cart_beyond_all_money_is_shown_and_not_ordered(order: Order) -> None:
    answer = await order.put_in(105, PRECIOUS, 1_000_000)

    (line,) = answer.json()["data"]["lines"]
    assert (line["total"], answer.json()["data"]["totals"]) == (None, [])
    refused = await order.order_cart(105)
    assert (refused.status_code, refused.json()["code"]) == (422, "total_too_large")


async def test_a_cart_is_shown_while_inventory_is_away(order: Order) -> None:
    await order.put_in(106, 1, 1)
    order.inventory.is_away = True

    answer = await order.cart("GET", buyer=106)

    assert answer.status_code == 200
    assert answer.json()["data"]["lines"][0]["available"] is None


async def test_a_cart_without_a_catalogue_is_a_503(order: Order) -> None:
    await order.put_in(106, 1, 1)
    order.products.is_away = True

    answers = [
        await order.cart("GET", buyer=106),
        await order.cart("POST", body={"product_id": 1, "quantity": 1}, buyer=106),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(503, "neighbour_unavailable")] * 2


async def test_posting_adds_putting_sets_and_deleting_takes_out(order: Order) -> None:
    await order.put_in(107, 1, 2)
    await order.put_in(107, 1, 3)
    await order.put_in(107, 2, 1)
    assert await order.in_cart(107) == {1: 5, 2: 1}

    changed = await order.cart("PUT", "/1", {"quantity": 4}, buyer=107)
    assert (changed.status_code, await order.in_cart(107)) == (200, {1: 4, 2: 1})
    assert [(await order.cart("DELETE", "/2", buyer=107)).status_code for _ in range(2)] == [204, 204]
    assert await order.in_cart(107) == {1: 4}
    assert [(await order.cart("DELETE", buyer=107)).status_code for _ in range(2)] == [204, 204]
    assert await order.in_cart(107) == {}


async def test_putting_makes_a_line_where_there_is_none(order: Order) -> None:
    await order.cart("PUT", "/3", {"quantity": 2}, buyer=108)

    assert await order.in_cart(108) == {3: 2}


async def test_what_the_catalogue_does_not_sell_goes_into_no_cart(order: Order) -> None:
    for answer in (
        await order.cart("POST", body={"product_id": UNKNOWN, "quantity": 1}, buyer=109),
        await order.cart("PUT", f"/{UNKNOWN}", {"quantity": 1}, buyer=109),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_product")
    assert await order.in_cart(109) == {}


async def test_a_line_holds_a_million_at_most(order: Order) -> None:
    await order.put_in(110, 1, 999_999)
    await order.put_in(110, 1, 999_999)

    assert await order.in_cart(110) == {1: 1_000_000}


async def test_a_cart_holds_a_hundred_products_at_most(order: Order) -> None:
    await fill(order, 111, range(1, 101))

    more = await order.cart("POST", body={"product_id": 101, "quantity": 1}, buyer=111)
    set_ = await order.cart("PUT", "/101", {"quantity": 1}, buyer=111)

    assert {(answer.status_code, answer.json()["code"]) for answer in (more, set_)} == {(409, "cart_full")}
    assert len(await order.in_cart(111)) == 100
    await order.put_in(111, 100, 1)
    assert (await order.in_cart(111))[100] == 2


async def fill(order: Order, buyer: int, products: range) -> None:
    await order.put_in(buyer, products[0], 1)
    async with order.sql() as sql:
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
async def test_a_bad_edit_is_a_bad_field(order: Order, method: str, path: str, body: dict[str, int] | None) -> None:
    answer = await order.cart(method, path, body, buyer=112)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


@pytest.mark.parametrize("token", ["x", "x" * 44, "!" * 43])
async def test_a_malformed_cart_token_is_a_bad_field(order: Order, token: str) -> None:
    answer = await order.cart("GET", token=token)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Cart-Token"


async def test_a_bad_access_token_is_no_guest(order: Order) -> None:
    answer = await order.http.get("/api/v1/cart", headers={"Authorization": "Bearer x"})

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_guest_gets_a_token_once_and_it_is_nowhere_kept(order: Order) -> None:
    first = await order.put_in(None, 1, 1)
    token = first.headers["Cart-Token"]
    second = await order.put_in(None, 2, 1, token)

    assert first.json()["data"]["cart_token"] == token
    assert len(token) == 43
    assert ("Cart-Token" in second.headers, second.json()["data"]["cart_token"]) == (False, None)
    assert await order.in_cart(token=token) == {1: 1, 2: 1}
    async with order.sql() as sql:
        kept = await sql.fetchval("SELECT token_hash FROM carts WHERE token_hash = $1", _hash(token))
        written = await sql.fetch("SELECT * FROM carts")
    assert kept == _hash(token)
    assert token not in str(written)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def test_a_guest_edits_their_cart_as_a_buyer_does(order: Order) -> None:
    token = await order.guest((1, 1), (2, 2))

    await order.cart("PUT", "/1", {"quantity": 9}, token=token)
    await order.cart("DELETE", "/2", token=token)
    assert await order.in_cart(token=token) == {1: 9}
    await order.cart("DELETE", token=token)
    assert await order.in_cart(token=token) == {}


async def test_an_unknown_token_is_an_empty_cart_and_a_new_one_when_something_is_put_in(order: Order) -> None:
    lost = "A" * 43
    assert await order.in_cart(token=lost) == {}
    assert (await order.cart("DELETE", "/1", token=lost)).status_code == 204

    answer = await order.put_in(None, 1, 1, lost)

    assert answer.headers["Cart-Token"] != lost
    assert await order.in_cart(token=lost) == {}


async def test_nobody_sees_anybody_elses_cart(order: Order) -> None:
    token = await order.guest((1, 1))
    await order.put_in(113, 2, 2)

    assert await order.in_cart(114) == {}
    assert await order.in_cart() == {}
    assert (await order.in_cart(113), await order.in_cart(token=token)) == ({2: 2}, {1: 1})


async def test_a_guests_cart_is_gone_after_thirty_idle_days(order: Order) -> None:
    stale, fresh = await order.guest((1, 1)), await order.guest((2, 1))
    await age(order, stale, timedelta(days=30, minutes=1))
    await age(order, fresh, timedelta(days=29))

    assert await order.in_cart(token=stale) == {}
    assert await order.in_cart(token=fresh) == {2: 1}
    async with order.sql() as sql:
        touched = await sql.fetchval("SELECT touched_at FROM carts WHERE token_hash = $1", _hash(fresh))
    assert datetime.now(UTC) - touched < timedelta(minutes=1)


async def test_what_no_guest_wants_any_more_is_swept_and_a_buyers_cart_never(order: Order) -> None:
    stale, fresh = await order.guest((1, 1)), await order.guest((1, 1))
    await age(order, stale, timedelta(days=31))
    await order.put_in(115, 1, 1)
    async with order.sql() as sql:
        await sql.execute(
            "UPDATE carts SET touched_at = $1 WHERE owner_id = 115", datetime.now(UTC) - timedelta(days=99)
        )
    database = Database(order.database, SCHEMA)

    async with database.begin() as transaction:
        await CartRepository(transaction).remove_untouched(datetime.now(UTC) - GUEST_CART_KEPT)
    await database.close()

    async with order.sql() as sql:
        kept = await sql.fetch("SELECT token_hash FROM carts WHERE token_hash = ANY($1)", [_hash(stale), _hash(fresh)])
    assert [row["token_hash"] for row in kept] == [_hash(fresh)]
    assert await order.in_cart(115) == {1: 1}


async def age(order: Order, token: str, idle: timedelta) -> None:
    async with order.sql() as sql:
        await sql.execute(
            "UPDATE carts SET touched_at = $1 WHERE token_hash = $2", datetime.now(UTC) - idle, _hash(token)
        )


@pytest.mark.parametrize("path", ["/api/v1/cart", "/api/v1/orders", "/api/v1/addresses"])
async def test_a_guests_cart_is_merged_by_the_first_request_that_is_logged_in(order: Order, path: str) -> None:
    buyer = 120 + len(path)
    token = await order.guest((1, 2), (2, 1))
    await order.put_in(buyer, 1, 3)

    await order.http.get(path, headers=order.bearer(buyer) | {"Cart-Token": token})

    assert await order.in_cart(buyer) == {1: 5, 2: 1}
    assert await order.in_cart(token=token) == {}
    await order.http.get(path, headers=order.bearer(buyer) | {"Cart-Token": token})
    assert await order.in_cart(buyer) == {1: 5, 2: 1}


async def test_a_merged_cart_is_ordered_with_what_the_guest_put_in(order: Order) -> None:
    token = await order.guest((3, 2))

    answer = await order.http.post("/api/v1/orders", headers=order.bearer(150) | {"Cart-Token": token})

    assert answer.status_code == 201
    assert [(item["product_id"], item["quantity"]) for item in answer.json()["data"]["items"]] == [(3, 2)]


async def test_a_merge_takes_as_many_products_as_there_is_room_for(order: Order) -> None:
    await fill(order, 151, range(1, 100))
    token = await order.guest((200, 1), (1, 4), (201, 1))

    await order.cart("GET", buyer=151, token=token)

    merged = await order.in_cart(151)
    assert (len(merged), merged[1], merged[200], 201 in merged) == (100, 5, 1, False)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_guests_cart_is_merged_once_by_many_requests_at_once(order: Order, seed: int) -> None:
    chance, buyer = random.Random(seed), 2000 + seed
    token = await order.guest((1, chance.randint(1, 9)), (2, chance.randint(1, 9)))
    brought, own = await order.in_cart(token=token), chance.randint(1, 9)
    await order.put_in(buyer, 1, own)

    await asyncio.gather(*(order.cart("GET", buyer=buyer, token=token) for _ in range(chance.randint(2, 6))))

    assert await order.in_cart(buyer) == {1: own + brought[1], 2: brought[2]}


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_guests_cart_goes_to_one_of_two_buyers_who_claim_it_at_once(order: Order, seed: int) -> None:
    token, buyers = await order.guest((1, 1)), (2100 + 2 * seed, 2101 + 2 * seed)

    await asyncio.gather(*(order.cart("GET", buyer=buyer, token=token) for buyer in buyers))

    assert sorted([await order.in_cart(buyer) for buyer in buyers], key=len) == [{}, {1: 1}]


@pytest.mark.parametrize("seed", SEEDS)
async def test_concurrent_cart_edits_lose_nothing(order: Order, seed: int) -> None:
    chance, buyer = random.Random(seed), 2200 + seed
    token = await order.guest((1, 1))
    added = [(chance.randint(1, 4), chance.randint(1, 9)) for _ in range(15)]
    expected = {1: 1}
    for product, quantity in added:
        expected[product] = expected.get(product, 0) + quantity
    edits = [order.put_in(buyer, product, quantity) for product, quantity in added]
    edits.append(order.cart("GET", buyer=buyer, token=token))
    chance.shuffle(edits)

    await asyncio.gather(*edits)

    assert await order.in_cart(buyer) == expected


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_first_cart_made_twice_at_once_is_one_cart(order: Order, seed: int) -> None:
    buyer = 2300 + seed

    await asyncio.gather(*(order.put_in(buyer, product, 1) for product in (1, 2, 3, 1)))

    assert await order.in_cart(buyer) == {1: 2, 2: 1, 3: 1}
