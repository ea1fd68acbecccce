"""Whatever is done at once, nothing is sold that is not there, and the books agree. Each race is run twenty times, seeds in the names."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from chassis.types.ids import uuid7
from inventory_harness import Warehouse
from inventory_service.domain.errors import InventoryError, OutOfStock

SEEDS = range(20)


async def at_once(chance: random.Random, *doing: Awaitable[Any]) -> list[Exception]:
    """Everything at the same time, started in any order; gives what was refused."""
    shuffled = list(doing)
    chance.shuffle(shuffled)
    outcomes = await asyncio.gather(*shuffled, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    for unforeseen in (error for error in refused if not isinstance(error, InventoryError)):
        raise unforeseen
    return refused


@pytest.mark.parametrize("seed", SEEDS)
async def test_five_of_twenty_buyers_get_the_five_there_are(warehouse: Warehouse, seed: int) -> None:
    product, orders = next(warehouse.products), [uuid7() for _ in range(20)]
    await warehouse.set(product, 5)

    refused = await at_once(random.Random(seed), *(warehouse.reserve(order, (product, 1)) for order in orders))

    assert [type(error) for error in refused] == [OutOfStock] * 15
    assert await warehouse.figures(product) == (5, 5)
    statuses = [await warehouse.status(order) for order in orders]
    assert statuses.count("pending") == 5


@pytest.mark.parametrize("seed", SEEDS)
async def test_five_of_twenty_paid_orders_without_a_hold_get_the_five_there_are(
    warehouse: Warehouse, seed: int
) -> None:
    product, orders = next(warehouse.products), [uuid7() for _ in range(20)]
    await warehouse.set(product, 5)

    await at_once(random.Random(seed), *(warehouse.confirmed(order, (product, 1)) for order in orders))

    assert await warehouse.figures(product) == (0, 0)
    assert await warehouse.counted(*orders) == {"ReservationRejected": 15}


@pytest.mark.parametrize("seed", SEEDS)
async def test_an_order_s_events_at_once_end_as_one_by_one(warehouse: Warehouse, seed: int) -> None:
    chance, product, order = random.Random(seed), next(warehouse.products), uuid7()
    await warehouse.set(product, 10)
    if chance.random() < 0.5:
        await warehouse.reserve(order, (product, 3), seconds=chance.choice([-1, 60]))
    cancelled = chance.random() < 0.5

    await at_once(
        chance,
        *(warehouse.confirmed(order, (product, 3)) for _ in range(4)),
        *(warehouse.placed(order, (product, 3)) for _ in range(4)),
        *(warehouse.cancelled(order) for _ in range(4) if cancelled),
        warehouse.reservations.expire(),
        warehouse.reserve(order, (product, 3)),
    )

    assert await warehouse.status(order) == ("released" if cancelled else "committed")
    assert await warehouse.figures(product) == ((10, 0) if cancelled else (7, 0))


@pytest.mark.parametrize("seed", SEEDS)
async def test_adjustments_counts_orders_and_sweeps_at_once_keep_the_books(warehouse: Warehouse, seed: int) -> None:
    """The fixture looks at every invariant afterwards; here the sum of what was done is compared as well."""
    chance = random.Random(seed)
    products = [next(warehouse.products) for _ in range(3)]
    for product in products:
        await warehouse.set(product, 20)
    held = [(uuid7(), basket(chance, products)) for _ in range(6)]
    await at_once(chance, *(warehouse.reserve(order, *lines) for order, lines in held))

    await at_once(chance, *(an_action(warehouse, chance, products, held)() for _ in range(40)))

    for product in products:
        on_hand, reserved = await warehouse.figures(product)
        moves = await warehouse.moves(product)
        assert 0 <= reserved <= on_hand == sum(delta for _, delta, _ in moves) == moves[-1][2]


def basket(chance: random.Random, products: list[int]) -> list[tuple[int, int]]:
    chosen = chance.sample(products, chance.randint(1, len(products)))
    return [(product, chance.randint(1, 4)) for product in chosen]


def an_action(
    warehouse: Warehouse, chance: random.Random, products: list[int], held: list[tuple[UUID, list[tuple[int, int]]]]
) -> Callable[[], Awaitable[Any]]:
    product, (order, lines), other = chance.choice(products), chance.choice(held), basket(chance, products)
    quantity, seconds = chance.randint(1, 5), chance.choice([-1, 60])
    actions: list[Callable[[], Awaitable[Any]]] = [
        lambda: warehouse.adjust(product, quantity),
        lambda: warehouse.adjust(product, -quantity),
        lambda: warehouse.set(product, 10 + quantity),
        lambda: warehouse.reserve(uuid7(), *other, seconds=seconds),
        lambda: warehouse.reserve(order, *lines),
        lambda: warehouse.release(order),
        lambda: warehouse.confirmed(order, *lines),
        lambda: warehouse.cancelled(order),
        warehouse.reservations.expire,
    ]
    return chance.choice(actions)


@pytest.mark.parametrize("seed", SEEDS)
async def test_sweeps_and_baskets_of_the_same_products_do_not_wait_for_each_other(
    warehouse: Warehouse, seed: int
) -> None:
    chance = random.Random(seed)
    products = [next(warehouse.products) for _ in range(4)]
    for product in products:
        await warehouse.set(product, 1_000)
    for _ in range(10):
        await warehouse.reserve(uuid7(), *((product, 1) for product in chance.sample(products, 2)), seconds=-1)

    await at_once(
        chance,
        *(warehouse.reservations.expire() for _ in range(3)),
        *(warehouse.reserve(uuid7(), *((product, 1) for product in chance.sample(products, 4))) for _ in range(10)),
    )

    assert [await warehouse.figures(product) for product in products] == [(1_000, 10)] * 4
