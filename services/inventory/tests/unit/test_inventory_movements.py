"""A change of stock decides the movements in the ledger and the events to publish, without a server."""

from datetime import UTC, datetime

import pytest
from chassis.types.ids import OrderId, ProductId, UserId, uuid7
from hypothesis import given
from hypothesis import strategies as st
from inventory_service.domain.errors import BelowReserved
from inventory_service.domain.movements import MovementCause, MovementKind, movements_of
from inventory_service.domain.reservations import Reservation, ReservationStatus
from inventory_service.domain.stock import Stock, StockChange, StockTerms

APPLES, NOON = ProductId(1), datetime(2025, 1, 1, 12, tzinfo=UTC)
FULL = Stock(APPLES, on_hand=10, low_stock_threshold=5, seller_id=UserId(7), published_as_available=True, revision=3)
SET_BY_SELLER = MovementCause(MovementKind.SET)


@pytest.mark.parametrize(
    ("after", "delta"),
    [
        (FULL.with_on_hand(12), 2),
        (FULL.adjust(-4), -4),
        (FULL.reserve(2).commit_reserved(2).fulfil(2), -2),
        (FULL.commit_available(2).fulfil(2), -2),
        (FULL.restock(1), 1),
    ],
)
def test_a_change_of_stock_on_hand_is_a_movement(after: Stock, delta: int) -> None:
    [movement] = movements_of([StockChange(FULL, after)], SET_BY_SELLER, NOON)

    assert (movement.product_id, movement.delta, movement.on_hand, movement.at) == (APPLES, delta, 10 + delta, NOON)


@pytest.mark.parametrize(
    "after",
    [
        FULL,
        FULL.reserve(3),
        FULL.reserve(3).release_reserved(3),
        FULL.reserve(3).commit_reserved(3),
        FULL.commit_available(3),
        FULL.commit_available(3).release_committed(3),
        FULL.with_terms(UserId(8), StockTerms(1)),
    ],
)
def test_a_change_that_moves_no_unit_is_no_movement(after: Stock) -> None:
    assert movements_of([StockChange(FULL, after)], SET_BY_SELLER, NOON) == []


@pytest.mark.parametrize(
    ("before", "after", "becomes_low"),
    [(10, 5, False), (10, 4, True), (5, 4, True), (4, 3, False), (4, 5, False), (0, 4, False), (5, 0, True)],
)
def test_stock_becomes_low_when_it_falls_below_its_threshold(before: int, after: int, becomes_low: bool) -> None:
    assert StockChange(FULL.with_on_hand(before), FULL.with_on_hand(after)).becomes_low is becomes_low


@pytest.mark.parametrize(
    ("published_as_available", "available", "changes_published"),
    [(True, 1, False), (True, 0, True), (False, 0, False), (False, 3, True)],
)
def test_availability_is_published_when_the_last_event_says_otherwise(
    published_as_available: bool, available: int, changes_published: bool
) -> None:
    before = Stock(APPLES, on_hand=7, published_as_available=published_as_available)
    change = StockChange(before, before.reserve(7 - available))

    assert change.changes_published_availability is changes_published
    assert change.result.published_as_available is (available > 0)
    assert not StockChange(change.result, change.result).changes_published_availability


def test_each_change_is_a_new_revision() -> None:
    assert StockChange(FULL, FULL.reserve(1)).result.revision == FULL.revision + 1


steps = st.lists(
    st.tuples(
        st.sampled_from(["set", "adjust", "reserve", "release", "commit", "cancel", "fulfil", "return"]),
        st.integers(-9, 9),
    )
)


@given(steps)
def test_movements_always_add_up_to_the_stock(performed: list[tuple[str, int]]) -> None:
    stock, total = Stock(APPLES), 0
    for step, number in performed:
        try:
            after = apply_step(stock, step, number)
        except BelowReserved:
            continue
        total += sum(movement.delta for movement in movements_of([StockChange(stock, after)], SET_BY_SELLER, NOON))
        stock = StockChange(stock, after).result
        assert min(stock.reserved, stock.committed, stock.available) >= 0
        assert stock.on_hand == stock.reserved + stock.committed + stock.available == total


def apply_step(stock: Stock, step: str, number: int) -> Stock:
    units = abs(number)
    match step:
        case "set":
            return stock.with_on_hand(units)
        case "adjust":
            return stock.adjust(number)
        case "reserve":
            return stock.reserve(min(units, stock.available))
        case "release":
            return stock.release_reserved(min(units, stock.reserved))
        case "commit":
            return stock.commit_reserved(min(units, stock.reserved))
        case "cancel":
            return stock.release_committed(min(units, stock.committed))
        case "fulfil":
            return stock.fulfil(min(units, stock.committed))
        case _:
            return stock.restock(units)


@pytest.mark.parametrize(
    ("status", "is_cancelled", "is_decided", "is_final"),
    [
        (ReservationStatus.PENDING, False, False, False),
        (ReservationStatus.COMMITTED, False, True, False),
        (ReservationStatus.FULFILLED, False, True, True),
        (ReservationStatus.EXPIRED, False, False, False),
        (ReservationStatus.RELEASED, False, False, False),
        (ReservationStatus.RELEASED, True, True, True),
    ],
)
def test_the_status_of_a_reservation_decides_what_is_left_to_do(
    status: ReservationStatus, is_cancelled: bool, is_decided: bool, is_final: bool
) -> None:
    reservation = Reservation(OrderId(uuid7()), status, NOON, is_cancelled)

    assert (reservation.is_decided, reservation.is_final) == (is_decided, is_final)
