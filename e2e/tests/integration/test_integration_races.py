"""Concurrent orders never oversell, and one idempotency key places one order."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest
from chassis_testing.waiting import eventually
from devtools.shop_client import Person, Shop, stock_of
from devtools.stack import Stack


@pytest.mark.parametrize("_round", range(20))
async def test_stock_is_never_oversold(shop: Shop, admin: Person, buyers: list[Person], _round: int) -> None:
    _seller, product = await shop.stocked_product(admin, 5)

    answers = await asyncio.gather(*(place(buyer, product, 1) for buyer in buyers))

    assert Counter(answer.status_code for answer in answers) == {201: 5, 409: 15}
    assert {answer.json()["code"] for answer in answers if answer.is_error} == {"out_of_stock"}
    assert await shop.stock(product) == stock_of(product, on_hand=5, reserved=5)
    for buyer, answer in zip(buyers, answers, strict=True):  # a buyer has a limited number of unpaid orders
        if answer.is_success:
            await buyer.cancel(answer.json()["data"]["id"])


@pytest.fixture(scope="module")
async def buyers(shop: Shop) -> list[Person]:
    return [await shop.register() for _ in range(20)]


async def place(buyer: Person, product: int, quantity: int, key: str | None = None) -> httpx.Response:
    items = [{"product_id": product, "quantity": quantity}]
    headers = buyer.headers | ({"Idempotency-Key": key} if key else {})
    return await buyer.shop.http.post("/orders", json={"items": items}, headers=headers)


async def test_fifty_concurrent_requests_with_one_key_place_one_order(shop: Shop, admin: Person) -> None:
    _seller, product = await shop.stocked_product(admin, 50)
    buyer = await shop.register()

    answers = await asyncio.gather(*(place(buyer, product, 1, key="checkout-1") for _ in range(50)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert len(await buyer.orders()) == 1
    assert (await shop.stock(product)).reserved == 1


async def test_an_order_of_two_products_reserves_both_or_none(shop: Shop, admin: Person) -> None:
    _seller, plenty = await shop.stocked_product(admin, 100)
    _seller, scarce = await shop.stocked_product(admin, 3)
    buyer = await shop.register()
    items = [{"product_id": product, "quantity": 1} for product in (plenty, scarce)]

    answers = await asyncio.gather(
        *(
            shop.http.post("/orders", json={"items": items[:: 1 if n % 2 else -1]}, headers=buyer.headers)
            for n in range(10)
        )
    )

    assert Counter(answer.status_code for answer in answers) == {201: 3, 409: 7}
    assert [(await shop.stock(product)).reserved for product in (plenty, scarce)] == [3, 3]


async def test_cancelled_stock_can_be_sold_again(shop: Shop, admin: Person) -> None:
    _seller, product = await shop.stocked_product(admin, 1)
    first, second = await shop.register(), await shop.register()
    order = await first.order((product, 1))
    assert (await place(second, product, 1)).status_code == 409

    await first.cancel(order.id)

    async def is_sold_again() -> bool:
        return (await place(second, product, 1)).status_code == 201

    await eventually(is_sold_again)
    assert await shop.stock(product) == stock_of(product, on_hand=1, reserved=1)


async def test_an_unpaid_order_releases_its_stock_when_it_expires(stack: Stack, shop: Shop, admin: Person) -> None:
    _seller, product = await shop.stocked_product(admin, 1)
    buyer = await shop.register()
    order = await buyer.order((product, 1))
    orders = await asyncpg.connect(stack.database_of("order"))
    await orders.execute(
        "UPDATE orders SET expires_at = $1 WHERE id = $2", datetime.now(UTC) - timedelta(seconds=1), order.id
    )
    await orders.close()

    async def is_given_back() -> bool:
        return (await shop.stock(product)).available == 1

    await eventually(is_given_back)
    assert (await buyer.orders())[0].status == "cancelled"


async def test_a_placed_order_holds_its_stock_until_its_own_expiry(stack: Stack, shop: Shop, admin: Person) -> None:
    _seller, product = await shop.stocked_product(admin, 1)
    order = await (await shop.register()).order((product, 1))
    inventory = await asyncpg.connect(stack.database_of("inventory"))
    held_until = "SELECT held_until FROM reservations WHERE order_id = $1"

    async def is_extended() -> bool:
        until = await inventory.fetchval(held_until, order.id)
        return bool(until == order.expires_at)

    await eventually(is_extended)
    await inventory.close()
