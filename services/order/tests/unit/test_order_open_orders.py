"""The limits of what one buyer may hold without paying, without a server."""

import pytest
from chassis.types.ids import ProductId
from order_service.domain.errors import Excess, OpenQuantityLimit, TooManyOpenOrders
from order_service.domain.items import Line
from order_service.domain.open_orders import OpenOrderLimits, OpenOrders

CUPS, PLATES = ProductId(1), ProductId(2)
LIMITS = OpenOrderLimits(orders=3, units_per_product=10)


def test_the_last_allowed_order_with_the_last_allowed_unit_is_accepted() -> None:
    LIMITS.ensure_allowed([Line(CUPS, 4), Line(PLATES, 10)], OpenOrders(2, {CUPS: 6}))


def test_an_order_over_the_number_of_open_orders_is_refused() -> None:
    with pytest.raises(TooManyOpenOrders, match="you have 3 unpaid orders: pay or cancel one first"):
        LIMITS.ensure_allowed([Line(CUPS, 1)], OpenOrders(3))


@pytest.mark.parametrize(("held", "maximum"), [(0, 10), (7, 3), (10, 0), (12, 0)])
def test_units_in_open_orders_count(held: int, maximum: int) -> None:
    with pytest.raises(OpenQuantityLimit, match=f"at most {maximum} of product 1 ") as refusal:
        LIMITS.ensure_allowed([Line(CUPS, 11), Line(PLATES, 1)], OpenOrders(1, {CUPS: held}))

    assert refusal.value.excesses == (Excess(CUPS, 11, maximum),)
