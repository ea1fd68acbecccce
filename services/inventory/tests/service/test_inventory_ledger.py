"""Every unit on hand is accounted for, and others hear what they need to hear."""

import asyncio

import pytest
from chassis.types.ids import uuid7
from chassis_testing.broker import recorded_events
from inventory_harness import LOW_BELOW, PRODUCTS, SELLER, Inventory, Warehouse
from inventory_service.domain.errors import BelowReserved, TooMuchStock
from inventory_service.domain.stock import MAX_ON_HAND
from shopapi.events.v1.events_pb2 import AvailabilityChanged, StockLow
from sqlalchemy import exc, text


async def availability(warehouse: Warehouse, product: int) -> list[bool]:
    """What the shop was told, one after the other; each revision must be newer than the one before."""
    told = [news for news in await warehouse.sent(product) if isinstance(news, AvailabilityChanged)]
    revisions = [news.revision for news in told]
    assert revisions == sorted(set(revisions))
    return [news.is_available for news in told]


async def low(warehouse: Warehouse, product: int) -> list[StockLow]:
    return [news for news in await warehouse.sent(product) if isinstance(news, StockLow)]


async def falls(warehouse: Warehouse, product: int) -> list[int]:
    """What was available whenever the seller was told that stock is low."""
    return [news.available for news in await low(warehouse, product)]


async def test_each_change_of_what_is_on_hand_is_a_movement(warehouse: Warehouse) -> None:
    product = next(warehouse.products)

    await warehouse.set(product, 10)
    await warehouse.set(product, 10)
    await warehouse.adjust(product, 5)
    await warehouse.adjust(product, -7)
    await warehouse.set(product, 2)

    assert await warehouse.moves(product) == [("set", 10, 10), ("adjust", 5, 15), ("adjust", -7, 8), ("set", -6, 2)]


async def test_an_adjustment_takes_nothing_that_orders_hold(warehouse: Warehouse) -> None:
    product = next(warehouse.products)
    await warehouse.set(product, 5)
    await warehouse.reserve(uuid7(), (product, 3))

    with pytest.raises(BelowReserved, match="orders hold 3"):
        await warehouse.adjust(product, -3)
    await warehouse.adjust(product, -2)

    assert await warehouse.figures(product) == (3, 3)


async def test_stock_has_a_floor_and_a_ceiling(warehouse: Warehouse) -> None:
    product = next(warehouse.products)

    with pytest.raises(BelowReserved):
        await warehouse.adjust(product, -1)
    await warehouse.set(product, MAX_ON_HAND)
    with pytest.raises(TooMuchStock):
        await warehouse.adjust(product, 1)

    assert await warehouse.moves(product) == [("set", MAX_ON_HAND, MAX_ON_HAND)]


@pytest.mark.parametrize(
    "statement", ["UPDATE movements SET delta = delta + 1", "DELETE FROM movements", "TRUNCATE movements"]
)
async def test_the_ledger_cannot_be_rewritten(warehouse: Warehouse, statement: str) -> None:
    await warehouse.set(next(warehouse.products), 1)

    with pytest.raises(exc.DBAPIError, match="movements are never changed"):
        async with warehouse.database.begin() as transaction:
            await transaction.execute(text(statement))


async def test_the_shop_hears_when_the_last_unit_goes_and_when_one_is_back(warehouse: Warehouse) -> None:
    product, order = next(warehouse.products), uuid7()

    await warehouse.set(product, 0)
    assert await availability(warehouse, product) == []
    await warehouse.set(product, 2)
    await warehouse.reserve(uuid7(), (product, 1))
    assert await availability(warehouse, product) == [True]
    await warehouse.reserve(order, (product, 1))
    assert await availability(warehouse, product) == [True, False]
    await warehouse.confirmed(order, (product, 1))  # it leaves the shelf, which changes nothing of what can be had
    assert await availability(warehouse, product) == [True, False]
    await warehouse.cancelled(order)
    assert await availability(warehouse, product) == [True, False, True]


async def test_the_shop_hears_when_a_hold_lapses(warehouse: Warehouse) -> None:
    product = next(warehouse.products)
    await warehouse.set(product, 1)
    await warehouse.reserve(uuid7(), (product, 1))

    await warehouse.lapse()

    assert await availability(warehouse, product) == [True, False, True]


async def test_a_seller_hears_of_low_stock_once_per_fall(warehouse: Warehouse) -> None:
    product, order = next(warehouse.products), uuid7()
    await warehouse.set(product, LOW_BELOW + 1)
    assert await falls(warehouse, product) == []

    await warehouse.reserve(uuid7(), (product, 1))
    assert await falls(warehouse, product) == []  # at the threshold is not below it
    await warehouse.reserve(order, (product, 2))
    await warehouse.reserve(uuid7(), (product, 1))
    assert await falls(warehouse, product) == [LOW_BELOW - 2]

    await warehouse.cancelled(order)
    assert await falls(warehouse, product) == [LOW_BELOW - 2]  # nearly, but not at its threshold again
    await warehouse.adjust(product, 1)
    await warehouse.adjust(product, -1)
    assert await falls(warehouse, product) == [LOW_BELOW - 2, LOW_BELOW - 1]


async def test_a_seller_sets_the_threshold(warehouse: Warehouse) -> None:
    product = next(warehouse.products)

    await warehouse.set(product, 100, low_below=50)
    kept = await warehouse.set(product, 49)

    assert kept.low_stock_threshold == 50
    assert [(news.seller_id, news.available, news.threshold) for news in await low(warehouse, product)] == [
        (SELLER, 49, 50)
    ]


async def test_a_threshold_of_nought_is_never_fallen_below(warehouse: Warehouse) -> None:
    product = next(warehouse.products)
    await warehouse.set(product, 100, low_below=0)

    await warehouse.set(product, 0)

    assert await falls(warehouse, product) == []


async def test_nobody_is_told_of_low_stock_whose_seller_is_not_known(warehouse: Warehouse) -> None:
    product = next(warehouse.products)
    async with warehouse.database.begin() as transaction:  # as the release before left it
        await transaction.execute(text("INSERT INTO stock (product_id, on_hand) VALUES (:p, 9)"), {"p": product})

    await warehouse.reserve(uuid7(), (product, 8))
    assert await falls(warehouse, product) == []

    await warehouse.set(product, 20)
    await warehouse.reserve(uuid7(), (product, 10))
    assert await falls(warehouse, product) == [2]


async def test_what_the_release_before_counts_is_in_the_ledger_too(warehouse: Warehouse) -> None:
    product = next(warehouse.products)
    async with warehouse.database.begin() as transaction:
        await transaction.execute(text("INSERT INTO stock (product_id, on_hand) VALUES (:p, 0)"), {"p": product})
        await transaction.execute(text("UPDATE stock SET on_hand = 5 WHERE product_id = :p"), {"p": product})
    async with warehouse.database.begin() as transaction:
        await transaction.execute(text("UPDATE stock SET on_hand = 3 WHERE product_id = :p"), {"p": product})

    assert await warehouse.moves(product) == [("set", 5, 5), ("set", -2, 3)]
    assert await availability(warehouse, product) == []

    await warehouse.stock.announce()
    await warehouse.stock.announce()

    assert await availability(warehouse, product) == [True]


async def test_events_reach_the_broker(inventory: Inventory) -> None:
    product = next(PRODUCTS)
    async with recorded_events(inventory.broker_url, "product") as next_event:
        await inventory.count(product, 1)

        event = await next_event()
        while event.subject != str(product):
            event = await next_event()

    assert event.type.name == "stock.availability_changed.v1"
    assert (event.payload.product_id, event.payload.is_available) == (product, True)  # type: ignore[attr-defined]


async def test_a_seller_reads_the_history_newest_first(inventory: Inventory) -> None:
    product = next(PRODUCTS)
    await inventory.count(product, 4)
    made = await inventory.adjust(product, -1, reason="  damaged ")

    pages = [await inventory.history(product, page=page, limit=1) for page in (1, 2, 3)]

    assert [page["total"] for page in pages] == [2, 2, 2]
    assert [[moved["kind"] for moved in page["data"]] for page in pages] == [["adjust"], ["set"], []]
    newest = pages[0]["data"][0]
    assert newest == made
    assert newest == {
        "id": made["id"],
        "product_id": product,
        "kind": "adjust",
        "delta": -1,
        "on_hand": 3,
        "actor_id": SELLER,
        "order_id": None,
        "reason": "damaged",
        "at": made["at"],
    }


async def test_one_key_adjusts_once_however_often_it_is_sent(inventory: Inventory) -> None:
    product, key = next(PRODUCTS), str(uuid7())
    await inventory.count(product, 10)

    made = await asyncio.gather(*(inventory.adjust(product, 5, key=key) for _ in range(20)))
    other = await inventory.post_adjustment(product, {"delta": 6, "reason": "found"}, key=key)

    assert [adjustment == made[0] for adjustment in made] == [True] * 20
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (await inventory.stock(product))["on_hand"] == 15


async def test_a_refused_adjustment_does_not_use_up_its_key(inventory: Inventory) -> None:
    product, key = next(PRODUCTS), str(uuid7())
    await inventory.count(product, 1)
    body = {"delta": -2, "reason": "broken"}

    refused = await inventory.post_adjustment(product, body, key=key)
    await inventory.count(product, 2)
    made = await inventory.post_adjustment(product, body, key=key)

    assert (refused.status_code, refused.json()["code"]) == (409, "below_reserved")
    assert (made.status_code, made.json()["data"]["on_hand"]) == (201, 0)
