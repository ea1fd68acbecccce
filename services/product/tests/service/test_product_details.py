"""The product page: three neighbours asked at once, and never lost with any of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from chassis_testing.fault_proxy import FaultProxy
from grpc import aio
from product_harness import PARTS, SELLER, SLOW_SECONDS, Shop, another, away, broken, slow, unknown

NOBODY = "127.0.0.1:1"


async def test_a_page_has_the_product_its_seller_its_stock_and_its_rating(shop: Shop) -> None:
    product = await shop.product()

    assert await shop.details(product["id"]) == {
        "product": product,
        "seller": {"id": SELLER, "name": f"User {SELLER}"},
        "stock": {"available": product["id"]},
        "rating": {"average": 4.5, "count": 2},
        "variants": [],
        "degraded": [],
    }


async def test_neighbours_are_asked_in_parallel(shop: Shop) -> None:
    product, everybody = await shop.product(), asyncio.Barrier(len(PARTS))

    async def wait_for_the_others(_context: aio.ServicerContext[Any, Any]) -> None:
        await everybody.wait()

    shop.neighbours.before.update(dict.fromkeys(PARTS, wait_for_the_others))

    assert (await shop.details(product["id"]))["degraded"] == []


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("trouble", [away, broken, unknown, slow], ids=lambda trouble: trouble.__name__)
async def test_a_page_goes_without_the_part_of_a_neighbour_in_trouble(
    shop: Shop, part: str, trouble: Callable[[aio.ServicerContext[Any, Any]], Awaitable[None]]
) -> None:
    product = await shop.product()
    whole = await shop.details(product["id"])
    shop.neighbours.before[part] = trouble

    async with asyncio.timeout(SLOW_SECONDS):  # so nobody waited for the slow one
        page = await shop.details(product["id"])

    assert page == {**whole, part: None, "degraded": [part]}


async def test_a_page_survives_all_its_neighbours(shop: Shop) -> None:
    product = await shop.product()
    lost = {**dict.fromkeys(PARTS), "product": product, "variants": [], "degraded": list(PARTS)}

    shop.neighbours.before.update(dict.fromkeys(PARTS, slow))
    assert await shop.details(product["id"]) == lost

    nowhere = {"user_grpc": NOBODY, "inventory_grpc": NOBODY, "review_grpc": NOBODY}
    async with another(shop, **nowhere) as lonely:
        assert await lonely.details(product["id"]) == lost
        assert (await lonely.http.get("/ready")).status_code == 200


async def test_a_neighbour_that_comes_back_is_shown_again(shop: Shop) -> None:
    product = await shop.product()
    shop.neighbours.before["stock"] = away
    assert (await shop.details(product["id"]))["degraded"] == ["stock"]

    shop.neighbours.before.clear()

    assert (await shop.details(product["id"]))["degraded"] == []


async def test_a_page_goes_without_its_variants_where_the_database_is_away(shop: Shop) -> None:
    first = await shop.product()
    body = await shop.body(group_id=first["id"], options={"size": "M"})
    await shop.http.post("/api/v1/products", json=body, headers=shop.seller)
    await shop.settled()

    cable = FaultProxy(shop.settings.db_host, shop.settings.db_port)
    await cable.restore()
    async with another(shop, db_host="127.0.0.1", db_port=cable.port) as process:
        whole = await process.details(first["id"])
        assert len(whole["variants"]) == 1
        await cable.sever()

        assert await process.details(first["id"]) == {**whole, "variants": None, "degraded": ["variants"]}
