"""Stock on hand, what of it is reserved, and what may be done to it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chassis.types.ids import ProductId, UserId

from inventory_service.domain.errors import BelowReserved, OutOfStock, Shortage, TooMuchStock

MAX_ON_HAND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Stock:
    """Units of one product: `on_hand` in the warehouse, `reserved` of them set aside for orders.

    Where a product was never set, all is zero.
    """

    product_id: ProductId
    on_hand: int = 0
    reserved: int = 0
    low_stock_threshold: int = 0
    """Where less than this is available, stock is low."""
    seller_id: UserId | None = None
    """None where nobody has set this stock since sellers are remembered."""
    announced: bool = False
    """What the shop was last told: whether any is available."""
    revision: int = 0
    """Grows with every change."""

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved

    @property
    def is_available(self) -> bool:
        return self.available > 0

    @property
    def is_low(self) -> bool:
        return self.available < self.low_stock_threshold

    def on_terms(self, seller_id: UserId, low_stock_threshold: int | None) -> "Stock":
        """Sold by this seller; None leaves the threshold."""
        threshold = self.low_stock_threshold if low_stock_threshold is None else low_stock_threshold
        return replace(self, seller_id=seller_id, low_stock_threshold=threshold)

    def counted(self, on_hand: int) -> "Stock":
        """After a count found `on_hand` units. Raises BelowReserved."""
        if on_hand < self.reserved:
            raise BelowReserved(self.product_id, self.reserved, on_hand)
        return replace(self, on_hand=on_hand)

    def adjusted(self, delta: int) -> "Stock":
        """After `delta` units came (or went, below zero). Raises BelowReserved, TooMuchStock."""
        if self.on_hand + delta > MAX_ON_HAND:
            raise TooMuchStock(self.product_id, MAX_ON_HAND)
        return self.counted(self.on_hand + delta)

    def set_aside(self, quantity: int) -> "Stock":
        return replace(self, reserved=self.reserved + quantity)

    def freed(self, quantity: int) -> "Stock":
        """What was set aside may be had again."""
        return replace(self, reserved=self.reserved - quantity)

    def sold(self, quantity: int) -> "Stock":
        """What was set aside leaves the shelf."""
        return replace(self, on_hand=self.on_hand - quantity, reserved=self.reserved - quantity)

    def sold_at_once(self, quantity: int) -> "Stock":
        """What nobody had set aside leaves the shelf."""
        return replace(self, on_hand=self.on_hand - quantity)

    def returned(self, quantity: int) -> "Stock":
        """What was sold is back."""
        return replace(self, on_hand=self.on_hand + quantity)


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a product's stock, its row locked in between."""

    before: Stock
    after: Stock

    @property
    def is_change(self) -> bool:
        return self.after != self.before

    @property
    def is_fall(self) -> bool:
        """Stock became low. Once per fall: what was low already must first be at its threshold again."""
        return self.after.is_low and not self.before.is_low

    @property
    def is_news(self) -> bool:
        """The shop was last told something else about whether any is available."""
        return self.after.is_available is not self.before.announced

    @property
    def result(self) -> Stock:
        """What is stored: the shop is told of it in the same transaction."""
        return replace(self.after, announced=self.after.is_available, revision=self.before.revision + 1)


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
