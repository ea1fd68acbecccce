"""Product search: filters, sort orders, result pages, pagination cursors and facets. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chassis.types.ids import UserId

from product_service.domain.categories import CategoryId
from product_service.domain.products import ListedProduct
from product_service.domain.search_terms import SearchTerms

MAX_COUNTED = 10_000
"""Results are counted, ranked and paged by number up to this one; a cursor leads on to the end."""

PRICE_STEPS = (1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)
"""The boundaries between price ranges, in minor units."""


class Sort(StrEnum):
    """The order of a list."""

    RELEVANCE = "relevance"
    NEWEST = "newest"
    PRICE_ASC = "price_asc"
    PRICE_DESC = "price_desc"
    RATING = "rating"
    POPULAR = "popular"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class ProductFilter:
    """The products that a list shows; a field that is None does not restrict it.

    A category includes its descendants. The price range includes both ends.
    """

    category_id: CategoryId | None = None
    terms: SearchTerms | None = None
    min_price: int | None = None
    max_price: int | None = None
    currency: str | None = None
    in_stock: bool | None = None
    seller_id: UserId | None = None
    min_rating: float | None = None

    def compares_prices(self, sort: Sort) -> bool:
        """Returns whether a list in this order depends on amounts, which only one currency has in common."""
        return sort in (Sort.PRICE_ASC, Sort.PRICE_DESC) or self.min_price is not None or self.max_price is not None


SortKey = tuple[str | int | float | datetime, ...]
"""The values that determine a product's place in a sort order, the id last."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position where the page with number `page` begins: after the product with this key in this order."""

    sort: Sort
    key: SortKey
    page: int


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The page of `limit` results behind the cursor `after`, or else the page with this number, counted from 1."""

    number: int
    limit: int
    after: Cursor | None = None


@dataclass(frozen=True, slots=True)
class PriceRange:
    """The number of products that cost from `min_price` to below `max_price`, which is None for the last range."""

    currency: str
    min_price: int
    max_price: int | None
    count: int


@dataclass(frozen=True, slots=True)
class CategoryCount:
    """The number of products in a category or its descendants."""

    category_id: CategoryId
    name: str
    count: int


@dataclass(frozen=True, slots=True)
class StockCount:
    in_stock: bool
    count: int


@dataclass(frozen=True, slots=True)
class Facets:
    """The number of products that each choice would show: those that pass every filter except the facet's own."""

    categories: Sequence[CategoryCount]
    price_ranges: Sequence[PriceRange]
    in_stock: Sequence[StockCount]


@dataclass(frozen=True, slots=True)
class ResultPage:
    """One page of results. `total` is counted up to MAX_COUNTED; if it is not exact, there are more."""

    products: Sequence[ListedProduct]
    number: int
    total: int
    total_is_exact: bool
    next: Cursor | None
    facets: Facets | None = None


def effective_sort(filters: ProductFilter, sort: Sort | None) -> Sort:
    """Returns the order of a list that requests `sort` or, if None, does not request any.

    Without search terms there is no relevance: such a list is sorted by age, the newest first.
    """
    if filters.terms is None:
        return Sort.NEWEST if sort in (None, Sort.RELEVANCE) else sort
    return sort or Sort.RELEVANCE


def price_range(currency: str, step: int, count: int) -> PriceRange:
    """Returns the range that ends at `step` of PRICE_STEPS; the last range has no end."""
    lowest = PRICE_STEPS[step - 1] if step > 0 else 0
    return PriceRange(currency, lowest, PRICE_STEPS[step] if step < len(PRICE_STEPS) else None, count)
