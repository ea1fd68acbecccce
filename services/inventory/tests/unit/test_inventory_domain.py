"""The decisions about stock, without a server."""

import pytest
from chassis.types.ids import ProductId
from inventory_service.domain.errors import BelowReserved, OutOfStock, Shortage
from inventory_service.domain.stock import Line, Stock, ensure_covered, merged

APPLES, PEARS = ProductId(1), ProductId(2)


def test_lines_of_one_product_are_added_up_and_sorted() -> None:
    assert merged([Line(PEARS, 1), Line(APPLES, 2), Line(PEARS, 3)]) == [Line(APPLES, 2), Line(PEARS, 4)]


def test_every_product_that_lacks_is_named() -> None:
    with pytest.raises(OutOfStock) as refusal:
        ensure_covered([Line(APPLES, 3), Line(PEARS, 1)], {APPLES: Stock(APPLES, on_hand=4, reserved=2)})

    assert refusal.value.shortages == (Shortage(APPLES, 3, 2), Shortage(PEARS, 1, 0))


def test_stock_that_just_covers_is_enough() -> None:
    ensure_covered([Line(APPLES, 2)], {APPLES: Stock(APPLES, on_hand=4, reserved=2)})


def test_a_count_below_what_is_reserved_is_refused() -> None:
    with pytest.raises(BelowReserved, match="set the stock to 2 or more"):
        Stock(APPLES, on_hand=4, reserved=2).counted(1)
