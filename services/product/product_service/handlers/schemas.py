"""The request and response bodies of the HTTP API, its query parameters, and the pagination cursor."""

import base64
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlsplit

from chassis.http.schemas import Id, Money, PageOf, Price, RequestBody, ResponseBody, StorableText
from chassis.types.ids import MAX_ID, ProductId, UserId
from fastapi import Query
from pydantic import AfterValidator, BeforeValidator, Field

from product_service.domain.categories import UNSET, CategoryId, Unset
from product_service.domain.details import ProductDetails
from product_service.domain.errors import BadCursor
from product_service.domain.products import ListedProduct, Product, ProductContent
from product_service.domain.recommendations import Reason, Recommendation
from product_service.domain.search import Cursor, ProductFilter, ResultPage, Sort
from product_service.domain.search_terms import parse_search_terms


class CategoryResponse(ResponseBody):
    id: int
    name: str
    parent_id: int | None


class CategoryTreeResponse(CategoryResponse):
    """A category with all its descendants, each level sorted by name."""

    children: list["CategoryTreeResponse"]


class CategoryRequest(RequestBody):
    """`parent_id` null makes the category a root. If left out, a new category is a root, an existing one stays."""

    name: Annotated[StorableText, AfterValidator(str.strip), Field(min_length=1, max_length=100, examples=["Coffee"])]
    parent_id: Id | None = None

    @property
    def parent(self) -> CategoryId | Unset | None:
        if "parent_id" not in self.model_fields_set:
            return UNSET
        return None if self.parent_id is None else CategoryId(self.parent_id)


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(c.isspace() or c in '<>"' for c in value):
        raise ValueError("write an address like https://example.com/cup.jpg")
    return value


Image = Annotated[StorableText, Field(max_length=2048), AfterValidator(_web_address)]
OptionName = Annotated[StorableText, AfterValidator(str.strip), Field(min_length=1, max_length=50, examples=["size"])]
OptionValue = Annotated[StorableText, AfterValidator(str.strip), Field(min_length=1, max_length=100, examples=["M"])]


class ProductRequest(RequestBody):
    """`group_id` makes the product a variant of others, and `options` distinguish it from them.

    Give the `group_id` of another variant, or the id of a product of the same seller that has no group yet and then
    becomes the first variant; null removes the product from its group. If either field is left out, it stays unchanged.
    """

    name: Annotated[
        StorableText, AfterValidator(str.strip), Field(min_length=1, max_length=200, examples=["Espresso cup"])
    ]
    description: Annotated[StorableText, Field(max_length=10_000, examples=["Porcelain, 80 ml"])] = ""
    price: Price
    category_id: Id
    images: list[Image] = Field(default_factory=list, max_length=10)
    group_id: Id | None = None
    options: dict[OptionName, OptionValue] = Field(default_factory=dict, max_length=10, examples=[{"size": "M"}])

    def to_content(self) -> ProductContent:
        group_id = None if self.group_id is None else ProductId(self.group_id)
        return ProductContent(
            name=self.name,
            description=self.description,
            price=self.price.to_money(),
            category_id=CategoryId(self.category_id),
            images=tuple(self.images),
            group_id=group_id if "group_id" in self.model_fields_set else UNSET,
            options=self.options if "options" in self.model_fields_set else UNSET,
        )


class ProductResponse(ResponseBody):
    id: int
    name: str
    slug: str
    description: str
    price: Money
    category_id: int
    seller_id: int
    images: list[str]
    group_id: int | None
    options: dict[str, str]
    created_at: datetime
    updated_at: datetime


class SellerResponse(ResponseBody):
    id: int
    name: str


class StockResponse(ResponseBody):
    available: Annotated[int, Field(description="units that can be ordered now, none above a limit of the shop")]
    is_exact: Annotated[bool, Field(description="false if more units are available than shown")]


class RatingResponse(ResponseBody):
    """`average` is the mean of 1 to 5 stars; 0 without ratings."""

    average: float
    count: int


class ListedProductResponse(ProductResponse):
    """A product as lists show it. Stock and rating lag behind the services that own them by moments."""

    in_stock: bool
    rating: RatingResponse


class RecommendedProductResponse(ListedProductResponse):
    reason: Reason


class ProductDetailsResponse(ResponseBody):
    """A part whose service does not answer in time is null, and named in `degraded`.

    `variants` are the other products of the product's group.
    """

    product: ProductResponse
    seller: SellerResponse | None
    stock: StockResponse | None
    rating: RatingResponse | None
    variants: list[ListedProductResponse] | None
    degraded: list[str]


class SuggestionResponse(ResponseBody):
    text: str


class CategoryCountResponse(ResponseBody):
    """`count` includes the products of the category's descendants."""

    category_id: int
    name: str
    count: int


class PriceRangeResponse(ResponseBody):
    """The range from `min_price` to below `max_price`, which is null for the last range; in minor units."""

    currency: str
    min_price: int
    max_price: int | None
    count: int


class StockCountResponse(ResponseBody):
    in_stock: bool
    count: int


class FacetsResponse(ResponseBody):
    """The number of products that each choice would show: those that pass every filter except the facet's own."""

    categories: list[CategoryCountResponse]
    price_ranges: list[PriceRangeResponse]
    in_stock: list[StockCountResponse]


class ProductListResponse(PageOf[ListedProductResponse]):
    """`next` is the cursor of the next page, null on the last page.

    `total` is counted up to 10000; `total_is_exact` is false if there are more.
    """

    total_is_exact: bool
    next: str | None
    facets: FacetsResponse | None = None


MAX_CURSOR_LENGTH = 2_000
empty_as_none = BeforeValidator(lambda value: None if value == "" else value)
"""Treats an empty parameter as absent: forms send blank fields as `category=`."""
SearchText = Annotated[StorableText, Field(max_length=200)]
Amount = Annotated[int, Field(ge=0, le=MAX_ID)]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", examples=["USD"])]
Stars = Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]
CursorText = Annotated[str, Field(max_length=MAX_CURSOR_LENGTH)]


async def product_filter(
    category: Annotated[
        Id | None, empty_as_none, Query(description="the id of a category, which includes its descendants")
    ] = None,
    q: Annotated[SearchText | None, empty_as_none, Query(description="words of the name or description")] = None,
    min_price: Annotated[
        Amount | None, empty_as_none, Query(description="the minimum price in minor units of `currency`, inclusive")
    ] = None,
    max_price: Annotated[
        Amount | None, empty_as_none, Query(description="the maximum price in minor units of `currency`, inclusive")
    ] = None,
    currency: Annotated[
        Currency | None,
        empty_as_none,
        Query(
            description="ISO 4217 code of the price; required to sort or filter by price if the shop has products in"
            " several currencies"
        ),
    ] = None,
    in_stock: Annotated[
        bool | None, empty_as_none, Query(description="true: only products in stock; false: only those out of stock")
    ] = None,
    seller_id: Annotated[Id | None, empty_as_none, Query(description="the id of the seller")] = None,
    min_rating: Annotated[Stars | None, empty_as_none, Query(description="the minimum average of stars")] = None,
) -> ProductFilter:
    return ProductFilter(
        category_id=None if category is None else CategoryId(category),
        terms=None if q is None else parse_search_terms(q),
        min_price=min_price,
        max_price=max_price,
        currency=currency,
        in_stock=in_stock,
        seller_id=None if seller_id is None else UserId(seller_id),
        min_rating=min_rating,
    )


_SORT_ALIASES = {"": None, "price": Sort.PRICE_ASC, "-price": Sort.PRICE_DESC}
SortParameter = Annotated[
    Sort | None,
    BeforeValidator(lambda value: _SORT_ALIASES.get(value, value)),
    Query(
        description="default: relevance if q is given, else newest; price and -price are older names of price_asc and"
        " price_desc"
    ),
]


JsonObject = dict[str, object]
"""An object of JSON. The functions below build those of the models above, with the same fields in the same order."""


def product_list_json(page: ResultPage, limit: int) -> JsonObject:
    """Builds a ProductListResponse. `facets` is left out if they were not requested."""
    fields = {
        "data": [listed_product_json(listed) for listed in page.products],
        "page": page.number,
        "limit": limit,
        "total": page.total,
        "total_is_exact": page.total_is_exact,
        "next": page.next and encode_cursor(page.next),
    }
    return {**fields, "facets": asdict(page.facets)} if page.facets else fields


def product_json(product: Product) -> JsonObject:
    """Builds a ProductResponse."""
    return {
        "id": product.id,
        "name": product.name,
        "slug": product.slug,
        "description": product.description,
        "price": {"amount": product.price.amount, "currency": product.price.currency},
        "category_id": product.category_id,
        "seller_id": product.seller_id,
        "images": product.images,
        "group_id": product.group_id,
        "options": product.options,
        "created_at": product.created_at,
        "updated_at": product.updated_at,
    }


def listed_product_json(listed: ListedProduct) -> JsonObject:
    """Builds a ListedProductResponse."""
    rating = {"average": listed.rating.average, "count": listed.rating.count}
    return {**product_json(listed.product), "in_stock": listed.in_stock, "rating": rating}


def recommended_product_json(recommendation: Recommendation) -> JsonObject:
    """Builds a RecommendedProductResponse."""
    return {**listed_product_json(recommendation.listed), "reason": recommendation.reason}


def product_details_json(details: ProductDetails) -> JsonObject:
    """Builds a ProductDetailsResponse."""
    return {
        "product": product_json(details.product),
        "seller": details.seller and asdict(details.seller),
        "stock": details.stock and asdict(details.stock),
        "rating": details.rating and asdict(details.rating),
        "variants": None if details.variants is None else [listed_product_json(listed) for listed in details.variants],
        "degraded": details.degraded,
    }


_MAX_PAGE = 10**9


def encode_cursor(cursor: Cursor) -> str:
    """Encodes a cursor as text for the client. It is neither secret nor signed: `decode_cursor` validates it."""
    key = [value.isoformat() if isinstance(value, datetime) else value for value in cursor.key]
    encoded = json.dumps([cursor.sort, cursor.page, *key], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(encoded.encode()).decode().rstrip("=")


def decode_cursor(text: str, sort: Sort) -> Cursor:
    """Decodes the cursor of a list with this sort order. Raises BadCursor."""
    try:
        encoded = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
        encoded_sort, page, *key = encoded
        if encoded_sort != sort:
            raise BadCursor
        values = tuple(parse(value) for parse, value in zip(_KEY_PARSERS[sort], key, strict=True))
        return Cursor(sort, values, _parse_integer(page, 1, _MAX_PAGE))
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise BadCursor from None


def _parse_integer(value: object, least: int = -MAX_ID, most: int = MAX_ID) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError
    return value


def _parse_number(value: object) -> float:
    if not isinstance(value, float) or not math.isfinite(value):
        raise ValueError
    return value


def _parse_time(value: object) -> datetime:
    time = datetime.fromisoformat(_parse_text(value))
    if time.tzinfo is None:
        raise ValueError
    return time.astimezone(UTC)


def _parse_text(value: object) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError
    value.encode()  # raises UnicodeEncodeError, a ValueError, for half a surrogate pair
    return value


_KEY_PARSERS: Mapping[Sort, tuple[Callable[[object], str | int | float | datetime], ...]] = {
    Sort.RELEVANCE: (_parse_number, _parse_integer),
    Sort.NEWEST: (_parse_time, _parse_integer),
    Sort.PRICE_ASC: (_parse_integer, _parse_integer),
    Sort.PRICE_DESC: (_parse_integer, _parse_integer),
    Sort.RATING: (_parse_number, _parse_integer, _parse_integer),
    Sort.POPULAR: (_parse_integer, _parse_integer),
    Sort.NAME: (_parse_text, _parse_integer),
}
