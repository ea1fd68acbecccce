"""What one may ask for in a list of products, its order, and the place where a page of it ends. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chassis.types.ids import UserId

from product_service.domain.categories import CategoryId
from product_service.domain.products import Listing
from product_service.domain.search import Question

COUNTED = 10_000
"""Lists are counted this far, ranked this far, and paged by number this far; a cursor goes on to the end."""

PRICE_STEPS = (1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)
"""Where one price range ends and the next begins, in minor units."""


class Sort(StrEnum):
    """The order of a list. Prices are compared in minor units, whatever their currency."""

    RELEVANCE = "relevance"
    NEWEST = "newest"
    CHEAPEST = "price_asc"
    DEAREST = "price_desc"
    RATING = "rating"
    POPULAR = "popular"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which products a list shows; what is None does not narrow it. A category stands for all that is below it, too. Both ends
    of the price range belong to it.
    """

    category_id: CategoryId | None = None
    question: Question | None = None
    min_price: int | None = None
    max_price: int | None = None
    currency: str | None = None
    in_stock: bool | None = None
    seller_id: UserId | None = None
    min_rating: float | None = None


Key = tuple[str | int | float | datetime, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: after the row with this key in this order. `page` is its number, for who counts them."""

    sort: Sort
    key: Key
    page: int


@dataclass(frozen=True, slots=True)
class PriceRange:
    """How many products cost from `min_price` to below `max_price`, which is None for the last range."""

    currency: str
    min_price: int
    max_price: int | None
    count: int


@dataclass(frozen=True, slots=True)
class CategoryCount:
    """How many products are in a category or below it."""

    category_id: CategoryId
    name: str
    count: int


@dataclass(frozen=True, slots=True)
class StockCount:
    in_stock: bool
    count: int


@dataclass(frozen=True, slots=True)
class Facets:
    """How many products each choice would show: those that all the list's conditions fit, but for the one on the facet itself."""

    categories: Sequence[CategoryCount]
    price_ranges: Sequence[PriceRange]
    in_stock: Sequence[StockCount]


@dataclass(frozen=True, slots=True)
class Page:
    """`total` is counted up to COUNTED; where that is not exact, there are more."""

    listings: Sequence[Listing]
    number: int
    total: int
    total_is_exact: bool
    next: Position | None
    facets: Facets | None = None


def price_range(currency: str, step: int, count: int) -> PriceRange:
    """The range that `step` of PRICE_STEPS ends; the last one has no end."""
    lowest = PRICE_STEPS[step - 1] if step > 0 else 0
    return PriceRange(currency, lowest, PRICE_STEPS[step] if step < len(PRICE_STEPS) else None, count)
