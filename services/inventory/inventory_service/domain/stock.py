"""The stock of a product, how much of it is reserved, and how it changes. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chassis.types.ids import ProductId, UserId

from inventory_service.domain.errors import BelowReserved, OutOfStock, Shortage, TooMuchStock

MAX_ON_HAND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Stock:
    """Units of one product: `on_hand` in the warehouse, `reserved` of them for orders.

    All is zero for a product whose stock was never set.
    """

    product_id: ProductId
    on_hand: int = 0
    reserved: int = 0
    low_stock_threshold: int = 0
    """Stock is low while fewer units than this are available."""
    seller_id: UserId | None = None
    """None where the stock was last set by a release that did not store sellers."""
    published_as_available: bool = False
    """True if the last published event says that units are available."""
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

    def with_seller(self, seller_id: UserId, low_stock_threshold: int | None) -> "Stock":
        """Sets the seller and the threshold; None leaves the threshold."""
        threshold = self.low_stock_threshold if low_stock_threshold is None else low_stock_threshold
        return replace(self, seller_id=seller_id, low_stock_threshold=threshold)

    def with_on_hand(self, on_hand: int) -> "Stock":
        """Sets the units on hand. Raises BelowReserved."""
        if on_hand < self.reserved:
            raise BelowReserved(self.product_id, self.reserved, on_hand)
        return replace(self, on_hand=on_hand)

    def adjust(self, delta: int) -> "Stock":
        """Adds `delta` units, or takes them away where it is below zero. Raises BelowReserved, TooMuchStock."""
        if self.on_hand + delta > MAX_ON_HAND:
            raise TooMuchStock(self.product_id, MAX_ON_HAND)
        return self.with_on_hand(self.on_hand + delta)

    def reserve(self, quantity: int) -> "Stock":
        return replace(self, reserved=self.reserved + quantity)

    def release(self, quantity: int) -> "Stock":
        """Makes reserved units available again."""
        return replace(self, reserved=self.reserved - quantity)

    def sell_reserved(self, quantity: int) -> "Stock":
        """Takes reserved units from the stock on hand."""
        return replace(self, on_hand=self.on_hand - quantity, reserved=self.reserved - quantity)

    def sell_unreserved(self, quantity: int) -> "Stock":
        """Takes units that were not reserved from the stock on hand."""
        return replace(self, on_hand=self.on_hand - quantity)

    def restock(self, quantity: int) -> "Stock":
        """Adds units that were sold and came back."""
        return replace(self, on_hand=self.on_hand + quantity)


@dataclass(frozen=True, slots=True)
class StockChange:
    """One change of a product's stock. Its row is locked from reading `before` until `result` is stored."""

    before: Stock
    after: Stock

    @property
    def changes_stock(self) -> bool:
        return self.after != self.before

    @property
    def becomes_low(self) -> bool:
        """True if stock fell below its threshold. Stock that is low already must first reach its threshold again."""
        return self.after.is_low and not self.before.is_low

    @property
    def changes_published_availability(self) -> bool:
        """True if the last published event no longer says whether units are available."""
        return self.after.is_available is not self.before.published_as_available

    @property
    def result(self) -> Stock:
        """The stock to store. Its availability counts as published: the event is recorded in the same transaction."""
        return replace(self.after, published_as_available=self.after.is_available, revision=self.before.revision + 1)


@dataclass(frozen=True, slots=True)
class Line:
    """A number of units of one product, requested or reserved."""

    product_id: ProductId
    quantity: int


def merge_lines(lines: Sequence[Line]) -> list[Line]:
    """Returns one line per product, in product order. Rows are locked in that order, so that no two orders deadlock."""
    quantities: dict[ProductId, int] = {}
    for line in lines:
        quantities[line.product_id] = quantities.get(line.product_id, 0) + line.quantity
    return [Line(product_id, quantities[product_id]) for product_id in sorted(quantities)]


def find_shortages(lines: Sequence[Line], stocks: Mapping[ProductId, Stock]) -> list[Shortage]:
    """Returns the lines that the stock does not cover. A product without stock has no units."""
    availables = ((line, stocks.get(line.product_id, Stock(line.product_id)).available) for line in lines)
    return [
        Shortage(line.product_id, line.quantity, available)
        for line, available in availables
        if available < line.quantity
    ]


def ensure_available(lines: Sequence[Line], stocks: Mapping[ProductId, Stock]) -> None:
    """Raises OutOfStock, which names every product with too few units."""
    shortages = find_shortages(lines, stocks)
    if shortages:
        raise OutOfStock(shortages)
