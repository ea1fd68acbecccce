"""The ledger accounts for every unit on hand, and events tell other services what changed."""

import asyncio
import csv
import io

import asyncpg
import pytest
from chassis.types.ids import ProductId, uuid7
from chassis_testing.broker import recorded_events
from chassis_testing.databases import connect_to, migrated_database
from chassis_testing.query_plans import assert_page_reads_its_own_rows
from inventory_harness import DEFAULT_THRESHOLD, SELLER, Inventory, UseCases, new_product, open_use_cases
from inventory_service.domain.errors import BelowReserved, TooMuchStock
from inventory_service.domain.movements import MovementPosition
from inventory_service.domain.stock import MAX_ON_HAND
from inventory_service.repository.stock import StockRepository
from shopapi.events.v1.events_pb2 import AvailabilityChanged, StockLow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def availability(use_cases: UseCases, product: int) -> list[bool]:
    """Returns the published availability in order. Each revision must be newer than the one before."""
    events = [event for event in await use_cases.outbox_events(product) if isinstance(event, AvailabilityChanged)]
    revisions = [event.revision for event in events]
    assert revisions == sorted(set(revisions))
    return [event.is_available for event in events]


async def stock_low_events(use_cases: UseCases, product: int) -> list[StockLow]:
    return [event for event in await use_cases.outbox_events(product) if isinstance(event, StockLow)]


async def low_availabilities(use_cases: UseCases, product: int) -> list[int]:
    """Returns the available units in each low-stock event."""
    return [event.available for event in await stock_low_events(use_cases, product)]


async def test_each_change_of_stock_on_hand_is_a_movement(use_cases: UseCases) -> None:
    product = use_cases.new_product()

    await use_cases.set_stock(product, 10)
    await use_cases.set_stock(product, 10)
    await use_cases.adjust(product, 5)
    await use_cases.adjust(product, -7)
    await use_cases.set_stock(product, 2)

    assert await use_cases.movements(product) == [("set", 10, 10), ("adjust", 5, 15), ("adjust", -7, 8), ("set", -6, 2)]


async def test_an_adjustment_cannot_take_reserved_units(use_cases: UseCases) -> None:
    product = use_cases.new_product()
    await use_cases.set_stock(product, 5)
    await use_cases.reserve(uuid7(), (product, 3))

    with pytest.raises(BelowReserved, match="orders hold 3"):
        await use_cases.adjust(product, -3)
    await use_cases.adjust(product, -2)

    assert await use_cases.units(product) == (3, 3, 0)


async def test_stock_has_a_minimum_and_a_maximum(use_cases: UseCases) -> None:
    product = use_cases.new_product()

    with pytest.raises(BelowReserved):
        await use_cases.adjust(product, -1)
    await use_cases.set_stock(product, MAX_ON_HAND)
    with pytest.raises(TooMuchStock):
        await use_cases.adjust(product, 1)

    assert await use_cases.movements(product) == [("set", MAX_ON_HAND, MAX_ON_HAND)]


@pytest.mark.parametrize(
    "statement", ["UPDATE movements SET delta = delta + 1", "DELETE FROM movements", "TRUNCATE movements"]
)
async def test_the_ledger_cannot_be_rewritten(statement: str) -> None:
    """Not even the owner of the table can, who has every privilege."""
    async with (
        migrated_database("inventory_service") as settings,
        open_use_cases(settings) as use_cases,
        connect_to(settings) as owner,
    ):
        await use_cases.set_stock(use_cases.new_product(), 1)

        with pytest.raises(asyncpg.PostgresError, match="movements are never changed"):
            await owner.execute(statement)


async def test_availability_is_published_when_the_last_unit_goes_and_when_one_returns(use_cases: UseCases) -> None:
    product, order = use_cases.new_product(), uuid7()

    await use_cases.set_stock(product, 0)
    assert await availability(use_cases, product) == []
    await use_cases.set_stock(product, 2)
    await use_cases.reserve(uuid7(), (product, 1))
    assert await availability(use_cases, product) == [True]
    await use_cases.reserve(order, (product, 1))
    assert await availability(use_cases, product) == [True, False]
    await use_cases.receive_confirmed(order, (product, 1))  # committed, as unavailable as before
    assert await availability(use_cases, product) == [True, False]
    await use_cases.receive_cancelled(order)
    assert await availability(use_cases, product) == [True, False, True]


async def test_availability_is_published_when_a_reservation_expires(use_cases: UseCases) -> None:
    product = use_cases.new_product()
    await use_cases.set_stock(product, 1)
    await use_cases.reserve(uuid7(), (product, 1))

    await use_cases.expire_reservations()

    assert await availability(use_cases, product) == [True, False, True]


async def test_low_stock_is_published_once_per_fall_below_the_threshold(use_cases: UseCases) -> None:
    product, order = use_cases.new_product(), uuid7()
    await use_cases.set_stock(product, DEFAULT_THRESHOLD + 1)
    assert await low_availabilities(use_cases, product) == []

    await use_cases.reserve(uuid7(), (product, 1))
    assert await low_availabilities(use_cases, product) == []  # stock at its threshold is not low
    await use_cases.reserve(order, (product, 2))
    await use_cases.reserve(uuid7(), (product, 1))
    assert await low_availabilities(use_cases, product) == [DEFAULT_THRESHOLD - 2]

    await use_cases.receive_cancelled(order)
    assert await low_availabilities(use_cases, product) == [DEFAULT_THRESHOLD - 2]  # one below the threshold still
    await use_cases.adjust(product, 1)
    await use_cases.adjust(product, -1)
    assert await low_availabilities(use_cases, product) == [DEFAULT_THRESHOLD - 2, DEFAULT_THRESHOLD - 1]


async def test_a_seller_sets_the_low_stock_threshold(use_cases: UseCases) -> None:
    product = use_cases.new_product()

    await use_cases.set_stock(product, 100, threshold=50)
    stock = await use_cases.set_stock(product, 49)

    assert stock.low_stock_threshold == 50
    assert [
        (event.seller_id, event.available, event.threshold) for event in await stock_low_events(use_cases, product)
    ] == [(SELLER, 49, 50)]


async def test_stock_with_a_threshold_of_zero_is_never_low(use_cases: UseCases) -> None:
    product = use_cases.new_product()
    await use_cases.set_stock(product, 100, threshold=0)

    await use_cases.set_stock(product, 0)

    assert await low_availabilities(use_cases, product) == []


async def test_low_stock_of_an_unknown_seller_is_not_published(use_cases: UseCases) -> None:
    product = use_cases.new_product()
    async with use_cases.database.begin() as transaction:  # as the previous release left it
        await transaction.execute(text("INSERT INTO stock (product_id, on_hand) VALUES (:p, 9)"), {"p": product})

    await use_cases.reserve(uuid7(), (product, 8))
    assert await low_availabilities(use_cases, product) == []

    await use_cases.set_stock(product, 20)
    await use_cases.reserve(uuid7(), (product, 10))
    assert await low_availabilities(use_cases, product) == [2]


async def test_stock_set_by_the_previous_release_is_in_the_ledger(use_cases: UseCases) -> None:
    product = use_cases.new_product()
    async with use_cases.database.begin() as transaction:
        await transaction.execute(text("INSERT INTO stock (product_id, on_hand) VALUES (:p, 0)"), {"p": product})
        await transaction.execute(text("UPDATE stock SET on_hand = 5 WHERE product_id = :p"), {"p": product})
    async with use_cases.database.begin() as transaction:
        await transaction.execute(text("UPDATE stock SET on_hand = 3 WHERE product_id = :p"), {"p": product})

    assert await use_cases.movements(product) == [("set", 5, 5), ("set", -2, 3)]
    assert await availability(use_cases, product) == []

    await use_cases.stock.publish_missing_availability()
    await use_cases.stock.publish_missing_availability()

    assert await availability(use_cases, product) == [True]


async def test_events_reach_the_broker(inventory: Inventory) -> None:
    product = new_product()
    async with recorded_events(inventory.broker_url, "product") as next_event:
        await inventory.set_stock(product, 1)

        event = await next_event()
        while event.subject != str(product):
            event = await next_event()

    assert event.type.name == "stock.availability_changed.v1"
    assert (event.payload.product_id, event.payload.is_available) == (product, True)  # type: ignore[attr-defined]


async def test_a_seller_reads_the_history_newest_first(inventory: Inventory) -> None:
    product = new_product()
    await inventory.set_stock(product, 4)
    adjustment = await inventory.adjust(product, -1, reason="  damaged ")

    pages = [await inventory.history(product, page=page, limit=1) for page in (1, 2, 3)]

    assert [page["total"] for page in pages] == [2, 2, 2]
    assert [[movement["kind"] for movement in page["data"]] for page in pages] == [["adjust"], ["set"], []]
    newest = pages[0]["data"][0]
    assert newest == adjustment
    assert newest == {
        "id": adjustment["id"],
        "product_id": product,
        "kind": "adjust",
        "delta": -1,
        "on_hand": 3,
        "actor_id": SELLER,
        "order_id": None,
        "reason": "damaged",
        "at": adjustment["at"],
    }


async def test_requests_with_one_key_adjust_once(inventory: Inventory) -> None:
    product, key = new_product(), str(uuid7())
    await inventory.set_stock(product, 10)

    adjustments = await asyncio.gather(*(inventory.adjust(product, 5, key=key) for _ in range(20)))
    other = await inventory.post_adjustment(product, {"delta": 6, "reason": "found"}, key=key)

    assert [adjustment == adjustments[0] for adjustment in adjustments] == [True] * 20
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (await inventory.stock(product))["on_hand"] == 15


async def test_a_refused_adjustment_does_not_use_up_its_key(inventory: Inventory) -> None:
    product, key = new_product(), str(uuid7())
    await inventory.set_stock(product, 1)
    body = {"delta": -2, "reason": "broken"}

    refused = await inventory.post_adjustment(product, body, key=key)
    await inventory.set_stock(product, 2)
    accepted = await inventory.post_adjustment(product, body, key=key)

    assert (refused.status_code, refused.json()["code"]) == (409, "below_reserved")
    assert (accepted.status_code, accepted.json()["data"]["on_hand"]) == (201, 0)


async def test_stock_and_its_history_are_read_as_csv(inventory: Inventory) -> None:
    product = new_product()
    await inventory.set_stock(product, 4)
    adjustment = await inventory.adjust(product, -1, reason="=1+1")
    headers = inventory.seller | {"Accept": "text/csv"}

    stock, history = [
        list(csv.DictReader(io.StringIO((await inventory.http.get(path, headers=headers)).text, newline="")))
        for path in (f"/api/v1/inventory/{product}", f"/api/v1/inventory/{product}/history?limit=1")
    ]

    assert [(row["product_id"], row["available"]) for row in stock] == [(str(product), "3")]
    assert [(row["id"], row["delta"], row["reason"]) for row in history] == [(str(adjustment["id"]), "-1", "'=1+1")]


async def test_a_history_is_followed_to_its_end_by_cursor(inventory: Inventory) -> None:
    product = new_product()
    made = [(await inventory.adjust(product, delta))["id"] for delta in (1, 2, 3, 4, 5)]
    seen: list[int] = []
    page = await inventory.history(product, limit=2)
    while True:
        seen += [movement["id"] for movement in page["data"]]
        await inventory.adjust(product, 1)  # moves pages by number, and no page by cursor
        assert page["total"] == 5
        if page["next"] is None:
            break
        page = await inventory.history(product, limit=2, cursor=page["next"])

    assert seen == made[::-1]


async def test_a_page_of_a_history_by_cursor_reads_its_own_rows_alone(inventory: Inventory) -> None:
    async def read(transaction: AsyncConnection) -> None:
        await StockRepository(transaction, 0).history(ProductId(1), 0, 10, MovementPosition(7))

    await assert_page_reads_its_own_rows(inventory.database, read, "movements_by_product")
