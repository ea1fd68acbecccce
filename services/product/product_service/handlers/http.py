"""The catalogue over HTTP."""

from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

from chassis.kernel.ids import MAX_ID, ProductId
from chassis.schemas import Answer, Data, Id, Money, PageOf, PageQuery, PathId, Price, Request, Text
from chassis.tokens import Authenticator, Principal, Role
from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator, BeforeValidator, Field

from product_service.domain.categories import CategoryId
from product_service.domain.products import Description, Sort, Wanted
from product_service.service.categories import Categories
from product_service.service.details import ProductPages
from product_service.service.products import Products


class CategoryAnswer(Answer):
    id: int
    name: str


class CategoryRequest(Request):
    name: Annotated[Text, AfterValidator(str.strip), Field(min_length=1, max_length=100, examples=["Coffee"])]


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(c.isspace() or c in '<>"' for c in value):
        raise ValueError("write an address like https://example.com/cup.jpg")
    return value


Image = Annotated[Text, Field(max_length=2048), AfterValidator(_web_address)]


class ProductRequest(Request):
    name: Annotated[Text, AfterValidator(str.strip), Field(min_length=1, max_length=200, examples=["Espresso cup"])]
    description: Annotated[Text, Field(max_length=10_000, examples=["Porcelain, 80 ml"])] = ""
    price: Price
    category_id: Id
    images: list[Image] = Field(default_factory=list, max_length=10)

    def to_description(self) -> Description:
        price, category_id = self.price.to_money(), CategoryId(self.category_id)
        return Description(self.name, self.description, price, category_id, tuple(self.images))


class ProductAnswer(Answer):
    id: int
    name: str
    slug: str
    description: str
    price: Money
    category_id: int
    seller_id: int
    images: list[str]
    created_at: datetime
    updated_at: datetime


class SellerAnswer(Answer):
    id: int
    name: str


class StockAnswer(Answer):
    available: int


class RatingAnswer(Answer):
    """`average` is the mean of 1 to 5 stars; 0 when nobody has rated."""

    average: float
    count: int


class DetailsAnswer(Answer):
    """A part whose service does not answer in time is null, and named in `degraded`."""

    product: ProductAnswer
    seller: SellerAnswer | None
    stock: StockAnswer | None
    rating: RatingAnswer | None
    degraded: list[str]


_absent_when_empty = BeforeValidator(lambda value: None if value == "" else value)
"""Forms send what was left blank as `category=`."""
Words = Annotated[Text, Field(max_length=200)]
Amount = Annotated[int, Field(ge=0, le=MAX_ID)]


def _wanted(
    category: Annotated[Id | None, _absent_when_empty, Query(description="the id of one")] = None,
    q: Annotated[Words | None, _absent_when_empty, Query(description="in name or description")] = None,
    min_price: Annotated[Amount | None, _absent_when_empty, Query(description="in minor units")] = None,
    max_price: Annotated[Amount | None, _absent_when_empty, Query(description="in minor units")] = None,
) -> Wanted:
    return Wanted(None if category is None else CategoryId(category), q, min_price, max_price)


def category_routes(categories: Categories, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/categories", tags=["categories"])
    admin = Depends(auth.role(Role.ADMIN))

    @router.get("", summary="Categories, by name")
    async def list_categories(paging: PageQuery) -> PageOf[CategoryAnswer]:
        page, total = await categories.page(paging.offset, paging.limit)
        data = [CategoryAnswer.model_validate(category) for category in page]
        return PageOf(data=data, page=paging.page, limit=paging.limit, total=total)

    @router.post("", status_code=201, summary="Add a category", dependencies=[admin])
    async def add_category(request: CategoryRequest) -> Data[CategoryAnswer]:
        return Data(data=CategoryAnswer.model_validate(await categories.add(request.name)))

    @router.put("/{category_id}", summary="Rename a category", dependencies=[admin])
    async def rename_category(category_id: PathId, request: CategoryRequest) -> Data[CategoryAnswer]:
        renamed = await categories.rename(CategoryId(category_id), request.name)
        return Data(data=CategoryAnswer.model_validate(renamed))

    @router.delete("/{category_id}", status_code=204, summary="Remove an empty category", dependencies=[admin])
    async def remove_category(category_id: PathId) -> None:
        await categories.remove(CategoryId(category_id))

    return router


def product_routes(products: Products, pages: ProductPages, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/products", tags=["products"])
    selling = auth.role(Role.SELLER, Role.ADMIN)

    @router.get("", summary="Find products")
    async def list_products(
        paging: PageQuery,
        wanted: Annotated[Wanted, Depends(_wanted)],
        sort: Annotated[Sort | None, _absent_when_empty, Query(description="default: newest")] = None,
    ) -> PageOf[ProductAnswer]:
        page, total = await products.page(wanted, sort or Sort.NEWEST, paging.offset, paging.limit)
        data = [ProductAnswer.model_validate(product) for product in page]
        return PageOf(data=data, page=paging.page, limit=paging.limit, total=total)

    @router.get("/{product_id}", summary="A product with its seller, stock and rating")
    async def get_details(product_id: PathId) -> Data[DetailsAnswer]:
        return Data(data=DetailsAnswer.model_validate(await pages.details(ProductId(product_id))))

    @router.post("", status_code=201, summary="Sell a product")
    async def add_product(
        request: ProductRequest, principal: Annotated[Principal, Depends(selling)]
    ) -> Data[ProductAnswer]:
        return Data(data=ProductAnswer.model_validate(await products.add(principal, request.to_description())))

    @router.put("/{product_id}", summary="Replace what is said of a product")
    async def revise_product(
        product_id: PathId, request: ProductRequest, principal: Annotated[Principal, Depends(selling)]
    ) -> Data[ProductAnswer]:
        revised = await products.revise(principal, ProductId(product_id), request.to_description())
        return Data(data=ProductAnswer.model_validate(revised))

    @router.delete("/{product_id}", status_code=204, summary="Stop selling a product")
    async def delete_product(product_id: PathId, principal: Annotated[Principal, Depends(selling)]) -> None:
        await products.delete(principal, ProductId(product_id))

    return router
