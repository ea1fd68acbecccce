"""Each change of what public answers show raises the change count, and the gateway is told the counts."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from chassis.database.change_counts import ChangeCount
from chassis.database.confirmations import Confirmation, confirmation_key, demand_key
from chassis.database.engine import Database
from chassis.errors import DatabaseUnavailable
from chassis.types.ids import ProductId, uuid7
from chassis_testing.environment import environment_variable
from chassis_testing.waiting import eventually
from product_harness import Catalogue, redis_proxy
from product_service.repository.cache import LEASE_SECONDS, LIFETIME_SECONDS, ProductCache, connect
from product_service.repository.confirmations import ConfirmationStore
from product_service.service.confirmations import ConfirmationService
from product_service.service.evictions import EvictionService
from product_service.service.search import SearchService
from redis.asyncio import Redis
from shopapi.events.v1.events_pb2 import AvailabilityChanged, OrderConfirmed, OrderLine, ProductChanged, RatingChanged

UNREACHABLE = "redis://127.0.0.1:1/0"


@pytest.fixture
async def changes(catalogue: Catalogue) -> AsyncIterator[ChangeCount]:
    database = Database(catalogue.settings, "none")
    yield ChangeCount(database)
    await database.close()


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    client = connect(environment_variable("TEST_REDIS_URL"))
    yield client
    await client.aclose()
    await client.connection_pool.disconnect()


# What is counted


async def test_requests_that_change_what_is_shown_are_counted(catalogue: Catalogue, changes: ChangeCount) -> None:
    counts = [await changes.read()]
    product = await catalogue.add_product()
    counts.append(await changes.read())
    await catalogue.revise_product(product, 1)
    await catalogue.wait_until_consumed()
    counts.append(await changes.read())
    await catalogue.add_category()
    counts.append(await changes.read())
    await catalogue.http.delete(f"/api/v1/products/{product['id']}", headers=catalogue.seller)
    counts.append(await changes.read())
    assert counts == sorted(set(counts))


async def test_events_that_change_what_is_shown_are_counted(catalogue: Catalogue, changes: ChangeCount) -> None:
    one, other = (await catalogue.add_product())["id"], (await catalogue.add_product())["id"]
    for event in (
        AvailabilityChanged(product_id=one, is_available=True, revision=10),
        RatingChanged(product_id=one, stars=5, count=1, revision=10),
        OrderConfirmed(order_id=str(uuid7()), lines=[OrderLine(product_id=number) for number in (one, other)]),
        ProductChanged(product_id=one),  # evicts the product from the cache that details are read from
    ):
        before = await changes.read()
        await catalogue.deliver_events(event)
        assert await changes.read() > before, event


@pytest.mark.parametrize(
    "statement", ["TRUNCATE co_purchases", "SET search_path = ''; DELETE FROM public.products WHERE false"]
)
async def test_statements_of_people_are_counted(catalogue: Catalogue, changes: ChangeCount, statement: str) -> None:
    before = await changes.read()
    await catalogue.execute(statement)
    assert await changes.read() > before


async def test_sweeps_that_change_nothing_are_not_counted(catalogue: Catalogue, changes: ChangeCount) -> None:
    await catalogue.add_product()
    database = Database(catalogue.settings, "none")
    search = SearchService(database, catalogue.settings.search_language)
    await search.reindex()
    await search.prune_vocabulary()
    before = await changes.read()
    await search.reindex()
    await search.prune_vocabulary()
    assert await changes.read() == before
    await database.close()


async def test_an_eviction_is_counted_once_redis_confirms_it(catalogue: Catalogue, changes: ChangeCount) -> None:
    """Other processes may show the product of before until then, in answers that the change itself does not end."""
    async with redis_proxy() as (proxy, url), evictions(catalogue, url, 1.0, time.monotonic) as service:
        proxy.stall()
        await catalogue.wait_until_consumed()
        before = await changes.read()
        await consume(catalogue, service)
        await service.retry()
        assert await changes.read() == before
        proxy.resume()

        async def is_counted() -> bool:
            await service.retry()
            return await changes.read() == before + 1

        await eventually(is_counted)
        await service.retry()
        assert await changes.read() == before + 1


async def test_an_eviction_whose_old_entry_has_expired_is_counted(catalogue: Catalogue, changes: ChangeCount) -> None:
    now = [0.0]
    async with evictions(catalogue, UNREACHABLE, 1.0, lambda: now[0]) as service:
        await catalogue.wait_until_consumed()
        before = await changes.read()
        await consume(catalogue, service)
        await service.retry()
        assert await changes.read() == before
        now[0] += LIFETIME_SECONDS + LEASE_SECONDS
        await service.retry()
        assert await changes.read() == before + 1


@asynccontextmanager
async def evictions(
    catalogue: Catalogue, url: str, deadline: float, clock: Callable[[], float]
) -> AsyncIterator[EvictionService]:
    """Yields the evictions of another process, with this Redis."""
    database = Database(catalogue.settings, "none")
    cache = ProductCache(connect(url), catalogue.settings.tenant, deadline, uuid4, clock)
    yield EvictionService(database, cache, ChangeCount(database))
    await cache.close()
    await database.close()


async def consume(catalogue: Catalogue, service: EvictionService) -> None:
    database = Database(catalogue.settings, "none")
    async with database.begin() as transaction:
        await service.evict(transaction, ProductId(1))
    await database.close()


async def test_reads_are_not_counted(catalogue: Catalogue, changes: ChangeCount) -> None:
    product = await catalogue.add_product()
    before = await changes.read()
    await catalogue.get_details(product["id"])
    await catalogue.list_products(q="cup")
    assert await changes.read() == before


async def test_compaction_keeps_the_count(catalogue: Catalogue, changes: ChangeCount) -> None:
    for _ in range(100):
        await catalogue.execute("INSERT INTO change_counts VALUES (1)")
    before = await changes.read()
    await asyncio.gather(*(changes.compact() for _ in range(3)))
    assert await changes.read() == before
    assert len(await catalogue.rows("SELECT FROM change_counts")) < 100


async def test_compaction_replaces_any_number_of_rows_a_limited_number_at_a_time(
    catalogue: Catalogue, changes: ChangeCount
) -> None:
    before = await changes.read()
    await catalogue.execute("INSERT INTO change_counts SELECT 1 FROM generate_series(1, 25000)")
    await catalogue.execute(LIMIT_DELETIONS)
    try:
        await changes.compact()
    finally:
        await catalogue.execute("DROP FUNCTION limit_deletions CASCADE")
    assert await changes.read() == before + 25_000
    assert len(await catalogue.rows("SELECT FROM change_counts")) < 100


LIMIT_DELETIONS = """
CREATE FUNCTION limit_deletions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM deleted) > 10000 THEN RAISE 'too many rows'; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER limit_deletions AFTER DELETE ON change_counts REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION limit_deletions()
"""


async def test_compaction_waits_for_no_other_process(catalogue: Catalogue, changes: ChangeCount) -> None:
    await catalogue.execute("INSERT INTO change_counts SELECT 1 FROM generate_series(1, 200)")
    before = await changes.read()
    async with catalogue.connection() as other, other.transaction():
        await other.execute("SELECT FROM change_counts LIMIT 1 FOR UPDATE")
        await changes.compact()
        assert await changes.read() == before
        assert len(await catalogue.rows("SELECT FROM change_counts")) < 100


# What the gateway is told


class Counts:
    """The change count of one service, which a test sets."""

    def __init__(self) -> None:
        self.count, self.reads = 7, 0
        self.error: Exception | None = None

    async def read(self) -> int:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return self.count


async def confirmed(redis: Redis, tenant: str) -> Confirmation:
    text = await redis.get(confirmation_key(tenant, "product"))
    assert text is not None
    return Confirmation.decode(text)


def service(redis: Redis, tenant: str, counts: Counts, interval: float = 0.0) -> ConfirmationService:
    return ConfirmationService(ConfirmationStore(redis, tenant, 5.0), {"product": counts.read}, interval)


async def now(redis: Redis) -> int:
    seconds, microseconds = await redis.time()
    return int(seconds) * 1_000_000 + int(microseconds)


async def test_a_count_is_confirmed_as_of_before_it_was_read(redis: Redis) -> None:
    tenant, counts = uuid4().hex, Counts()
    await redis.set(demand_key(tenant), "")
    read_at = []

    async def read() -> int:
        read_at.append(await now(redis))
        return 7

    await ConfirmationService(ConfirmationStore(redis, tenant, 5.0), {"product": read}, 0).confirm()
    before = await confirmed(redis, tenant)
    assert (before.count, before.at <= read_at[0]) == (7, True)
    counts.count = 8
    await service(redis, tenant, counts).confirm()
    after = await confirmed(redis, tenant)
    assert (after.count, after.at > before.at) == (8, True)


async def test_without_demand_no_count_is_read(redis: Redis) -> None:
    counts = Counts()
    await service(redis, uuid4().hex, counts).confirm()
    assert counts.reads == 0


async def test_replicas_take_turns(redis: Redis) -> None:
    tenant, counts = uuid4().hex, Counts()
    await redis.set(demand_key(tenant), "")
    for _ in range(3):
        await service(redis, tenant, counts, interval=1000).confirm()
    assert counts.reads == 1


async def test_a_count_from_before_the_clock_of_redis_was_put_back_is_read_again(redis: Redis) -> None:
    """Redis may fail over to a replica whose clock is behind."""
    tenant, counts = uuid4().hex, Counts()
    await redis.set(demand_key(tenant), "")
    future = Confirmation(7, await now(redis) + 60_000_000)
    await redis.set(confirmation_key(tenant, "product"), future.encode())
    await service(redis, tenant, counts, interval=1000).confirm()
    assert (await confirmed(redis, tenant)).at < future.at


async def test_a_count_that_cannot_be_read_leaves_the_last_confirmation(redis: Redis) -> None:
    tenant, counts = uuid4().hex, Counts()
    await redis.set(demand_key(tenant), "")
    await service(redis, tenant, counts).confirm()
    before = await confirmed(redis, tenant)
    counts.error = DatabaseUnavailable("product")
    await service(redis, tenant, counts).confirm()
    assert await confirmed(redis, tenant) == before


async def test_without_redis_nothing_is_confirmed_until_it_is_back() -> None:
    tenant, counts = uuid4().hex, Counts()
    async with redis_proxy() as (proxy, url):
        client = connect(url)
        store = ConfirmationStore(client, tenant, 0.2)
        await client.set(demand_key(tenant), "")
        proxy.stall()
        await ConfirmationService(store, {"product": counts.read}, 0).confirm()
        assert counts.reads == 0
        proxy.resume()
        await ConfirmationService(store, {"product": counts.read}, 0).confirm()
        assert (await confirmed(client, tenant)).count == counts.count
        await store.close()


async def test_the_service_confirms_all_counts_while_a_gateway_asks_for_it(
    catalogue: Catalogue, changes: ChangeCount, redis: Redis
) -> None:
    tenant = catalogue.settings.tenant
    await redis.set(demand_key(tenant), "", ex=60)

    async def is_confirmed() -> bool:
        texts = await redis.mget(
            *(confirmation_key(tenant, name) for name in ("product", "user", "inventory", "review"))
        )
        counts = [None if text is None else Confirmation.decode(text).count for text in texts]
        return counts == [await changes.read(), *catalogue.neighbours.change_counts.values()]

    await eventually(is_confirmed)
    await catalogue.add_category()
    catalogue.neighbours.change_counts["review"] += 1
    await eventually(is_confirmed)
    await redis.delete(demand_key(tenant))
