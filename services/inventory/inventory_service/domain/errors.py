"""What can go wrong with stock."""

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.types.ids import ProductId


class InventoryError(Exception):
    """The root of this service's errors."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """A product of which less is available than wanted."""

    product_id: ProductId
    wanted: int
    available: int


class OutOfStock(InventoryError):
    """Not every line could be reserved, so none was."""

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        products = ", ".join(f"product {s.product_id} ({s.available} left, {s.wanted} wanted)" for s in shortages)
        super().__init__(f"too little stock of {products}: order fewer")
        self.shortages = tuple(shortages)


class BelowReserved(InventoryError):
    """The new stock would not cover what orders already hold."""

    def __init__(self, product_id: ProductId, reserved: int, wanted: int) -> None:
        super().__init__(
            f"orders hold {reserved} of product {product_id}, and {wanted} would be left: "
            f"set the stock to {reserved} or more, or cancel orders first"
        )


class TooMuchStock(InventoryError):
    """More than the books are made for."""

    def __init__(self, product_id: ProductId, most: int) -> None:
        super().__init__(f"there cannot be more than {most} of product {product_id}: adjust it by less")


class NotTheSeller(InventoryError):
    """Stock is set, and its history read, by who sells the product, or by an admin."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"product {product_id} is sold by somebody else")


class UnknownProduct(InventoryError):
    """The catalogue has no such product."""

    def __init__(self, product_id: ProductId) -> None:
        super().__init__(f"there is no product {product_id}")
