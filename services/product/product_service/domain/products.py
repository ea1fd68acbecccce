"""Products and their content. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from chassis.types.ids import ProductId, UserId
from chassis.types.money import Money

from product_service.domain.categories import UNSET, CategoryId, Unset
from product_service.domain.folding import transliterate

MAX_VARIANTS = 100
"""Products that a group has at most: the page of one product shows all the others."""
_SLUG_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class ProductContent:
    """Everything that a seller enters about a product. `group_id` and `options` stay unchanged if they are unset."""

    name: str
    description: str
    price: Money
    category_id: CategoryId
    images: tuple[str, ...] = ()
    group_id: ProductId | Unset | None = UNSET
    options: Mapping[str, str] | Unset = UNSET


@dataclass(frozen=True, slots=True)
class Product:
    """An item that can be ordered. Products with the same `group_id` are variants, which differ in their `options`."""

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
    """The mean of 1 to 5 stars, 0 without ratings; and the number of ratings."""

    average: float
    count: int


@dataclass(frozen=True, slots=True)
class ListedProduct:
    """A product as lists show it, with its stock and rating as other services last reported them."""

    product: Product
    in_stock: bool
    rating: Rating


@lru_cache(maxsize=10_000)
def slug(name: str, product_id: ProductId) -> str:
    """Returns the name in lower-case ASCII words, followed by the id, which makes it unique: `cafe-creme-7`."""
    ascii_name = transliterate(name).encode("ascii", "ignore").decode()
    words = "-".join(re.findall(r"[a-z0-9]+", ascii_name))[:_SLUG_CHARACTERS].strip("-")
    return f"{words}-{product_id}" if words else str(product_id)
