"""The errors of stock and reservations."""

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.types.ids import ProductId


class InventoryError(Exception):
    """The root of this service's errors."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """A product with fewer units available than a request wants."""

    product_id: ProductId
    requested: int
    available: int
    is_exact: bool = True
    """False if `available` is the largest number that the public is told, and there are more units."""

    def __str__(self) -> str:
        at_least = "" if self.is_exact else "at least "
        return f"product {self.product_id} ({at_least}{self.available} left, {self.requested} requested)"


@dataclass(frozen=True, slots=True)
class Excess:
    """A product of which a request wants more than one order may have."""

    product_id: ProductId
    requested: int
    maximum: int


class OutOfStock(InventoryError):
    """At least one line of an order could not be reserved, so none was."""

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        super().__init__(f"too little stock of {', '.join(map(str, shortages))}: order fewer")
        self.shortages = tuple(shortages)


class OverMaximum(InventoryError):
    """At least one line of an order exceeds the most units of its product that one order may have."""

    def __init__(self, excesses: Sequence[Excess]) -> None:
        products = " and ".join(f"{e.maximum} of product {e.product_id} ({e.requested} requested)" for e in excesses)
        super().__init__(f"one order may have at most {products}: order fewer")
        self.excesses = tuple(excesses)


class BelowReserved(InventoryError):
    """The new stock would be less than what is reserved and committed for orders."""

    def __init__(self, product_id: ProductId, held: int, on_hand: int) -> None:
        super().__init__(
            f"orders hold {held} of product {product_id}, and {on_hand} would be left: "
            f"set the stock to {held} or more, or cancel orders first"
        )


class StockChanged(InventoryError):
    """The stock has another revision than the one that a conditional request requires."""

    def __init__(self, product_id: ProductId, revision: int) -> None:
        super().__init__(
            f"the stock of product {product_id} changed and has revision {revision} now: "
            f"read it again, and repeat the request with its ETag"
        )


class TooMuchStock(InventoryError):
    """The new stock would exceed the most units that a product may have."""

    def __init__(self, product_id: ProductId, maximum: int) -> None:
        super().__init__(f"there cannot be more than {maximum} of product {product_id}: adjust it by less")


class NotTheSeller(InventoryError):
    """The caller neither sells the product nor is an admin: only these set its stock and read its history."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"product {product_id} is sold by another seller")


class UnknownProduct(InventoryError):
    """The catalogue has no such product."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"there is no product {product_id}")
