"""Concurrent use cases never oversell, and invariants hold. Each race runs twenty times; its name has the seed."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from chassis.types.ids import uuid7
from inventory_harness import UseCases
from inventory_service.domain.errors import InventoryError, OutOfStock
from inventory_service.domain.reservations import OrderState, StateOfOrder

SEEDS = range(20)


async def run_concurrently(chance: random.Random, *calls: Awaitable[Any]) -> list[Exception]:
    """Runs the calls at the same time, started in random order. Returns the refusals."""
    shuffled = list(calls)
    chance.shuffle(shuffled)
    outcomes = await asyncio.gather(*shuffled, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    for unexpected in (error for error in refused if not isinstance(error, InventoryError)):
        raise unexpected
    return refused


@pytest.mark.parametrize("seed", SEEDS)
async def test_five_of_twenty_buyers_get_the_five_units_in_stock(use_cases: UseCases, seed: int) -> None:
    product, orders = use_cases.new_product(), [uuid7() for _ in range(20)]
    await use_cases.set_stock(product, 5)

    refused = await run_concurrently(random.Random(seed), *(use_cases.reserve(order, (product, 1)) for order in orders))

    assert [type(error) for error in refused] == [OutOfStock] * 15
    assert await use_cases.units(product) == (5, 5, 0)
    statuses = [await use_cases.status(order) for order in orders]
    assert statuses.count("pending") == 5


@pytest.mark.parametrize("seed", SEEDS)
async def test_five_of_twenty_paid_orders_without_reservations_get_the_five_units_in_stock(
    use_cases: UseCases, seed: int
) -> None:
    product, orders = use_cases.new_product(), [uuid7() for _ in range(20)]
    await use_cases.set_stock(product, 5)

    await run_concurrently(random.Random(seed), *(use_cases.receive_confirmed(order, (product, 1)) for order in orders))

    assert await use_cases.units(product) == (5, 0, 5)
    assert await use_cases.event_counts(*orders) == {"ReservationRejected": 15}


@pytest.mark.parametrize("seed", SEEDS)
async def test_concurrent_events_of_an_order_end_in_the_same_state_as_sequential_ones(
    use_cases: UseCases, seed: int
) -> None:
    chance, product, order = random.Random(seed), use_cases.new_product(), uuid7()
    await use_cases.set_stock(product, 10)
    if chance.random() < 0.5:
        await use_cases.reserve(order, (product, 3), seconds=chance.choice([-1, 60]))
    cancelled, shipped = chance.choice([(False, False), (True, False), (False, True)])

    await run_concurrently(
        chance,
        *(use_cases.receive_confirmed(order, (product, 3)) for _ in range(4)),
        *(use_cases.receive_placed(order, (product, 3)) for _ in range(4)),
        *(use_cases.receive_shipped(order) for _ in range(4) if shipped),
        *(use_cases.receive_cancelled(order) for _ in range(4) if cancelled),
        use_cases.expiry.expire_overdue(),
        use_cases.reserve(order, (product, 3)),
    )

    status = "released" if cancelled else "fulfilled" if shipped else "committed"
    assert await use_cases.status(order) == status
    assert (
        await use_cases.units(product)
        == {
            "released": (10, 0, 0),
            "fulfilled": (7, 0, 0),
            "committed": (10, 0, 3),
        }[status]
    )


@pytest.mark.parametrize("seed", SEEDS)
async def test_invariants_hold_after_concurrent_adjustments_orders_and_sweeps(use_cases: UseCases, seed: int) -> None:
    """The fixture checks every invariant afterwards; this also compares the stock with its movements."""
    chance = random.Random(seed)
    products = [use_cases.new_product() for _ in range(3)]
    for product in products:
        await use_cases.set_stock(product, 20)
    reserved_orders = [(uuid7(), random_lines(chance, products)) for _ in range(6)]
    await run_concurrently(chance, *(use_cases.reserve(order, *lines) for order, lines in reserved_orders))

    await run_concurrently(chance, *(random_action(use_cases, chance, products, reserved_orders)() for _ in range(40)))

    for product in products:
        on_hand, reserved, committed = await use_cases.units(product)
        movements = await use_cases.movements(product)
        assert 0 <= reserved + committed <= on_hand == sum(delta for _, delta, _ in movements) == movements[-1][2]


def random_lines(chance: random.Random, products: list[int]) -> list[tuple[int, int]]:
    chosen = chance.sample(products, chance.randint(1, len(products)))
    return [(product, chance.randint(1, 4)) for product in chosen]


def random_action(
    use_cases: UseCases,
    chance: random.Random,
    products: list[int],
    reserved_orders: list[tuple[UUID, list[tuple[int, int]]]],
) -> Callable[[], Awaitable[Any]]:
    product, (order, lines), other = (
        chance.choice(products),
        chance.choice(reserved_orders),
        random_lines(chance, products),
    )
    quantity, seconds = chance.randint(1, 5), chance.choice([-1, 60])
    actions: list[Callable[[], Awaitable[Any]]] = [
        lambda: use_cases.adjust(product, quantity),
        lambda: use_cases.adjust(product, -quantity),
        lambda: use_cases.set_stock(product, 10 + quantity),
        lambda: use_cases.reserve(uuid7(), *other, seconds=seconds),
        lambda: use_cases.reserve(order, *lines),
        lambda: use_cases.release(order),
        lambda: use_cases.receive_confirmed(order, *lines),
        lambda: use_cases.receive_shipped(order),
        lambda: use_cases.receive_cancelled(order),
        use_cases.expiry.expire_overdue,
    ]
    return chance.choice(actions)


@pytest.mark.parametrize("seed", SEEDS)
async def test_sweeps_and_reservations_of_the_same_products_do_not_deadlock(use_cases: UseCases, seed: int) -> None:
    chance = random.Random(seed)
    products = [use_cases.new_product() for _ in range(4)]
    for product in products:
        await use_cases.set_stock(product, 1_000)
    for _ in range(10):
        await use_cases.reserve(uuid7(), *((product, 1) for product in chance.sample(products, 2)), seconds=-1)

    await run_concurrently(
        chance,
        *(use_cases.expiry.expire_overdue() for _ in range(3)),
        *(use_cases.reserve(uuid7(), *((product, 1) for product in chance.sample(products, 4))) for _ in range(10)),
    )

    assert [await use_cases.units(product) for product in products] == [(1_000, 10, 0)] * 4


@pytest.mark.parametrize("seed", SEEDS)
async def test_concurrent_sweeps_commit_each_paid_order_once_and_do_not_deadlock(
    use_cases: UseCases, seed: int
) -> None:
    chance = random.Random(seed)
    products = [use_cases.new_product() for _ in range(4)]
    for product in products:
        await use_cases.set_stock(product, 1_000)
    for _ in range(10):
        order = uuid7()
        await use_cases.reserve(order, *((product, 1) for product in chance.sample(products, 2)), seconds=-1)
        use_cases.orders.states_by_order[order] = StateOfOrder(OrderState.PAID)

    await run_concurrently(
        chance,
        *(use_cases.expiry.expire_overdue() for _ in range(3)),
        *(use_cases.reserve(uuid7(), *((product, 1) for product in chance.sample(products, 4))) for _ in range(10)),
    )
    await use_cases.expiry.expire_overdue()

    units = [await use_cases.units(product) for product in products]
    assert [(on_hand, reserved) for on_hand, reserved, _ in units] == [(1_000, 10)] * 4
    assert sum(committed for _, _, committed in units) == 20
