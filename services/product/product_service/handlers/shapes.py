"""What callers of the catalogue send and get, over HTTP."""

from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

from chassis.http.schemas import Id, Money, PageOf, Price, RequestBody, ResponseBody, StorableText
from chassis.types.ids import MAX_ID, ProductId, UserId
from fastapi import Query
from pydantic import AfterValidator, BeforeValidator, Field

from product_service.domain.categories import UNSAID, CategoryId, Unsaid
from product_service.domain.details import Details
from product_service.domain.lists import Sort, Wanted
from product_service.domain.products import Description, Listing
from product_service.domain.recommendations import Reason, Recommendation
from product_service.domain.search import question
from product_service.handlers.cursors import MAX_CHARACTERS


class CategoryAnswer(ResponseBody):
    id: int
    name: str
    parent_id: int | None


class BranchAnswer(CategoryAnswer):
    """A category with all that is below it, each level by name."""

    children: list["BranchAnswer"]


class CategoryRequest(RequestBody):
    """`parent_id`: null makes it a root. Left out, a new category is a root, and another stays where it is."""

    name: Annotated[StorableText, AfterValidator(str.strip), Field(min_length=1, max_length=100, examples=["Coffee"])]
    parent_id: Id | None = None

    @property
    def parent(self) -> CategoryId | Unsaid | None:
        if "parent_id" not in self.model_fields_set:
            return UNSAID
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
    """`group_id` makes a product a variant: that of another variant, or the id of a product of the same seller's that has none yet, and
    so becomes the first; null parts it from its group. `options` tell variants apart. Left out, either stays as it is.
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

    def to_description(self) -> Description:
        price, category_id = self.price.to_money(), CategoryId(self.category_id)
        group_id = None if self.group_id is None else ProductId(self.group_id)
        return Description(
            self.name,
            self.description,
            price,
            category_id,
            tuple(self.images),
            group_id if "group_id" in self.model_fields_set else UNSAID,
            self.options if "options" in self.model_fields_set else UNSAID,
        )


class ProductAnswer(ResponseBody):
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


class SellerAnswer(ResponseBody):
    id: int
    name: str


class StockAnswer(ResponseBody):
    available: int


class RatingAnswer(ResponseBody):
    """`average` is the mean of 1 to 5 stars; 0 when nobody has rated."""

    average: float
    count: int


class ListedAnswer(ProductAnswer):
    """A product as lists show it. Stock and rating follow the services that own them within moments."""

    in_stock: bool
    rating: RatingAnswer


class RecommendedAnswer(ListedAnswer):
    reason: Reason


class DetailsAnswer(ResponseBody):
    """A part whose service does not answer in time is null, and named in `degraded`. `variants` are the others of the product's group."""

    product: ProductAnswer
    seller: SellerAnswer | None
    stock: StockAnswer | None
    rating: RatingAnswer | None
    variants: list[ListedAnswer] | None
    degraded: list[str]


class SuggestionAnswer(ResponseBody):
    text: str


class CategoryCountAnswer(ResponseBody):
    """`count` has what is below the category in it."""

    category_id: int
    name: str
    count: int


class PriceRangeAnswer(ResponseBody):
    """From `min_price` to below `max_price`, which is null for the last range; in minor units."""

    currency: str
    min_price: int
    max_price: int | None
    count: int


class StockCountAnswer(ResponseBody):
    in_stock: bool
    count: int


class FacetsAnswer(ResponseBody):
    """How many products each choice would show: those that fit all the list's conditions but the one on the facet itself."""

    categories: list[CategoryCountAnswer]
    price_ranges: list[PriceRangeAnswer]
    in_stock: list[StockCountAnswer]


class ProductList(PageOf[ListedAnswer]):
    """`next` is the cursor of the page that follows, null on the last. `total` is counted up to 10000, and says whether that is exact."""

    total_is_exact: bool
    next: str | None
    facets: FacetsAnswer | None = None


absent_when_empty = BeforeValidator(lambda value: None if value == "" else value)
"""Forms send what was left blank as `category=`."""
Words = Annotated[StorableText, Field(max_length=200)]
Amount = Annotated[int, Field(ge=0, le=MAX_ID)]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", examples=["USD"])]
Stars = Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]
Cursor = Annotated[str, Field(max_length=MAX_CHARACTERS)]


def wanted(
    category: Annotated[Id | None, absent_when_empty, Query(description="the id of one; what is below it, too")] = None,
    q: Annotated[Words | None, absent_when_empty, Query(description="words of name or description")] = None,
    min_price: Annotated[Amount | None, absent_when_empty, Query(description="in minor units")] = None,
    max_price: Annotated[Amount | None, absent_when_empty, Query(description="in minor units")] = None,
    currency: Annotated[Currency | None, absent_when_empty, Query()] = None,
    in_stock: Annotated[bool | None, absent_when_empty, Query(description="false: only what is out of it")] = None,
    seller_id: Annotated[Id | None, absent_when_empty, Query()] = None,
    min_rating: Annotated[Stars | None, absent_when_empty, Query(description="average of stars")] = None,
) -> Wanted:
    return Wanted(
        category_id=None if category is None else CategoryId(category),
        question=None if q is None else question(q),
        min_price=min_price,
        max_price=max_price,
        currency=currency,
        in_stock=in_stock,
        seller_id=None if seller_id is None else UserId(seller_id),
        min_rating=min_rating,
    )


_OLDER_NAMES = {"": None, "price": Sort.CHEAPEST, "-price": Sort.DEAREST}
Order = Annotated[
    Sort | None,
    BeforeValidator(lambda value: _OLDER_NAMES.get(value, value)),
    Query(description="default: relevance where there is q, else newest; price and -price are older names of price_*"),
]


def listed(listing: Listing) -> ListedAnswer:
    return ListedAnswer.model_validate(_members(listing))


def recommended(recommendation: Recommendation) -> RecommendedAnswer:
    return RecommendedAnswer.model_validate({**_members(recommendation.listing), "reason": recommendation.reason})


def _members(listing: Listing) -> dict[str, object]:
    product = ProductAnswer.model_validate(listing.product)
    return {**product.model_dump(), "in_stock": listing.in_stock, "rating": listing.rating}


def details(page: Details) -> DetailsAnswer:
    variants = None if page.variants is None else [listed(listing) for listing in page.variants]
    return DetailsAnswer(
        product=ProductAnswer.model_validate(page.product),
        seller=page.seller and SellerAnswer.model_validate(page.seller),
        stock=page.stock and StockAnswer.model_validate(page.stock),
        rating=page.rating and RatingAnswer.model_validate(page.rating),
        variants=variants,
        degraded=page.degraded,
    )
