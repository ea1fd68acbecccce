"""The product page: the product, its variants, and what the neighbours know of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.types.ids import UserId

from product_service.domain.products import Listing, Product, Rating


@dataclass(frozen=True, slots=True)
class Seller:
    id: UserId
    name: str


@dataclass(frozen=True, slots=True)
class Stock:
    """Units that may be ordered now."""

    available: int


@dataclass(frozen=True, slots=True)
class Details:
    """A part is None where it did not come in time."""

    product: Product
    seller: Seller | None
    stock: Stock | None
    rating: Rating | None
    variants: Sequence[Listing] | None = ()

    @property
    def degraded(self) -> list[str]:
        """The parts that are missing."""
        parts = {"seller": self.seller, "stock": self.stock, "rating": self.rating, "variants": self.variants}
        return [name for name, part in parts.items() if part is None]
