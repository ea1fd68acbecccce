"""What a step of stock says to the ledger, the seller and the shop, without a server."""

from datetime import UTC, datetime

import pytest
from chassis.types.ids import OrderId, ProductId, UserId, uuid7
from hypothesis import given
from hypothesis import strategies as st
from inventory_service.domain.errors import BelowReserved
from inventory_service.domain.movements import Cause, MovementKind, movements
from inventory_service.domain.reservations import Reservation, ReservationStatus
from inventory_service.domain.stock import Change, Stock

APPLES, NOON = ProductId(1), datetime(2025, 1, 1, 12, tzinfo=UTC)
FULL = Stock(APPLES, on_hand=10, low_stock_threshold=5, seller_id=UserId(7), announced=True, revision=3)
BY_HAND = Cause(MovementKind.SET)


@pytest.mark.parametrize(
    ("after", "delta"),
    [
        (FULL.counted(12), 2),
        (FULL.adjusted(-4), -4),
        (FULL.set_aside(2).sold(2), -2),
        (FULL.sold_at_once(2), -2),
        (FULL.returned(1), 1),
    ],
)
def test_what_changes_the_shelf_is_a_movement(after: Stock, delta: int) -> None:
    [moved] = movements([Change(FULL, after)], BY_HAND, NOON)

    assert (moved.product_id, moved.delta, moved.on_hand, moved.at) == (APPLES, delta, 10 + delta, NOON)


@pytest.mark.parametrize("after", [FULL, FULL.set_aside(3), FULL.set_aside(3).freed(3), FULL.on_terms(UserId(8), 1)])
def test_what_leaves_the_shelf_as_it_was_is_none(after: Stock) -> None:
    assert movements([Change(FULL, after)], BY_HAND, NOON) == []


@pytest.mark.parametrize(
    ("before", "after", "is_fall"),
    [(10, 5, False), (10, 4, True), (5, 4, True), (4, 3, False), (4, 5, False), (0, 4, False), (5, 0, True)],
)
def test_a_fall_is_from_the_threshold_to_below_it(before: int, after: int, is_fall: bool) -> None:
    assert Change(FULL.counted(before), FULL.counted(after)).is_fall is is_fall


@pytest.mark.parametrize(
    ("announced", "available", "is_news"), [(True, 1, False), (True, 0, True), (False, 0, False), (False, 3, True)]
)
def test_news_is_what_the_shop_was_not_told(announced: bool, available: int, is_news: bool) -> None:
    before = Stock(APPLES, on_hand=7, announced=announced)
    change = Change(before, before.set_aside(7 - available))

    assert change.is_news is is_news
    assert change.result.announced is (available > 0)
    assert not Change(change.result, change.result).is_news


def test_each_change_is_a_revision() -> None:
    assert Change(FULL, FULL.set_aside(1)).result.revision == FULL.revision + 1


steps = st.lists(st.tuples(st.sampled_from(["count", "adjust", "hold", "free", "sell", "return"]), st.integers(-9, 9)))


@given(steps)
def test_movements_add_up_to_the_stock_whatever_happens(taken: list[tuple[str, int]]) -> None:
    stock, moved = Stock(APPLES), 0
    for step, number in taken:
        try:
            after = one_step(stock, step, number)
        except BelowReserved:
            continue
        moved += sum(movement.delta for movement in movements([Change(stock, after)], BY_HAND, NOON))
        stock = Change(stock, after).result
        assert 0 <= stock.reserved <= stock.on_hand == moved


def one_step(stock: Stock, step: str, number: int) -> Stock:
    units = abs(number)
    match step:
        case "count":
            return stock.counted(units)
        case "adjust":
            return stock.adjusted(number)
        case "hold":
            return stock.set_aside(min(units, stock.available))
        case "free":
            return stock.freed(min(units, stock.reserved))
        case "sell":
            return stock.sold(min(units, stock.reserved))
        case _:
            return stock.returned(units)


@pytest.mark.parametrize(
    ("status", "is_cancelled", "holds", "settled"),
    [
        (ReservationStatus.PENDING, False, True, False),
        (ReservationStatus.COMMITTED, False, False, True),
        (ReservationStatus.EXPIRED, False, False, False),
        (ReservationStatus.RELEASED, False, False, False),
        (ReservationStatus.RELEASED, True, False, True),
    ],
)
def test_what_a_reservation_still_waits_for(
    status: ReservationStatus, is_cancelled: bool, holds: bool, settled: bool
) -> None:
    reservation = Reservation(OrderId(uuid7()), status, NOON, is_cancelled)

    assert (reservation.holds_stock, reservation.is_settled) == (holds, settled)
