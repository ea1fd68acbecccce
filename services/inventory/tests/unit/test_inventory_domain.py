"""The decisions about stock, without a server."""

import pytest
from chassis.types.ids import ProductId
from inventory_service.domain.errors import BelowReserved, OutOfStock, OverMaximum, Shortage, StockChanged
from inventory_service.domain.stock import (
    Line,
    ShownStock,
    Stock,
    ensure_allowed,
    ensure_available,
    merge_lines,
    show_stock,
)

APPLES, PEARS = ProductId(1), ProductId(2)


def test_lines_of_one_product_are_merged_and_sorted() -> None:
    assert merge_lines([Line(PEARS, 1), Line(APPLES, 2), Line(PEARS, 3)]) == [Line(APPLES, 2), Line(PEARS, 4)]


def test_out_of_stock_names_every_shortage() -> None:
    with pytest.raises(OutOfStock) as refusal:
        ensure_available([Line(APPLES, 3), Line(PEARS, 1)], {APPLES: Stock(APPLES, on_hand=4, reserved=2)}, 9)

    assert refusal.value.shortages == (Shortage(APPLES, 3, 2), Shortage(PEARS, 1, 0))


def test_exactly_enough_stock_is_enough() -> None:
    ensure_available([Line(APPLES, 2)], {APPLES: Stock(APPLES, on_hand=4, reserved=2)}, 9)


def test_a_shortage_has_no_exact_count_above_the_limit() -> None:
    with pytest.raises(OutOfStock, match=r"at least 9 left, 12 requested") as refusal:
        ensure_available([Line(APPLES, 12)], {APPLES: Stock(APPLES, on_hand=10)}, 9)

    assert refusal.value.shortages == (Shortage(APPLES, 12, 9, is_exact=False),)


def test_a_line_over_the_maximum_of_its_product_is_refused() -> None:
    stocks = {APPLES: Stock(APPLES, max_per_order=2), PEARS: Stock(PEARS)}

    ensure_allowed([Line(APPLES, 2), Line(PEARS, 99), Line(ProductId(3), 99)], stocks)
    with pytest.raises(OverMaximum, match=r"at most 2 of product 1 \(3 requested\)"):
        ensure_allowed([Line(APPLES, 3)], stocks)


def test_counts_above_the_limit_are_shown_as_the_limit() -> None:
    stock = Stock(APPLES, on_hand=60, reserved=7, committed=3)

    assert show_stock(stock, None) == ShownStock(APPLES, 60, 7, 3, 50, None, is_exact=True)
    assert show_stock(stock, 50) == ShownStock(APPLES, 50, 7, 3, 50, None, is_exact=False)
    assert show_stock(stock, 60) == ShownStock(APPLES, 60, 7, 3, 50, None, is_exact=True)
    assert show_stock(stock, 0) == ShownStock(APPLES, 0, 0, 0, 0, None, is_exact=False)


def test_committed_units_are_not_available() -> None:
    assert Stock(APPLES, on_hand=10, reserved=1, committed=3).available == 6


def test_stock_below_what_orders_hold_is_refused() -> None:
    with pytest.raises(BelowReserved, match="set the stock to 3 or more"):
        Stock(APPLES, on_hand=4, reserved=2, committed=1).with_on_hand(2)


@pytest.mark.parametrize("expected", [None, [7], [6, 7]])
def test_an_expected_revision_is_accepted(expected: list[int] | None) -> None:
    Stock(APPLES, revision=7).ensure_revision(expected)


@pytest.mark.parametrize("expected", [[], [6], [8, 9]])
def test_another_revision_is_refused(expected: list[int]) -> None:
    with pytest.raises(StockChanged, match="revision 7 now"):
        Stock(APPLES, revision=7).ensure_revision(expected)
