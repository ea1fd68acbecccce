"""Pages come from Redis, are never older than what their reader knows, and do not need Redis."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from chassis.grpc.client import call
from chassis.types.ids import ProductId
from chassis.types.money import Money
from chassis_testing.waiting import eventually
from product_harness import Shop, another, redis_line
from product_service.domain.errors import UnknownProduct
from product_service.domain.products import Product
from product_service.repository.cache import LIFETIME_SECONDS, ProductCache, connect, decode, encode
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from shopapi.product.v1.product_pb2 import GetPricesRequest

NOBODY = "redis://127.0.0.1:1/0"


def lookups(result: str) -> float:
    return REGISTRY.get_sample_value("product_cache_lookups_total", {"result": result}) or 0.0


def failures() -> float:
    return REGISTRY.get_sample_value("product_cache_failures_total") or 0.0


@pytest.fixture
async def redis(shop: Shop) -> AsyncIterator[Redis]:
    client = connect(shop.settings.redis_url)
    yield client
    await client.aclose()
    await client.connection_pool.disconnect()


@pytest.fixture
def cache(shop: Shop, redis: Redis) -> ProductCache:
    """The cache as another process of the shop has it."""
    return ProductCache(redis, shop.settings.tenant, shop.settings.cache_deadline_seconds, uuid4, time.monotonic)


def key(shop: Shop, product: dict[str, Any]) -> str:
    return f"{shop.settings.tenant}:product:2:{product['id']}"


async def held(shop: Shop, redis: Redis, product: dict[str, Any]) -> Product | None:
    """What Redis has of a product."""
    entry = await redis.get(key(shop, product))
    return None if entry is None else decode(str(entry))


async def seen(shop: Shop, redis: Redis, product: dict[str, Any]) -> Product:
    """A product that Redis has, since it was shown."""
    await shop.details(product["id"])
    entry = await held(shop, redis, product)
    assert entry is not None
    return entry


async def test_a_page_that_was_read_costs_the_database_nothing(shop: Shop) -> None:
    product = await shop.product(amount=100)
    await shop.details(product["id"])
    await shop.execute("UPDATE products SET price_amount = 999 WHERE id = $1", product["id"])

    hits = lookups("hit")
    assert await shop.shown_price(product["id"]) == 100
    assert lookups("hit") == hits + 1


async def test_an_entry_lapses(shop: Shop, redis: Redis) -> None:
    product = await shop.product()
    await seen(shop, redis, product)

    assert 0 < await redis.ttl(key(shop, product)) <= LIFETIME_SECONDS


async def test_a_price_that_is_charged_never_comes_from_the_cache(shop: Shop, redis: Redis) -> None:
    product = await shop.product(amount=100)
    cheaper = replace(await seen(shop, redis, product), price=Money(1, "USD"))
    await redis.set(key(shop, product), encode(cheaper), ex=LIFETIME_SECONDS)
    assert await shop.shown_price(product["id"]) == 1

    answer = await call(shop.rpc.GetPrices, GetPricesRequest(product_ids=[product["id"]]))

    assert answer.products[0].price.amount == 100


async def test_a_reader_who_was_overtaken_cannot_put_the_old_product_back(
    shop: Shop, cache: ProductCache, redis: Redis
) -> None:
    product = await shop.product(amount=100)
    before = await seen(shop, redis, product)
    await redis.delete(key(shop, product))

    async def read_and_be_overtaken() -> Product:
        await shop.revise(product, amount=200)
        return before

    assert await cache.find(before.id, read_and_be_overtaken) == before
    assert await shop.shown_price(product["id"]) == 200


async def test_a_reader_who_was_overtaken_cannot_bring_a_deleted_product_back(
    shop: Shop, cache: ProductCache, redis: Redis
) -> None:
    product = await shop.product()
    before = await seen(shop, redis, product)
    await redis.delete(key(shop, product))

    async def read_and_be_overtaken() -> Product:
        await shop.http.delete(f"/api/v1/products/{product['id']}", headers=shop.seller)
        return before

    await cache.find(before.id, read_and_be_overtaken)

    assert (await shop.http.get(f"/api/v1/products/{product['id']}")).status_code == 404


async def test_a_redis_that_forgot_takes_nothing_from_who_read_before(
    shop: Shop, cache: ProductCache, redis: Redis
) -> None:
    product = await shop.product()
    before = await seen(shop, redis, product)
    await redis.delete(key(shop, product))

    async def read_while_redis_restarts() -> Product:
        await redis.delete(key(shop, product))
        return before

    await cache.find(before.id, read_while_redis_restarts)

    assert await held(shop, redis, product) is None


async def test_an_unknown_product_is_not_remembered(shop: Shop, cache: ProductCache) -> None:
    product_id = ProductId(987654321)

    async def find_nothing() -> Product:
        raise UnknownProduct(product_id)

    for _ in range(2):
        with pytest.raises(UnknownProduct):
            await cache.find(product_id, find_nothing)


async def test_who_changed_a_price_sees_it_among_many_readers(shop: Shop, redis: Redis) -> None:
    product = await shop.product(amount=1)
    async with another(shop) as other:

        async def read_and_make_redis_forget(process: Shop) -> None:
            while True:
                await process.shown_price(product["id"])
                await redis.delete(key(shop, product))

        readers = [asyncio.create_task(read_and_make_redis_forget(process)) for process in (shop, other) * 3]
        try:
            for amount in range(2, 12):
                await shop.revise(product, amount)
                assert [await process.shown_price(product["id"]) for process in (shop, other)] == [amount] * 2
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)


async def test_a_shop_whose_redis_is_down_serves_from_the_database(shop: Shop) -> None:
    async with another(shop, redis_url=NOBODY) as uncached:
        failed = failures()
        product = await uncached.product(amount=100)
        assert await uncached.shown_price(product["id"]) == 100
        await uncached.revise(product, amount=200)
        assert await uncached.shown_price(product["id"]) == 200
        assert (await uncached.http.get("/ready")).status_code == 200
        assert failures() > failed


async def test_a_redis_that_hangs_does_not_hold_up_pages(shop: Shop) -> None:
    product = await shop.product(amount=100)
    async with redis_line() as (line, url), another(shop, redis_url=url, cache_deadline_seconds=0.1) as process:

        async def comes_from_redis() -> bool:
            hits = lookups("hit")
            await process.shown_price(product["id"])
            return lookups("hit") > hits

        await eventually(comes_from_redis)
        line.hang()
        failed, passed_by, started = failures(), lookups("passed_by"), time.monotonic()

        for _ in range(20):
            assert await process.shown_price(product["id"]) == 100

        waited = failures() - failed
        assert waited >= 1
        assert waited + lookups("passed_by") - passed_by == 20
        assert waited <= 1 + (time.monotonic() - started)  # one page in a second, while the others pass it by


async def test_a_change_that_redis_missed_is_seen_at_once_and_by_everybody_soon(shop: Shop) -> None:
    product = await shop.product(amount=100)
    async with redis_line() as (line, url), another(shop, redis_url=url, cache_deadline_seconds=1) as process:
        assert await process.shown_price(product["id"]) == 100
        line.hang()
        await process.revise(product, amount=200)
        assert await process.shown_price(product["id"]) == 200

        line.restore()
        assert await process.shown_price(product["id"]) == 200

        async def others_see_it() -> bool:
            return await shop.shown_price(product["id"]) == 200

        await eventually(others_see_it)


async def test_a_product_whose_deletion_is_overdue_is_not_taken_from_redis(shop: Shop, redis: Redis) -> None:
    before = await seen(shop, redis, await shop.product())
    after = replace(before, price=Money(1, "USD"))

    async def read() -> Product:
        return after

    async with redis_line() as (line, url):
        client, now = connect(url), [0.0]
        unlucky = ProductCache(client, shop.settings.tenant, 2, uuid4, lambda: now[0])
        line.hang()
        await unlucky.forget(before.id)
        line.restore()
        now[0] += 2  # Redis is asked again
        assert await unlucky.find(before.id, read) == after

        await unlucky.catch_up()

        assert await unlucky.find(before.id, read) == after
        assert await unlucky.find(before.id, no_read) == after
        await unlucky.close()


async def no_read() -> Product:
    raise AssertionError("Redis has it")


async def test_a_deletion_is_not_repeated_for_ever(shop: Shop) -> None:
    client, now = connect(NOBODY), [0.0]
    unlucky = ProductCache(client, shop.settings.tenant, 0.1, uuid4, lambda: now[0])
    await unlucky.forget(ProductId(1))

    failed = failures()
    await unlucky.catch_up()
    assert failures() == failed + 1

    now[0] += LIFETIME_SECONDS
    await unlucky.catch_up()
    assert failures() == failed + 1
    await unlucky.close()
