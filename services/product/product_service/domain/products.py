"""Products, and what a seller says of them. Pure."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from chassis.types.ids import ProductId, UserId
from chassis.types.money import Money

from product_service.domain.categories import UNSAID, CategoryId, Unsaid

MAX_VARIANTS = 100
"""How many products a group has at most: whoever looks at one of them is shown the others."""
_SLUG_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Description:
    """All that a seller says of a product. What is said of variants may be left out, and then stays as it is."""

    name: str
    text: str
    price: Money
    category_id: CategoryId
    images: tuple[str, ...] = ()
    group_id: ProductId | Unsaid | None = UNSAID
    options: Mapping[str, str] | Unsaid = UNSAID


@dataclass(frozen=True, slots=True)
class Product:
    """One thing that can be ordered. Those with the same `group_id` are variants of one another, told apart by `options`."""

    id: ProductId
    seller_id: UserId
    category_id: CategoryId
    name: str
    description: str
    price: Money
    images: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    group_id: ProductId | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        return slug(self.name, self.id)


@dataclass(frozen=True, slots=True)
class Rating:
    """Mean of 1 to 5 stars; 0 when nobody has rated."""

    average: float
    count: int


@dataclass(frozen=True, slots=True)
class Listing:
    """A product as lists show it, with what other services have told of it."""

    product: Product
    in_stock: bool
    rating: Rating


def slug(name: str, product_id: ProductId) -> str:
    """The name in lower-case ASCII words, ended by the id, which makes it unique: `cafe-creme-7`."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = "-".join(re.findall(r"[a-z0-9]+", ascii_name))[:_SLUG_CHARACTERS].strip("-")
    return f"{words}-{product_id}" if words else str(product_id)
