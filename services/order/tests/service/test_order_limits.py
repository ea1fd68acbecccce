"""One buyer cannot hold the stock of the shop with orders that are not paid."""

import asyncio
from collections import Counter

import httpx
from order_harness import OrderApp

LIMIT, UNITS = 10, 1000


def outcomes(responses: list[httpx.Response]) -> Counter[tuple[int, str | None]]:
    return Counter((response.status_code, response.json().get("code")) for response in responses)


async def test_concurrent_orders_of_one_buyer_never_exceed_the_limit_of_open_orders(app: OrderApp) -> None:
    responses = await asyncio.gather(*(app.order_items(901, (1, 1)) for _ in range(30)))

    assert outcomes(responses) == {(201, None): LIMIT, (409, "too_many_open_orders"): 30 - LIMIT}


async def test_a_refused_order_reserves_nothing(app: OrderApp) -> None:
    for _ in range(LIMIT):
        await app.place_order(902, (1, 1))
    reserved, released = set(app.inventory.reservations), len(app.inventory.released)

    response = await app.order_items(902, (1, 1))

    assert "pay or cancel one first" in response.json()["detail"]
    assert (set(app.inventory.reservations), len(app.inventory.released)) == (reserved, released)


async def test_paying_or_cancelling_an_order_makes_room_for_another(app: OrderApp) -> None:
    orders = [await app.place_order(903, (1, 1)) for _ in range(LIMIT)]

    await app.cancel(orders[0]["id"], 903)
    await app.place_order(903, (1, 1))
    await app.pay(orders[1])
    await app.place_order(903, (1, 1))

    assert outcomes([await app.order_items(903, (1, 1))]) == {(409, "too_many_open_orders"): 1}


async def test_a_repeated_request_finds_its_order_at_the_limit(app: OrderApp) -> None:
    for _ in range(LIMIT - 1):
        await app.place_order(904, (1, 1))

    responses = await asyncio.gather(*(app.order_items(904, (1, 1), key="last") for _ in range(20)))

    assert outcomes(responses) == {(201, None): 20}
    assert len({response.text for response in responses}) == 1
    assert (await app.order_items(904, (1, 1), key="another")).json()["code"] == "too_many_open_orders"


async def test_the_units_of_a_product_in_open_orders_are_limited(app: OrderApp) -> None:
    first = await app.place_order(905, (1, UNITS - 1), (2, 1))

    refused = await app.order_items(905, (1, 2), (2, 1))
    await app.place_order(905, (1, 1), (2, UNITS - 1))
    await app.cancel(first["id"], 905)
    accepted = await app.order_items(905, (1, UNITS - 1))

    assert (refused.status_code, refused.json()["code"]) == (409, "quantity_limit")
    assert refused.json()["products"] == [{"product_id": 1, "requested": 2, "maximum": 1}]
    assert accepted.status_code == 201


async def test_concurrent_orders_of_one_buyer_never_exceed_the_limit_of_units(app: OrderApp) -> None:
    responses = await asyncio.gather(*(app.order_items(906, (1, UNITS // 4)) for _ in range(8)))

    assert outcomes(responses) == {(201, None): 4, (409, "quantity_limit"): 4}


async def test_the_sellers_maximum_is_named(app: OrderApp) -> None:
    app.inventory.maxima[1] = 2

    response = await app.order_items(907, (1, 3), (2, 3))

    assert (response.status_code, response.json()["code"]) == (409, "quantity_limit")
    assert response.json()["products"] == [{"product_id": 1, "requested": 3, "maximum": 2}]
    assert "at most 2 of product 1 (3 requested)" in response.json()["detail"]


async def test_a_shortage_has_no_exact_count_above_the_limit_of_inventory(app: OrderApp) -> None:
    app.inventory.stock[1] = 60

    response = await app.order_items(908, (1, 61))

    assert response.json()["products"] == [{"product_id": 1, "requested": 61, "available": 50, "is_exact": False}]
    assert "at least 50 left" in response.json()["detail"]
