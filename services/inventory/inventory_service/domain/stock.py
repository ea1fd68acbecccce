"""Stock on hand, what of it is reserved, and the decision whether a reservation fits. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from chassis.kernel.ids import ProductId

from inventory_service.domain.errors import BelowReserved, OutOfStock, Shortage


class ReservationStatus(StrEnum):
    PENDING = "pending"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"

    @property
    def holds_stock(self) -> bool:
        """Committed stock has left the shelf; pending stock is set aside; the rest holds nothing."""
        return self is ReservationStatus.PENDING


@dataclass(frozen=True, slots=True)
class Stock:
    """Units of one product: `on_hand` in the warehouse, `reserved` of them set aside for orders."""

    product_id: ProductId
    on_hand: int = 0
    reserved: int = 0

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved

    def counted(self, on_hand: int) -> "Stock":
        """The stock after a count found `on_hand` units. Raises BelowReserved."""
        if on_hand < self.reserved:
            raise BelowReserved(self.product_id, self.reserved)
        return Stock(self.product_id, on_hand, self.reserved)


@dataclass(frozen=True, slots=True)
class Line:
    """So many units of a product, wanted or reserved."""

    product_id: ProductId
    quantity: int


def merged(lines: Sequence[Line]) -> list[Line]:
    """One line per product, in product order: the order in which rows are locked, so that no two orders wait for each other."""
    quantities: dict[ProductId, int] = {}
    for line in lines:
        quantities[line.product_id] = quantities.get(line.product_id, 0) + line.quantity
    return [Line(product_id, quantities[product_id]) for product_id in sorted(quantities)]


def shortages(lines: Sequence[Line], stocks: Mapping[ProductId, Stock]) -> list[Shortage]:
    """The lines that the stock does not cover. A product without a record has none."""
    availables = ((line, stocks.get(line.product_id, Stock(line.product_id)).available) for line in lines)
    return [
        Shortage(line.product_id, line.quantity, available)
        for line, available in availables
        if available < line.quantity
    ]


def ensure_covered(lines: Sequence[Line], stocks: Mapping[ProductId, Stock]) -> None:
    """Raises OutOfStock that names every product that lacks."""
    lacking = shortages(lines, stocks)
    if lacking:
        raise OutOfStock(lacking)
