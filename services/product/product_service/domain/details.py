"""The product page: the product, and what the neighbours know of it."""

from dataclasses import dataclass

from chassis.kernel.ids import UserId

from product_service.domain.products import Product


@dataclass(frozen=True, slots=True)
class Seller:
    id: UserId
    name: str


@dataclass(frozen=True, slots=True)
class Stock:
    """Units that may be ordered now."""

    available: int


@dataclass(frozen=True, slots=True)
class Rating:
    """Mean of 1 to 5 stars; 0 when nobody has rated."""

    average: float
    count: int


@dataclass(frozen=True, slots=True)
class Details:
    """A part is None where its neighbour did not answer in time."""

    product: Product
    seller: Seller | None
    stock: Stock | None
    rating: Rating | None

    @property
    def degraded(self) -> list[str]:
        """The parts that are missing."""
        parts = {"seller": self.seller, "stock": self.stock, "rating": self.rating}
        return [name for name, part in parts.items() if part is None]
