"""Products are cached in Redis, never older than what their reader knows; the service also works without Redis."""

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
from product_harness import Catalogue, another_process, redis_proxy
from product_service.domain.errors import UnknownProduct
from product_service.domain.products import Product
from product_service.repository.cache import LEASE_SECONDS, LIFETIME_SECONDS, ProductCache, connect, decode, encode
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from shopapi.product.v1.product_pb2 import GetPricesRequest

UNREACHABLE = "redis://127.0.0.1:1/0"


def lookups(result: str) -> float:
    return REGISTRY.get_sample_value("product_cache_lookups_total", {"result": result}) or 0.0


def failures() -> float:
    return REGISTRY.get_sample_value("product_cache_failures_total") or 0.0


@pytest.fixture
async def redis(catalogue: Catalogue) -> AsyncIterator[Redis]:
    client = connect(catalogue.settings.redis_url)
    yield client
    await client.aclose()
    await client.connection_pool.disconnect()


@pytest.fixture
def cache(catalogue: Catalogue, redis: Redis) -> ProductCache:
    """The cache of another process of the service."""
    return ProductCache(
        redis, catalogue.settings.tenant, catalogue.settings.cache_deadline_seconds, uuid4, time.monotonic
    )


def cache_key(catalogue: Catalogue, product: dict[str, Any]) -> str:
    return f"{catalogue.settings.tenant}:product:2:{product['id']}"


async def cached_entry(catalogue: Catalogue, redis: Redis, product: dict[str, Any]) -> Product | None:
    """Returns the entry of a product in Redis."""
    entry = await redis.get(cache_key(catalogue, product))
    return None if entry is None else decode(str(entry))


async def cache_product(catalogue: Catalogue, redis: Redis, product: dict[str, Any]) -> Product:
    """Reads a product, so that it is cached, and returns the entry."""
    await catalogue.get_details(product["id"])
    entry = await cached_entry(catalogue, redis, product)
    assert entry is not None
    return entry


async def test_a_cached_product_is_not_read_from_the_database(catalogue: Catalogue) -> None:
    product = await catalogue.add_product(amount=100)
    await catalogue.get_details(product["id"])
    await catalogue.execute("UPDATE products SET price_amount = 999 WHERE id = $1", product["id"])

    hits = lookups("hit")
    assert await catalogue.displayed_price(product["id"]) == 100
    assert lookups("hit") == hits + 1


async def test_an_entry_expires(catalogue: Catalogue, redis: Redis) -> None:
    product = await catalogue.add_product()
    await cache_product(catalogue, redis, product)

    assert 0 < await redis.ttl(cache_key(catalogue, product)) <= LIFETIME_SECONDS


async def test_a_price_that_is_charged_never_comes_from_the_cache(catalogue: Catalogue, redis: Redis) -> None:
    product = await catalogue.add_product(amount=100)
    cheaper = replace(await cache_product(catalogue, redis, product), price=Money(1, "USD"))
    await redis.set(cache_key(catalogue, product), encode(cheaper), ex=LIFETIME_SECONDS)
    assert await catalogue.displayed_price(product["id"]) == 1

    response = await call(catalogue.rpc.GetPrices, GetPricesRequest(product_ids=[product["id"]]))

    assert response.products[0].price.amount == 100


async def test_a_slow_reader_does_not_cache_an_old_product(
    catalogue: Catalogue, cache: ProductCache, redis: Redis
) -> None:
    product = await catalogue.add_product(amount=100)
    before = await cache_product(catalogue, redis, product)
    await redis.delete(cache_key(catalogue, product))

    async def read_during_a_change() -> Product:
        await catalogue.revise_product(product, amount=200)
        return before

    assert await cache.find(before.id, read_during_a_change) == before
    assert await catalogue.displayed_price(product["id"]) == 200


async def test_a_slow_reader_does_not_cache_a_deleted_product(
    catalogue: Catalogue, cache: ProductCache, redis: Redis
) -> None:
    product = await catalogue.add_product()
    before = await cache_product(catalogue, redis, product)
    await redis.delete(cache_key(catalogue, product))

    async def read_during_a_change() -> Product:
        await catalogue.http.delete(f"/api/v1/products/{product['id']}", headers=catalogue.seller)
        return before

    await cache.find(before.id, read_during_a_change)

    assert (await catalogue.http.get(f"/api/v1/products/{product['id']}")).status_code == 404


async def test_a_reader_without_its_lease_caches_nothing(
    catalogue: Catalogue, cache: ProductCache, redis: Redis
) -> None:
    product = await catalogue.add_product()
    before = await cache_product(catalogue, redis, product)
    await redis.delete(cache_key(catalogue, product))

    async def read_while_redis_restarts() -> Product:
        await redis.delete(cache_key(catalogue, product))
        return before

    await cache.find(before.id, read_while_redis_restarts)

    assert await cached_entry(catalogue, redis, product) is None


async def test_an_unknown_product_is_not_cached(catalogue: Catalogue, cache: ProductCache) -> None:
    product_id = ProductId(987654321)

    async def find_nothing() -> Product:
        raise UnknownProduct(product_id)

    for _ in range(2):
        with pytest.raises(UnknownProduct):
            await cache.find(product_id, find_nothing)


async def test_a_price_change_is_visible_at_once_among_many_readers(catalogue: Catalogue, redis: Redis) -> None:
    product = await catalogue.add_product(amount=1)
    async with another_process(catalogue) as other:

        async def read_and_delete_entry(process: Catalogue) -> None:
            while True:
                await process.displayed_price(product["id"])
                await redis.delete(cache_key(catalogue, product))

        readers = [asyncio.create_task(read_and_delete_entry(process)) for process in (catalogue, other) * 3]
        try:
            for amount in range(2, 12):
                await catalogue.revise_product(product, amount)
                assert [await process.displayed_price(product["id"]) for process in (catalogue, other)] == [amount] * 2
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)


async def test_the_service_works_without_redis(catalogue: Catalogue) -> None:
    async with another_process(catalogue, redis_url=UNREACHABLE) as uncached:
        failed = failures()
        product = await uncached.add_product(amount=100)
        assert await uncached.displayed_price(product["id"]) == 100
        await uncached.revise_product(product, amount=200)
        assert await uncached.displayed_price(product["id"]) == 200
        assert (await uncached.http.get("/ready")).status_code == 200
        assert failures() > failed


async def test_a_hanging_redis_does_not_delay_pages(catalogue: Catalogue) -> None:
    product = await catalogue.add_product(amount=100)
    async with (
        redis_proxy() as (proxy, url),
        another_process(catalogue, redis_url=url, cache_deadline_seconds=0.1) as process,
    ):

        async def comes_from_redis() -> bool:
            hits = lookups("hit")
            await process.displayed_price(product["id"])
            return lookups("hit") > hits

        await eventually(comes_from_redis)
        proxy.stall()
        failed, passed_by, started = failures(), lookups("passed_by"), time.monotonic()

        for _ in range(20):
            assert await process.displayed_price(product["id"]) == 100

        waited = failures() - failed
        assert waited >= 1
        assert waited + lookups("passed_by") - passed_by == 20
        assert waited <= 1 + (time.monotonic() - started)  # one attempt per second; the other pages bypass Redis


async def test_a_change_that_redis_missed_is_visible_here_at_once_and_elsewhere_soon(catalogue: Catalogue) -> None:
    product = await catalogue.add_product(amount=100)
    async with (
        redis_proxy() as (proxy, url),
        another_process(catalogue, redis_url=url, cache_deadline_seconds=1) as process,
    ):
        assert await process.displayed_price(product["id"]) == 100
        proxy.stall()
        await process.revise_product(product, amount=200)
        assert await process.displayed_price(product["id"]) == 200

        proxy.resume()
        assert await process.displayed_price(product["id"]) == 200

        async def other_process_shows_it() -> bool:
            return await catalogue.displayed_price(product["id"]) == 200

        await eventually(other_process_shows_it)


async def test_a_product_with_a_pending_eviction_is_not_read_from_redis(catalogue: Catalogue, redis: Redis) -> None:
    before = await cache_product(catalogue, redis, await catalogue.add_product())
    after = replace(before, price=Money(1, "USD"))

    async def read() -> Product:
        return after

    async with redis_proxy() as (proxy, url):
        client, now = connect(url), [0.0]
        cache = ProductCache(client, catalogue.settings.tenant, 2, uuid4, lambda: now[0])
        proxy.stall()
        await cache.evict(before.id)
        proxy.resume()
        now[0] += 2  # ends the cooldown
        assert await cache.find(before.id, read) == after

        await cache.retry_evictions()

        assert await cache.find(before.id, read) == after
        assert await cache.find(before.id, fail_to_read) == after
        await cache.close()


async def fail_to_read() -> Product:
    raise AssertionError("the product must come from Redis")


async def test_a_pending_eviction_expires(catalogue: Catalogue) -> None:
    client, now = connect(UNREACHABLE), [0.0]
    cache = ProductCache(client, catalogue.settings.tenant, 0.1, uuid4, lambda: now[0])
    await cache.evict(ProductId(1))

    failed = failures()
    await cache.retry_evictions()
    assert failures() == failed + 1

    now[0] += LIFETIME_SECONDS  # a reader may have stored the old product later, while it had a lease
    await cache.retry_evictions()
    assert failures() == failed + 2
    now[0] += LEASE_SECONDS
    await cache.retry_evictions()
    assert failures() == failed + 2
    await cache.close()
