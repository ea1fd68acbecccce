"""The stock of a product, how much of it is reserved, and how it changes. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from chassis.types.ids import ProductId, UserId

from inventory_service.domain.errors import (
    BelowReserved,
    Excess,
    OutOfStock,
    OverMaximum,
    Shortage,
    StockChanged,
    TooMuchStock,
)

MAX_ON_HAND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Stock:
    """Units of one product: `on_hand` in the building, and how many of them are held for orders.

    All is zero for a product whose stock was never set.
    """

    product_id: ProductId
    on_hand: int = 0
    reserved: int = 0
    """Units of placed orders that are not paid."""
    committed: int = 0
    """Units of paid orders that are not shipped."""
    low_stock_threshold: int = 0
    """Stock is low while fewer units than this are available."""
    seller_id: UserId | None = None
    """None where the stock was last set by a release that did not store sellers."""
    max_per_order: int | None = None
    """The most units that one order may have; None if there is no such limit."""
    published_as_available: bool = False
    """True if the last published event says that units are available."""
    revision: int = 0
    """Grows with every change."""

    @property
    def held(self) -> int:
        """Units on hand that belong to orders, paid or not."""
        return self.reserved + self.committed

    @property
    def available(self) -> int:
        return self.on_hand - self.held

    @property
    def is_available(self) -> bool:
        return self.available > 0

    @property
    def is_low(self) -> bool:
        return self.available < self.low_stock_threshold

    def ensure_revision(self, expected: Collection[int] | None) -> None:
        """Raises StockChanged unless the revision is an expected one; None expects any."""
        if expected is not None and self.revision not in expected:
            raise StockChanged(self.product_id, self.revision)

    def with_terms(self, seller_id: UserId, terms: "StockTerms") -> "Stock":
        """Sets the seller and the seller's terms; those that are None stay as they are."""
        threshold, maximum = terms.low_stock_threshold, terms.max_per_order
        return replace(
            self,
            seller_id=seller_id,
            low_stock_threshold=self.low_stock_threshold if threshold is None else threshold,
            max_per_order=self.max_per_order if maximum is None else maximum,
        )

    def with_on_hand(self, on_hand: int) -> "Stock":
        """Sets the units on hand. Raises BelowReserved."""
        if on_hand < self.held:
            raise BelowReserved(self.product_id, self.held, on_hand)
        return replace(self, on_hand=on_hand)

    def adjust(self, delta: int) -> "Stock":
        """Adds `delta` units, or takes them away where it is below zero. Raises BelowReserved, TooMuchStock."""
        if self.on_hand + delta > MAX_ON_HAND:
            raise TooMuchStock(self.product_id, MAX_ON_HAND)
        return self.with_on_hand(self.on_hand + delta)

    def reserve(self, quantity: int) -> "Stock":
        """Holds available units for an order that is not paid."""
        return replace(self, reserved=self.reserved + quantity)

    def release_reserved(self, quantity: int) -> "Stock":
        """Makes reserved units available again."""
        return replace(self, reserved=self.reserved - quantity)

    def commit_reserved(self, quantity: int) -> "Stock":
        """Holds reserved units for their order, which is paid now."""
        return replace(self, reserved=self.reserved - quantity, committed=self.committed + quantity)

    def commit_available(self, quantity: int) -> "Stock":
        """Holds available units for a paid order that has no reservation any more."""
        return replace(self, committed=self.committed + quantity)

    def release_committed(self, quantity: int) -> "Stock":
        """Makes the units of a paid order that was cancelled available again."""
        return replace(self, committed=self.committed - quantity)

    def fulfil(self, quantity: int) -> "Stock":
        """Takes the units of a shipped order from the stock on hand."""
        return replace(self, on_hand=self.on_hand - quantity, committed=self.committed - quantity)

    def restock(self, quantity: int) -> "Stock":
        """Adds units that had left the stock on hand and came back."""
        return replace(self, on_hand=self.on_hand + quantity)


@dataclass(frozen=True, slots=True)
class StockTerms:
    """What a seller decides about a product's stock besides the units; None leaves a term as it is."""

    low_stock_threshold: int | None = None
    max_per_order: int | None = None


@dataclass(frozen=True, slots=True)
class ShownStock:
    """The units of a product as a caller may see them: counts above a limit are shown as that limit."""

    product_id: ProductId
    on_hand: int
    reserved: int
    committed: int
    available: int
    max_per_order: int | None
    is_exact: bool
    """False if one of the counts is larger than shown."""


def show_stock(stock: Stock, exact_up_to: int | None) -> ShownStock:
    """Returns the stock as a caller sees it who may see counts up to a limit; without a limit, all are exact."""
    counts = (stock.on_hand, stock.reserved, stock.committed, stock.available)
    shown = counts if exact_up_to is None else tuple(min(count, exact_up_to) for count in counts)
    on_hand, reserved, committed, available = shown
    return ShownStock(
        stock.product_id, on_hand, reserved, committed, available, stock.max_per_order, is_exact=shown == counts
    )


@dataclass(frozen=True, slots=True)
class StockChange:
    """One change of a product's stock. Its row is locked from reading `before` until `result` is stored."""

    before: Stock
    after: Stock

    @property
    def is_effective(self) -> bool:
        """True if there is something to store: another stock, or an availability to publish."""
        return self.after != self.before or self.changes_published_availability

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
        """The stock to store, if the change is effective.

        Its availability counts as published: the event is recorded in the same transaction.
        """
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


def find_shortages(lines: Sequence[Line], stocks: Mapping[ProductId, Stock], exact_up_to: int) -> list[Shortage]:
    """Returns the lines that the stock does not cover. A product without stock has no units.

    A shortage is shown to the public, which is told `exact_up_to` units at most.
    """
    availables = ((line, stocks.get(line.product_id, Stock(line.product_id)).available) for line in lines)
    return [
        Shortage(line.product_id, line.quantity, min(available, exact_up_to), is_exact=available <= exact_up_to)
        for line, available in availables
        if available < line.quantity
    ]


def find_excesses(lines: Sequence[Line], stocks: Mapping[ProductId, Stock]) -> list[Excess]:
    """Returns the lines with more units than one order may have of their product."""
    maxima = ((line, stocks[line.product_id].max_per_order) for line in lines if line.product_id in stocks)
    return [
        Excess(line.product_id, line.quantity, maximum)
        for line, maximum in maxima
        if maximum is not None and maximum < line.quantity
    ]


def ensure_available(lines: Sequence[Line], stocks: Mapping[ProductId, Stock], exact_up_to: int) -> None:
    """Raises OutOfStock, which names every product with too few units."""
    shortages = find_shortages(lines, stocks, exact_up_to)
    if shortages:
        raise OutOfStock(shortages)


def ensure_allowed(lines: Sequence[Line], stocks: Mapping[ProductId, Stock]) -> None:
    """Raises OverMaximum, which names every product of which one order may not have so many units."""
    excesses = find_excesses(lines, stocks)
    if excesses:
        raise OverMaximum(excesses)
