"""Where an order's stock ends depends only on what happened to the order: not on the order of its events, nor on how often each came."""

import itertools
import random
from collections.abc import Sequence
from uuid import UUID

import pytest
from chassis.types.ids import uuid7
from inventory_harness import Warehouse

ON_HAND, WANTED = 10, 3
BEGINNINGS = ["nothing", "held", "lapsed", "released"]
EVENTS = ["placed", "confirmed", "cancelled"]
SEQUENCES = [
    sequence for length in (1, 2, 3) for sequence in itertools.product(EVENTS, repeat=length)
]  # each order of every set, with replays


def the_end(happened: set[str]) -> tuple[str, int, int]:
    """Status, on hand and reserved."""
    if "cancelled" in happened:
        return "released", ON_HAND, 0
    if "confirmed" in happened:
        return "committed", ON_HAND - WANTED, 0
    return "pending", ON_HAND, WANTED


async def begin(warehouse: Warehouse, beginning: str, order: UUID, line: tuple[int, int]) -> None:
    if beginning != "nothing":
        await warehouse.reserve(order, line)
    if beginning == "lapsed":
        await warehouse.lapse()
    if beginning == "released":
        await warehouse.release(order)


async def happen(warehouse: Warehouse, what: str, order: UUID, line: tuple[int, int]) -> None:
    match what:
        case "placed":
            await warehouse.placed(order, line)
        case "confirmed":
            await warehouse.confirmed(order, line)
        case "cancelled":
            await warehouse.cancelled(order)
        case "reserve":
            await warehouse.reserve(order, line)
        case "lapse":
            await warehouse.lapse()


async def ended(warehouse: Warehouse, order: UUID, product: int) -> tuple[str | None, int, int]:
    return await warehouse.status(order), *await warehouse.figures(product)


@pytest.mark.parametrize("beginning", BEGINNINGS)
async def test_events_in_any_order_and_repeated_end_in_the_same_books(warehouse: Warehouse, beginning: str) -> None:
    for sequence in SEQUENCES:
        order, product = uuid7(), next(warehouse.products)
        await warehouse.set(product, ON_HAND)
        await begin(warehouse, beginning, order, (product, WANTED))

        for event in sequence:
            await happen(warehouse, event, order, (product, WANTED))

        assert await ended(warehouse, order, product) == the_end(set(sequence)), sequence
        assert await warehouse.counted(order) == {}, sequence


@pytest.mark.parametrize("seed", range(20))
async def test_late_calls_and_lapsed_holds_in_between_change_nothing(warehouse: Warehouse, seed: int) -> None:
    chance = random.Random(seed)
    orders: dict[UUID, tuple[int, Sequence[str]]] = {}
    for _ in range(5):
        product = next(warehouse.products)
        await warehouse.set(product, ON_HAND)
        # what placed holds has a time: it must come after the last lapse, as an order's own expiry does
        mixed = [chance.choice([*EVENTS, "reserve", "lapse"]) for _ in range(8)]
        orders[uuid7()] = product, [*mixed, chance.choice(EVENTS)]

    for order, (product, sequence) in orders.items():
        for what in sequence:
            await happen(warehouse, what, order, (product, WANTED))
        assert await ended(warehouse, order, product) == the_end(set(sequence)), sequence


async def test_a_cancelled_order_never_holds_stock_again(warehouse: Warehouse) -> None:
    order, product = uuid7(), next(warehouse.products)
    await warehouse.set(product, 1)

    await warehouse.cancelled(order)
    await warehouse.reserve(order, (product, 1))
    await warehouse.placed(order, (product, 1))
    await warehouse.confirmed(order, (product, 1))

    assert await ended(warehouse, order, product) == ("released", 1, 0)


async def test_the_same_delivery_twice_takes_effect_once(warehouse: Warehouse) -> None:
    order, product, event = uuid7(), next(warehouse.products), uuid7()
    await warehouse.set(product, 10)
    await warehouse.reserve(order, (product, 3))

    await warehouse.confirmed(order, (product, 3), event_id=event)
    await warehouse.confirmed(order, (product, 3), event_id=event)

    assert await warehouse.figures(product) == (7, 0)
    assert await warehouse.moves(product) == [("set", 10, 10), ("sale", -3, 7)]


async def test_a_sale_and_its_return_are_both_in_the_ledger(warehouse: Warehouse) -> None:
    order, product, other = uuid7(), next(warehouse.products), next(warehouse.products)
    await warehouse.set(product, 10)
    await warehouse.set(other, 1)
    await warehouse.reserve(order, (product, 3), (other, 1))

    await warehouse.confirmed(order, (product, 3), (other, 1))
    await warehouse.cancelled(order)

    assert await warehouse.moves(product) == [("set", 10, 10), ("sale", -3, 7), ("return", 3, 10)]
    assert await warehouse.moves(other) == [("set", 1, 1), ("sale", -1, 0), ("return", 1, 1)]


async def test_a_hold_that_lapsed_and_was_not_yet_swept_is_still_the_order_s(warehouse: Warehouse) -> None:
    order, product = uuid7(), next(warehouse.products)
    await warehouse.set(product, 1)
    await warehouse.reserve(order, (product, 1), seconds=-1)

    await warehouse.confirmed(order, (product, 1))

    assert await ended(warehouse, order, product) == ("committed", 0, 0)


async def test_a_paid_order_whose_hold_lapsed_takes_its_stock_all_the_same(warehouse: Warehouse) -> None:
    order, product = uuid7(), next(warehouse.products)
    await warehouse.set(product, 1)
    await warehouse.reserve(order, (product, 1))
    await warehouse.lapse()

    await warehouse.confirmed(order, (product, 1))

    assert await ended(warehouse, order, product) == ("committed", 0, 0)
    assert await warehouse.counted(order) == {}


@pytest.mark.parametrize("beginning", ["nothing", "lapsed"])
async def test_a_paid_order_whose_stock_is_gone_is_rejected_whole(warehouse: Warehouse, beginning: str) -> None:
    order, faster, gone, left = uuid7(), uuid7(), next(warehouse.products), next(warehouse.products)
    await warehouse.set(gone, 1)
    await warehouse.set(left, 1)
    if beginning == "lapsed":
        await warehouse.reserve(order, (gone, 1), (left, 1))
        await warehouse.lapse()
    await warehouse.reserve(faster, (gone, 1))

    await warehouse.confirmed(order, (gone, 1), (left, 1))

    assert await warehouse.counted(order) == {"ReservationRejected": 1}
    assert await warehouse.figures(left) == (1, 0)
    assert await ended(warehouse, order, gone) == ("expired", 1, 1)

    await warehouse.cancelled(order)
    assert await ended(warehouse, order, gone) == ("released", 1, 1)


async def test_one_sweep_of_many_holds_gives_back_them_all(warehouse: Warehouse) -> None:
    first, second = next(warehouse.products), next(warehouse.products)
    await warehouse.set(first, 300)
    await warehouse.set(second, 300)
    for _ in range(125):  # more than one batch
        await warehouse.reserve(uuid7(), (second, 1), (first, 2))

    await warehouse.lapse()

    assert await warehouse.figures(first) == (300, 0)
    assert await warehouse.figures(second) == (300, 0)
