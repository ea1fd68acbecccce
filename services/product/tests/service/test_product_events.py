"""Events change lists exactly once, in any order and however often they are delivered; changes are published."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from chassis.http.authentication import Role
from chassis.messaging import events
from chassis.messaging.topology import load_topology
from chassis.types.ids import uuid7
from chassis_testing.services import http_client
from chassis_testing.waiting import eventually
from google.protobuf.message import Message
from product_harness import OTHER_SELLER, Catalogue, another_process, redis_proxy
from product_service.app import build
from prometheus_client import REGISTRY
from shopapi.events.v1.events_pb2 import (
    AvailabilityChanged,
    OrderConfirmed,
    OrderLine,
    ProductChanged,
    RatingChanged,
    UserErased,
)
from shopapi.product.v1.product_pb2 import GetPricesRequest


def confirmed(*product_ids: int) -> OrderConfirmed:
    lines = [OrderLine(product_id=product_id, quantity=3) for product_id in product_ids]
    return OrderConfirmed(order_id=str(uuid7()), buyer_id=9, lines=lines)


async def read_statistics(catalogue: Catalogue, *products: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await catalogue.rows(
        "SELECT id, in_stock, stock_revision, rating_stars, rating_count, rating_revision, orders_count FROM products"
        " WHERE id = ANY($1) ORDER BY id",
        [product["id"] for product in products],
    )


async def read_co_purchases(catalogue: Catalogue, *products: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await catalogue.rows(
        "SELECT product_id, other_id, orders_count FROM co_purchases WHERE product_id = ANY($1) ORDER BY 1, 2",
        [product["id"] for product in products],
    )


@asynccontextmanager
async def recorded_changes(catalogue: Catalogue) -> AsyncIterator[list[int]]:
    """Records the product ids of product.changed events, in a queue of its own: the service consumes its own events."""
    recorded: list[int] = []

    async def record(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        payload = events.decode(message.body).payload
        assert isinstance(payload, ProductChanged)
        assert payload.changed_at.seconds > 0
        recorded.append(payload.product_id)

    async with await aio_pika.connect(catalogue.settings.rabbitmq_url) as connection:
        queue = await (await connection.channel()).declare_queue(exclusive=True)
        await queue.bind(load_topology().exchange, "product.changed.v1")
        await queue.consume(record, no_ack=True)
        yield recorded


async def test_availability_follows_the_inventory_service(catalogue: Catalogue) -> None:
    product = await catalogue.add_product()
    category = product["category_id"]
    assert (await catalogue.list_products(category=category))["data"][0]["in_stock"] is False

    await catalogue.deliver_events(AvailabilityChanged(product_id=product["id"], is_available=True, revision=1))
    assert await catalogue.list_names(category=category, in_stock="true") == [product["name"]]
    assert await catalogue.list_names(category=category, in_stock="false") == []

    await catalogue.deliver_events(AvailabilityChanged(product_id=product["id"], is_available=False, revision=2))
    assert await catalogue.list_names(category=category, in_stock="true") == []


async def test_lists_show_and_sort_by_ratings(catalogue: Catalogue) -> None:
    category = await catalogue.add_category()
    good, better = [await catalogue.add_product(category_id=category, name=name) for name in ("Good", "Better")]
    await catalogue.add_product(category_id=category, name="Unrated")

    await catalogue.deliver_events(
        RatingChanged(product_id=good["id"], stars=8, count=2, revision=1),
        RatingChanged(product_id=better["id"], stars=9, count=2, revision=7),
    )

    assert await catalogue.list_names(category=category, sort="rating") == ["Better", "Good", "Unrated"]
    assert await catalogue.list_names(category=category, min_rating=4.5) == ["Better"]
    assert await catalogue.list_names(category=category, min_rating=4) == ["Better", "Good"]
    (first, *_) = (await catalogue.list_products(category=category, sort="rating"))["data"]
    assert first["rating"] == {"average": 4.5, "count": 2}

    await catalogue.deliver_events(RatingChanged(product_id=better["id"], stars=0, count=0, revision=8))
    assert await catalogue.list_names(category=category, min_rating=1) == ["Good"]


@pytest.mark.parametrize("seed", range(5))
async def test_shuffled_and_replayed_events_do_not_change_the_result(catalogue: Catalogue, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    first, second, third = products = [await catalogue.add_product() for _ in range(3)]
    payloads: list[Message] = [
        *(AvailabilityChanged(product_id=first["id"], is_available=n % 2 == 0, revision=n) for n in range(1, 6)),
        *(RatingChanged(product_id=second["id"], stars=3 * n, count=n, revision=n) for n in range(5)),
        confirmed(first["id"], second["id"]),
        confirmed(first["id"], second["id"], third["id"], first["id"]),
        confirmed(third["id"], 2**62),
        confirmed(2**62 + 1),
        confirmed(),
        *(ProductChanged(product_id=product["id"]) for product in products),
    ]

    chance.shuffle(payloads)
    await catalogue.deliver_events(*payloads, times=2)

    one, two, three = first["id"], second["id"], third["id"]
    assert await read_statistics(catalogue, *products) == [
        (one, False, 5, 0, 0, -1, 2),
        (two, False, -1, 12, 4, 4, 2),
        (three, False, -1, 0, 0, -1, 2),
    ]
    assert await read_co_purchases(catalogue, *products) == [
        (one, two, 2), (one, three, 1), (two, one, 2), (two, three, 1), (three, one, 1), (three, two, 1),
    ]  # fmt: skip


async def test_events_of_deleted_or_unknown_products_are_consumed_and_change_no_list(catalogue: Catalogue) -> None:
    product = await catalogue.add_product()
    await catalogue.http.delete(f"/api/v1/products/{product['id']}", headers=catalogue.seller)

    for product_id in (product["id"], 2**62):
        await catalogue.deliver_events(
            AvailabilityChanged(product_id=product_id, is_available=True, revision=9),
            RatingChanged(product_id=product_id, stars=5, count=1, revision=9),
            confirmed(product_id),
            ProductChanged(product_id=product_id),
        )

    assert await catalogue.list_names(category=product["category_id"]) == []


async def are_waiting_for_locks(catalogue: Catalogue, at_least: int) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ((waiting,),) = await catalogue.rows(query)
    return bool(waiting >= at_least)


def delivery_failures() -> float:
    return REGISTRY.get_sample_value("broker_delivery_failures_total", {"type": "order.confirmed.v1"}) or 0.0


async def test_orders_that_are_confirmed_concurrently_are_all_counted(catalogue: Catalogue) -> None:
    products = [await catalogue.add_product() for _ in range(4)]
    ids = [product["id"] for product in products]

    failed = delivery_failures()

    for _ in range(3):
        async with catalogue.connection() as blocker, asyncio.TaskGroup() as deliveries, blocker.transaction():
            # the blocker locks all rows, so that as many transactions as possible start together
            await blocker.execute("SELECT FROM products WHERE id = ANY($1) FOR UPDATE", ids)
            deliveries.create_task(catalogue.deliver_events(*(confirmed(*ids) for _ in range(20))))
            await eventually(lambda: are_waiting_for_locks(catalogue, at_least=6))

    assert delivery_failures() == failed, "two transactions deadlocked"
    assert {row[-1] for row in await read_statistics(catalogue, *products)} == {60}
    assert {row[-1] for row in await read_co_purchases(catalogue, *products)} == {60}


async def test_popularity_counts_orders_and_not_units(catalogue: Catalogue) -> None:
    category = await catalogue.add_category()
    popular, bulk = [await catalogue.add_product(category_id=category, name=name) for name in ("Popular", "Bulk")]
    bulk_order = OrderConfirmed(order_id=str(uuid7()), lines=[OrderLine(product_id=bulk["id"], quantity=1_000_000)])

    await catalogue.deliver_events(confirmed(popular["id"]), confirmed(popular["id"]), bulk_order)

    assert await catalogue.list_names(category=category, sort="popular") == ["Popular", "Bulk"]


async def test_products_of_an_erased_seller_are_deleted(catalogue: Catalogue) -> None:
    category = await catalogue.add_category()
    seller = catalogue.issuer.bearer(41, Role.SELLER)
    for number in range(3):
        body = await catalogue.product_body(category_id=category, name=f"Left {number}")
        assert (await catalogue.http.post("/api/v1/products", json=body, headers=seller)).status_code == 201
    kept = await catalogue.add_product(category_id=category, name="Kept")
    left = [product["id"] for product in (await catalogue.list_products(category=category, seller_id=41))["data"]]
    await catalogue.get_details(left[0])

    async with recorded_changes(catalogue) as changed:
        await catalogue.deliver_events(UserErased(user_id=41), UserErased(user_id=OTHER_SELLER + 1000), times=2)

        async def are_deleted() -> bool:
            return await catalogue.list_names(category=category) == [kept["name"]]

        await eventually(are_deleted)
        await catalogue.wait_until_consumed()
        assert sorted(changed) == sorted(left)

    responses = [await catalogue.http.get(f"/api/v1/products/{product_id}") for product_id in left]
    assert {response.status_code for response in responses} == {404}
    assert not (await catalogue.rpc.GetPrices(GetPricesRequest(product_ids=left))).products


async def test_products_that_an_erased_seller_adds_with_a_valid_token_are_deleted(catalogue: Catalogue) -> None:
    await catalogue.deliver_events(UserErased(user_id=42))
    body = await catalogue.product_body()

    seller = catalogue.issuer.bearer(42, Role.SELLER)
    assert (await catalogue.http.post("/api/v1/products", json=body, headers=seller)).status_code == 201

    async def is_deleted() -> bool:
        return await catalogue.list_names(category=body["category_id"]) == []

    await eventually(is_deleted)


async def test_no_text_of_an_erased_seller_is_left_in_the_catalogue(catalogue: Catalogue) -> None:
    seller = catalogue.issuer.bearer(43, Role.SELLER)
    content = {"images": ["https://example.com/me.jpg"], "options": {"by": "me"}}
    kept = await catalogue.add_product(**content)
    bodies = [await catalogue.product_body(name=f"Anna {n}", description="by Anna", **content) for n in range(2)]
    added = [await catalogue.http.post("/api/v1/products", json=body, headers=seller) for body in bodies]
    on_sale, deleted = [response.json()["data"]["id"] for response in added]
    await catalogue.http.delete(f"/api/v1/products/{deleted}", headers=seller)
    await catalogue.http.delete(f"/api/v1/products/{kept['id']}", headers=catalogue.seller)
    await catalogue.wait_until_consumed()

    async def read_texts(*product_ids: int) -> list[tuple[Any, ...]]:
        query = "SELECT name, description, images, options::text, search::text FROM products WHERE id = ANY($1)"
        return await catalogue.rows(query, product_ids)

    async def are_redacted() -> bool:
        return await read_texts(on_sale, deleted) == [("", "", [], "{}", "")] * 2

    async with recorded_changes(catalogue) as changed:
        await catalogue.deliver_events(UserErased(user_id=43))
        await eventually(are_redacted)
        await catalogue.wait_until_consumed()
        assert changed == [on_sale]
    assert [name for name, *_ in await read_texts(kept["id"])] == [kept["name"]]

    async def is_pruned() -> bool:
        return await catalogue.rows("SELECT FROM search_words WHERE word = 'anna'") == []

    async with another_process(catalogue, words_sweep_seconds=0.05):
        await eventually(is_pruned)


async def test_every_change_of_a_product_is_published_once(catalogue: Catalogue) -> None:
    async with recorded_changes(catalogue) as changed:
        product = await catalogue.add_product()
        path = f"/api/v1/products/{product['id']}"
        await catalogue.revise_product(product, amount=5)
        await catalogue.wait_until_consumed()
        assert changed == [product["id"]] * 2

        body = await catalogue.product_body(
            category_id=product["category_id"], group_id=product["id"], options={"size": "M"}
        )
        variant = (await catalogue.http.post("/api/v1/products", json=body, headers=catalogue.seller)).json()["data"]
        await catalogue.wait_until_consumed()
        assert sorted(changed[2:]) == [product["id"], variant["id"]]

        await catalogue.http.delete(path, headers=catalogue.seller)
        await catalogue.wait_until_consumed()
        assert changed[4:] == [product["id"]]


async def test_a_refused_change_is_not_published(catalogue: Catalogue) -> None:
    product = await catalogue.add_product()
    path, other = f"/api/v1/products/{product['id']}", catalogue.issuer.bearer(OTHER_SELLER, Role.SELLER)

    async with recorded_changes(catalogue) as changed:
        await catalogue.http.delete(path, headers=other)
        await catalogue.http.put(
            path, json=await catalogue.product_body(category_id=987654321), headers=catalogue.seller
        )
        await catalogue.http.put(path, json=await catalogue.product_body(group_id=987654321), headers=catalogue.seller)
        await catalogue.wait_until_consumed()
        assert changed == []


async def test_a_process_that_dies_before_the_eviction_leaves_no_outdated_entry(catalogue: Catalogue) -> None:
    """The process only commits: its connection to Redis stalls, its relay never runs, and then it exits."""
    product = await catalogue.add_product(amount=100)
    assert await catalogue.displayed_price(product["id"]) == 100
    body = await catalogue.product_body(category_id=product["category_id"], amount=200)

    async with redis_proxy() as (proxy, url):
        proxy.stall()
        dying = await build(catalogue.settings.model_copy(update={"redis_url": url}))
        async with http_client(dying.http) as http:
            path = f"/api/v1/products/{product['id']}"
            assert (await http.put(path, json=body, headers=catalogue.seller)).status_code == 200
        await asyncio.gather(*(close() for close in dying.closers))

    async def shows_the_change() -> bool:
        return await catalogue.displayed_price(product["id"]) == 200

    await eventually(shows_the_change, within=30)  # shorter than the lifetime of an entry


async def test_an_unavailable_redis_does_not_delay_events(catalogue: Catalogue) -> None:
    product = await catalogue.add_product()
    async with another_process(catalogue, redis_url="redis://127.0.0.1:1/0"):
        changes = [ProductChanged(product_id=product["id"]) for _ in range(20)]
        await catalogue.deliver_events(
            *changes, AvailabilityChanged(product_id=product["id"], is_available=True, revision=1)
        )

    assert (await read_statistics(catalogue, product))[0][1] is True
