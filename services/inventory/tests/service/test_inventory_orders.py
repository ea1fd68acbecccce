"""The final state of an order's stock depends only on which events arrived, not on their order or their number."""

import itertools
import random
from collections.abc import Sequence
from uuid import UUID

import pytest
from chassis.types.ids import OrderId, uuid7
from inventory_harness import UseCases
from inventory_service.domain.errors import OutOfStock

ON_HAND, QUANTITY = 10, 3
INITIAL_STATES = ["nothing", "reserved", "expired", "released"]
EVENTS = ["placed", "confirmed", "shipped", "cancelled"]
SEQUENCES = [
    sequence for length in (1, 2, 3) for sequence in itertools.product(EVENTS, repeat=length)
]  # each order of every set, with repetitions


def expected_state(events: set[str], initial_state: str = "reserved") -> tuple[str, int, int, int]:
    """Returns the status, and the units on hand, reserved and committed. Of some events, the lines are unknown."""
    if "cancelled" in events:
        return "released", ON_HAND, 0, 0
    if events == {"shipped"} and initial_state != "reserved":
        return ("released" if initial_state == "released" else "expired"), ON_HAND, 0, 0
    if "shipped" in events:
        return "fulfilled", ON_HAND - QUANTITY, 0, 0
    if "confirmed" in events:
        return "committed", ON_HAND, 0, QUANTITY
    return "pending", ON_HAND, QUANTITY, 0


async def prepare(use_cases: UseCases, initial_state: str, order: UUID, line: tuple[int, int]) -> None:
    if initial_state != "nothing":
        await use_cases.reserve(order, line)
    if initial_state == "expired":
        await use_cases.expire_reservations()
    if initial_state == "released":
        await use_cases.release(order)


async def perform(use_cases: UseCases, step: str, order: UUID, line: tuple[int, int]) -> None:
    match step:
        case "placed":
            await use_cases.receive_placed(order, line)
        case "confirmed":
            await use_cases.receive_confirmed(order, line)
        case "shipped":
            await use_cases.receive_shipped(order)
        case "cancelled":
            await use_cases.receive_cancelled(order)
        case "reserve":
            await use_cases.reserve(order, line)
        case "expire":
            await use_cases.expire_reservations()


async def final_state(use_cases: UseCases, order: UUID, product: int) -> tuple[str | None, int, int, int]:
    return await use_cases.status(order), *await use_cases.units(product)


@pytest.mark.parametrize("initial_state", INITIAL_STATES)
async def test_events_in_any_order_and_repeated_end_in_the_same_state(use_cases: UseCases, initial_state: str) -> None:
    for sequence in SEQUENCES:
        order, product = uuid7(), use_cases.new_product()
        await use_cases.set_stock(product, ON_HAND)
        await prepare(use_cases, initial_state, order, (product, QUANTITY))

        for event in sequence:
            await perform(use_cases, event, order, (product, QUANTITY))

        assert await final_state(use_cases, order, product) == expected_state(set(sequence), initial_state), sequence
        assert await use_cases.event_counts(order) == {}, sequence


@pytest.mark.parametrize("seed", range(20))
async def test_late_calls_and_expiry_in_between_do_not_change_the_final_state(use_cases: UseCases, seed: int) -> None:
    chance = random.Random(seed)
    orders: dict[UUID, tuple[int, Sequence[str]]] = {}
    for _ in range(5):
        product = use_cases.new_product()
        await use_cases.set_stock(product, ON_HAND)
        # a placed order's reservation expires too: its event must come after the last expiry
        mixed = [chance.choice([*EVENTS, "reserve", "expire"]) for _ in range(8)]
        orders[uuid7()] = product, [*mixed, chance.choice(["placed", "confirmed", "cancelled"])]

    for order, (product, sequence) in orders.items():
        for step in sequence:
            await perform(use_cases, step, order, (product, QUANTITY))
        assert await final_state(use_cases, order, product) == expected_state(set(sequence)), sequence


async def test_a_cancelled_order_never_holds_stock_again(use_cases: UseCases) -> None:
    order, product = uuid7(), use_cases.new_product()
    await use_cases.set_stock(product, 1)

    await use_cases.receive_cancelled(order)
    await use_cases.reserve(order, (product, 1))
    await use_cases.receive_placed(order, (product, 1))
    await use_cases.receive_confirmed(order, (product, 1))

    await use_cases.receive_shipped(order)

    assert await final_state(use_cases, order, product) == ("released", 1, 0, 0)


async def test_an_order_is_not_committed_without_units(use_cases: UseCases) -> None:
    order = uuid7()

    with pytest.raises(LookupError, match=str(order)):
        async with use_cases.database.begin() as transaction:
            await use_cases.reservations.commit_confirmed_order(transaction, OrderId(order), lines=None)

    assert await use_cases.status(order) is None


async def test_the_same_delivery_twice_takes_effect_once(use_cases: UseCases) -> None:
    order, product, event, shipping = uuid7(), use_cases.new_product(), uuid7(), uuid7()
    await use_cases.set_stock(product, 10)
    await use_cases.reserve(order, (product, 3))

    for _ in range(2):
        await use_cases.receive_confirmed(order, (product, 3), event_id=event)
    assert await use_cases.units(product) == (10, 0, 3)

    for _ in range(2):
        await use_cases.receive_shipped(order, event_id=shipping)
    assert await use_cases.units(product) == (7, 0, 0)
    assert await use_cases.movements(product) == [("set", 10, 10), ("sale", -3, 7)]


async def test_a_count_of_the_building_does_not_sell_paid_units_again(use_cases: UseCases) -> None:
    order, product = uuid7(), use_cases.new_product()
    await use_cases.set_stock(product, 10)
    await use_cases.reserve(order, (product, 3))
    await use_cases.receive_confirmed(order, (product, 3))

    counted = await use_cases.set_stock(product, 10)

    assert (counted.available, counted.committed, counted.on_hand) == (7, 3, 10)
    with pytest.raises(OutOfStock):
        await use_cases.reserve(uuid7(), (product, 8))


async def test_only_shipping_is_a_sale_in_the_ledger(use_cases: UseCases) -> None:
    cancelled, shipped, product, other = uuid7(), uuid7(), use_cases.new_product(), use_cases.new_product()
    await use_cases.set_stock(product, 10)
    await use_cases.set_stock(other, 1)
    await use_cases.reserve(cancelled, (product, 3), (other, 1))
    await use_cases.reserve(shipped, (product, 2))

    await use_cases.receive_confirmed(cancelled, (product, 3), (other, 1))
    await use_cases.receive_confirmed(shipped, (product, 2))
    assert [await use_cases.units(each) for each in (product, other)] == [(10, 0, 5), (1, 0, 1)]
    await use_cases.receive_shipped(shipped)
    await use_cases.receive_cancelled(cancelled)
    await use_cases.receive_cancelled(cancelled)

    assert [await use_cases.units(each) for each in (product, other)] == [(8, 0, 0), (1, 0, 0)]
    assert await use_cases.movements(product) == [("set", 10, 10), ("sale", -2, 8)]
    assert await use_cases.movements(other) == [("set", 1, 1)]


async def test_an_overdue_reservation_that_is_not_yet_expired_still_belongs_to_its_order(use_cases: UseCases) -> None:
    order, product = uuid7(), use_cases.new_product()
    await use_cases.set_stock(product, 1)
    await use_cases.reserve(order, (product, 1), seconds=-1)

    await use_cases.receive_confirmed(order, (product, 1))

    assert await final_state(use_cases, order, product) == ("committed", 1, 0, 1)


async def test_a_paid_order_with_an_expired_reservation_takes_available_stock(use_cases: UseCases) -> None:
    order, product = uuid7(), use_cases.new_product()
    await use_cases.set_stock(product, 1)
    await use_cases.reserve(order, (product, 1))
    await use_cases.expire_reservations()

    await use_cases.receive_confirmed(order, (product, 1))

    assert await final_state(use_cases, order, product) == ("committed", 1, 0, 1)
    assert await use_cases.event_counts(order) == {}


@pytest.mark.parametrize("initial_state", ["nothing", "expired"])
async def test_a_paid_order_without_enough_stock_is_rejected_as_a_whole(
    use_cases: UseCases, initial_state: str
) -> None:
    order, faster, scarce, plenty = uuid7(), uuid7(), use_cases.new_product(), use_cases.new_product()
    await use_cases.set_stock(scarce, 1)
    await use_cases.set_stock(plenty, 1)
    if initial_state == "expired":
        await use_cases.reserve(order, (scarce, 1), (plenty, 1))
        await use_cases.expire_reservations()
    await use_cases.reserve(faster, (scarce, 1))

    await use_cases.receive_confirmed(order, (scarce, 1), (plenty, 1))

    assert await use_cases.event_counts(order) == {"ReservationRejected": 1}
    assert await use_cases.units(plenty) == (1, 0, 0)
    assert await final_state(use_cases, order, scarce) == ("expired", 1, 1, 0)

    await use_cases.receive_cancelled(order)
    assert await final_state(use_cases, order, scarce) == ("released", 1, 1, 0)


async def test_one_sweep_expires_more_reservations_than_one_batch(use_cases: UseCases) -> None:
    first, second = use_cases.new_product(), use_cases.new_product()
    await use_cases.set_stock(first, 300)
    await use_cases.set_stock(second, 300)
    for _ in range(125):  # more than one batch
        await use_cases.reserve(uuid7(), (second, 1), (first, 2))

    await use_cases.expire_reservations()

    assert await use_cases.units(first) == (300, 0, 0)
    assert await use_cases.units(second) == (300, 0, 0)
