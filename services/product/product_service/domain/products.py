"""Products, and what one may ask for in a list of them. Pure."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chassis.kernel.ids import ProductId, UserId
from chassis.kernel.money import Money

from product_service.domain.categories import CategoryId

_SLUG_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Description:
    """All that a seller says of a product."""

    name: str
    text: str
    price: Money
    category_id: CategoryId
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Product:
    id: ProductId
    seller_id: UserId
    category_id: CategoryId
    name: str
    description: str
    price: Money
    images: tuple[str, ...]
    created_at: datetime
    updated_at: datetime

    @property
    def slug(self) -> str:
        return slug(self.name, self.id)


def slug(name: str, product_id: ProductId) -> str:
    """The name in lower-case ASCII words, ended by the id, which makes it unique: `cafe-creme-7`."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = "-".join(re.findall(r"[a-z0-9]+", ascii_name))[:_SLUG_CHARACTERS].strip("-")
    return f"{words}-{product_id}" if words else str(product_id)


class Sort(StrEnum):
    """The order of a list. Prices are compared in minor units, whatever their currency."""

    NEWEST = "newest"
    CHEAPEST = "price"
    DEAREST = "-price"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which products a list shows; what is None does not narrow it. Both ends of the price range belong to it."""

    category_id: CategoryId | None = None
    text: str | None = None
    min_price: int | None = None
    max_price: int | None = None
