"""What other services tell changes lists once and for good, in whatever order and however often it is delivered."""

import asyncio
import random
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
from product_harness import OTHER_SELLER, Shop, another, redis_line
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


async def figures(shop: Shop, *products: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await shop.rows(
        "SELECT id, in_stock, stock_revision, rating_stars, rating_count, rating_revision, orders_count FROM products"
        " WHERE id = ANY($1) ORDER BY id",
        [product["id"] for product in products],
    )


async def together(shop: Shop, *products: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await shop.rows(
        "SELECT product_id, other_id, orders_count FROM co_purchases WHERE product_id = ANY($1) ORDER BY 1, 2",
        [product["id"] for product in products],
    )


async def test_a_product_is_in_stock_once_inventory_says_so(shop: Shop) -> None:
    product = await shop.product()
    category = product["category_id"]
    assert (await shop.listed(category=category))["data"][0]["in_stock"] is False

    await shop.hear(AvailabilityChanged(product_id=product["id"], is_available=True, revision=1))
    assert await shop.names(category=category, in_stock="true") == [product["name"]]
    assert await shop.names(category=category, in_stock="false") == []

    await shop.hear(AvailabilityChanged(product_id=product["id"], is_available=False, revision=2))
    assert await shop.names(category=category, in_stock="true") == []


async def test_a_rating_is_shown_and_sorted_by(shop: Shop) -> None:
    category = await shop.category()
    good, better = [await shop.product(category_id=category, name=name) for name in ("Good", "Better")]
    await shop.product(category_id=category, name="Unrated")

    await shop.hear(
        RatingChanged(product_id=good["id"], stars=8, count=2, revision=1),
        RatingChanged(product_id=better["id"], stars=9, count=2, revision=7),
    )

    assert await shop.names(category=category, sort="rating") == ["Better", "Good", "Unrated"]
    assert await shop.names(category=category, min_rating=4.5) == ["Better"]
    assert await shop.names(category=category, min_rating=4) == ["Better", "Good"]
    (first, *_) = (await shop.listed(category=category, sort="rating"))["data"]
    assert first["rating"] == {"average": 4.5, "count": 2}

    await shop.hear(RatingChanged(product_id=better["id"], stars=0, count=0, revision=8))
    assert await shop.names(category=category, min_rating=1) == ["Good"]


@pytest.mark.parametrize("seed", range(5))
async def test_events_shuffled_and_replayed_change_nothing(shop: Shop, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    first, second, third = products = [await shop.product() for _ in range(3)]
    told: list[Message] = [
        *(AvailabilityChanged(product_id=first["id"], is_available=n % 2 == 0, revision=n) for n in range(1, 6)),
        *(RatingChanged(product_id=second["id"], stars=3 * n, count=n, revision=n) for n in range(5)),
        confirmed(first["id"], second["id"]),
        confirmed(first["id"], second["id"], third["id"], first["id"]),
        confirmed(third["id"], 2**62),
        confirmed(2**62 + 1),
        confirmed(),
        *(ProductChanged(product_id=product["id"]) for product in products),
    ]

    chance.shuffle(told)
    await shop.hear(*told, times=2)

    one, two, three = first["id"], second["id"], third["id"]
    assert await figures(shop, *products) == [
        (one, False, 5, 0, 0, -1, 2),
        (two, False, -1, 12, 4, 4, 2),
        (three, False, -1, 0, 0, -1, 2),
    ]
    assert await together(shop, *products) == [
        (one, two, 2), (one, three, 1), (two, one, 2), (two, three, 1), (three, one, 1), (three, two, 1),
    ]  # fmt: skip


async def test_news_of_a_deleted_or_unknown_product_is_taken_and_changes_no_list(shop: Shop) -> None:
    product = await shop.product()
    await shop.http.delete(f"/api/v1/products/{product['id']}", headers=shop.seller)

    for product_id in (product["id"], 2**62):
        await shop.hear(
            AvailabilityChanged(product_id=product_id, is_available=True, revision=9),
            RatingChanged(product_id=product_id, stars=5, count=1, revision=9),
            confirmed(product_id),
            ProductChanged(product_id=product_id),
        )

    assert await shop.names(category=product["category_id"]) == []


async def are_waiting(shop: Shop, at_least: int) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ((waiting,),) = await shop.rows(query)
    return bool(waiting >= at_least)


def delivery_failures() -> float:
    return REGISTRY.get_sample_value("broker_delivery_failures_total", {"type": "order.confirmed.v1"}) or 0.0


async def test_orders_that_are_confirmed_at_once_are_all_counted(shop: Shop) -> None:
    products = [await shop.product() for _ in range(4)]
    ids = [product["id"] for product in products]

    failed = delivery_failures()

    for _ in range(3):
        async with shop.connection() as outsider, asyncio.TaskGroup() as hearing, outsider.transaction():
            # the outsider holds all rows up, so that as many as can be begin together
            await outsider.execute("SELECT FROM products WHERE id = ANY($1) FOR UPDATE", ids)
            hearing.create_task(shop.hear(*(confirmed(*ids) for _ in range(20))))
            await eventually(lambda: are_waiting(shop, at_least=6))

    assert delivery_failures() == failed, "two of them waited for each other"
    assert {row[-1] for row in await figures(shop, *products)} == {60}
    assert {row[-1] for row in await together(shop, *products)} == {60}


async def test_lists_are_sorted_by_how_many_orders_there_were_not_how_many_units(shop: Shop) -> None:
    category = await shop.category()
    often, much = [await shop.product(category_id=category, name=name) for name in ("Often", "Much")]
    bulk = OrderConfirmed(order_id=str(uuid7()), lines=[OrderLine(product_id=much["id"], quantity=1_000_000)])

    await shop.hear(confirmed(often["id"]), confirmed(often["id"]), bulk)

    assert await shop.names(category=category, sort="popular") == ["Often", "Much"]


async def test_the_products_of_an_erased_seller_are_sold_no_more(shop: Shop) -> None:
    category = await shop.category()
    leaver = shop.issuer.bearer(41, Role.SELLER)
    for number in range(3):
        body = await shop.body(category_id=category, name=f"Left {number}")
        assert (await shop.http.post("/api/v1/products", json=body, headers=leaver)).status_code == 201
    kept = await shop.product(category_id=category, name="Kept")
    left = [product["id"] for product in (await shop.listed(category=category, seller_id=41))["data"]]
    await shop.details(left[0])

    async with listening(shop) as heard:
        await shop.hear(UserErased(user_id=41), UserErased(user_id=OTHER_SELLER + 1000), times=2)

        async def are_gone() -> bool:
            return await shop.names(category=category) == [kept["name"]]

        await eventually(are_gone)
        await shop.settled()
        assert sorted(heard) == sorted(left)

    answers = [await shop.http.get(f"/api/v1/products/{product_id}") for product_id in left]
    assert {answer.status_code for answer in answers} == {404}
    assert not (await shop.rpc.GetPrices(GetPricesRequest(product_ids=left))).products


async def test_what_an_erased_seller_adds_with_a_token_that_still_lives_is_not_sold_either(shop: Shop) -> None:
    await shop.hear(UserErased(user_id=42))
    body = await shop.body()

    await shop.http.post("/api/v1/products", json=body, headers=shop.issuer.bearer(42, Role.SELLER))

    async def is_gone() -> bool:
        return await shop.names(category=body["category_id"]) == []

    await eventually(is_gone)


async def test_no_words_of_an_erased_seller_are_left_in_the_catalogue(shop: Shop) -> None:
    leaver, said = (
        shop.issuer.bearer(43, Role.SELLER),
        {"images": ["https://example.com/me.jpg"], "options": {"by": "me"}},
    )
    kept = await shop.product(**said)
    bodies = [await shop.body(name=f"Anna {number}", description="by Anna", **said) for number in range(2)]
    added = [await shop.http.post("/api/v1/products", json=body, headers=leaver) for body in bodies]
    sold, gone = [answer.json()["data"]["id"] for answer in added]
    await shop.http.delete(f"/api/v1/products/{gone}", headers=leaver)
    await shop.http.delete(f"/api/v1/products/{kept['id']}", headers=shop.seller)
    await shop.settled()

    async def words(*product_ids: int) -> list[tuple[Any, ...]]:
        query = "SELECT name, description, images, options::text, search::text FROM products WHERE id = ANY($1)"
        return await shop.rows(query, product_ids)

    async def none_are_left() -> bool:
        return await words(sold, gone) == [("", "", [], "{}", "")] * 2

    async with listening(shop) as heard:
        await shop.hear(UserErased(user_id=43))
        await eventually(none_are_left)
        await shop.settled()
        assert heard == [sold]
    assert [name for name, *_ in await words(kept["id"])] == [kept["name"]]

    async def is_not_meant() -> bool:
        return await shop.rows("SELECT FROM search_words WHERE word = 'anna'") == []

    async with another(shop, words_sweep_seconds=0.05):
        await eventually(is_not_meant)


class listening:  # noqa: N801 - read as a verb
    """The product ids of every product.changed that is sent meanwhile, as anybody else would hear them."""

    def __init__(self, shop: Shop) -> None:
        self._url = shop.settings.rabbitmq_url
        self._heard: list[int] = []

    async def __aenter__(self) -> list[int]:
        self._connection = await aio_pika.connect(self._url)
        channel = await self._connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(load_topology().exchange, "product.changed.v1")
        await queue.consume(self._hear, no_ack=True)
        return self._heard

    async def _hear(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        payload = events.decode(message.body).payload
        assert isinstance(payload, ProductChanged)
        assert payload.changed_at.seconds > 0
        self._heard.append(payload.product_id)

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()


async def test_every_change_of_a_product_is_told_once(shop: Shop) -> None:
    async with listening(shop) as heard:
        product = await shop.product()
        path = f"/api/v1/products/{product['id']}"
        await shop.revise(product, amount=5)
        await shop.settled()
        assert heard == [product["id"]] * 2

        body = await shop.body(category_id=product["category_id"], group_id=product["id"], options={"size": "M"})
        variant = (await shop.http.post("/api/v1/products", json=body, headers=shop.seller)).json()["data"]
        await shop.settled()
        assert sorted(heard[2:]) == [product["id"], variant["id"]]

        await shop.http.delete(path, headers=shop.seller)
        await shop.settled()
        assert heard[4:] == [product["id"]]


async def test_a_refused_change_is_not_told(shop: Shop) -> None:
    product = await shop.product()
    path, other = f"/api/v1/products/{product['id']}", shop.issuer.bearer(OTHER_SELLER, Role.SELLER)

    async with listening(shop) as heard:
        await shop.http.delete(path, headers=other)
        await shop.http.put(path, json=await shop.body(category_id=987654321), headers=shop.seller)
        await shop.http.put(path, json=await shop.body(group_id=987654321), headers=shop.seller)
        await shop.settled()
        assert heard == []


async def test_a_process_that_dies_before_it_tells_the_cache_leaves_nothing_old_behind(shop: Shop) -> None:
    """The commit is all that it does: its line to Redis hangs, its relay never runs, and then it is gone."""
    product = await shop.product(amount=100)
    assert await shop.shown_price(product["id"]) == 100
    body = await shop.body(category_id=product["category_id"], amount=200)

    async with redis_line() as (line, url):
        line.hang()
        dying = await build(shop.settings.model_copy(update={"redis_url": url}))
        async with http_client(dying.http) as http:
            path = f"/api/v1/products/{product['id']}"
            assert (await http.put(path, json=body, headers=shop.seller)).status_code == 200
        await asyncio.gather(*(close() for close in dying.closers))

    async def shows_the_change() -> bool:
        return await shop.shown_price(product["id"]) == 200

    await eventually(shows_the_change, within=30)  # an entry would last for a minute


async def test_a_redis_that_is_away_holds_up_no_events(shop: Shop) -> None:
    product = await shop.product()
    async with another(shop, redis_url="redis://127.0.0.1:1/0"):
        news = [ProductChanged(product_id=product["id"]) for _ in range(20)]
        await shop.hear(*news, AvailabilityChanged(product_id=product["id"], is_available=True, revision=1))

    assert (await figures(shop, product))[0][1] is True
