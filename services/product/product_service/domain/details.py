"""Product details: the product, its variants, and what other services know about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.types.ids import UserId

from product_service.domain.products import ListedProduct, Product, Rating


@dataclass(frozen=True, slots=True)
class Seller:
    id: UserId
    name: str


@dataclass(frozen=True, slots=True)
class Stock:
    """The units that can be ordered now, as the public may be told."""

    available: int
    is_exact: bool = True
    """False if more units are available than the public is told."""


@dataclass(frozen=True, slots=True)
class ProductDetails:
    """A product with the parts that other services have. A part is None if it did not arrive in time."""

    product: Product
    seller: Seller | None
    stock: Stock | None
    rating: Rating | None
    variants: Sequence[ListedProduct] | None = ()

    @property
    def degraded(self) -> list[str]:
        """The names of the missing parts."""
        parts = {"seller": self.seller, "stock": self.stock, "rating": self.rating, "variants": self.variants}
        return [name for name, part in parts.items() if part is None]
