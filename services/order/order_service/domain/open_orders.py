"""How much one buyer may hold without paying. Pure.

Unpaid orders reserve stock. Without these limits, one account could reserve the whole stock of a shop, again and again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chassis.types.ids import ProductId

from order_service.domain.errors import Excess, OpenQuantityLimit, TooManyOpenOrders
from order_service.domain.items import Line


@dataclass(frozen=True, slots=True)
class OpenOrders:
    """The unpaid orders of a buyer that have not expired: how many, and their units of each product."""

    count: int = 0
    units: Mapping[ProductId, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenOrderLimits:
    """The most unpaid orders of one buyer, and the most units of one product in them, the new order included."""

    orders: int
    units_per_product: int

    def ensure_allowed(self, lines: Sequence[Line], others: OpenOrders) -> None:
        """Raises TooManyOpenOrders, OpenQuantityLimit. The lines are of a new order, one for each product."""
        if others.count >= self.orders:
            raise TooManyOpenOrders(self.orders)
        excesses = [
            Excess(line.product_id, line.quantity, max(0, allowed))
            for line in lines
            if line.quantity > (allowed := self.units_per_product - others.units.get(line.product_id, 0))
        ]
        if excesses:
            raise OpenQuantityLimit(excesses)
