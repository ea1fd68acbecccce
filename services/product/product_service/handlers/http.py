"""The catalogue over HTTP."""

from typing import Annotated

from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.schemas import Data, PageOf, PageQuery, PathId
from chassis.types.ids import ProductId
from fastapi import APIRouter, Depends, Query

from product_service.domain.categories import UNSAID, CategoryId
from product_service.domain.lists import Wanted
from product_service.domain.search import question
from product_service.handlers import cursors
from product_service.handlers.shapes import (
    BranchAnswer,
    CategoryAnswer,
    CategoryRequest,
    Cursor,
    DetailsAnswer,
    FacetsAnswer,
    Order,
    ProductAnswer,
    ProductList,
    ProductRequest,
    RecommendedAnswer,
    SuggestionAnswer,
    Words,
    absent_when_empty,
    details,
    listed,
    recommended,
    wanted,
)
from product_service.service.categories import Categories
from product_service.service.details import ProductPages
from product_service.service.products import Products
from product_service.service.recommendations import Recommending
from product_service.service.search import Finding, order_of


def category_routes(categories: Categories, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/categories", tags=["categories"])
    admin = Depends(auth.role(Role.ADMIN))

    @router.get("", summary="Categories as trees, by name")
    async def list_categories(paging: PageQuery) -> PageOf[BranchAnswer]:
        """A page of roots, each with all that is below it; `total` counts roots."""
        page, total = await categories.page(paging.offset, paging.limit)
        data = [BranchAnswer.model_validate(branch) for branch in page]
        return PageOf(data=data, page=paging.page, limit=paging.limit, total=total)

    @router.post("", status_code=201, summary="Add a category", dependencies=[admin])
    async def add_category(request: CategoryRequest) -> Data[CategoryAnswer]:
        parent_id = None if request.parent is UNSAID else request.parent
        return Data(data=CategoryAnswer.model_validate(await categories.add(request.name, parent_id)))

    @router.put("/{category_id}", summary="Rename or move a category", dependencies=[admin])
    async def revise_category(category_id: PathId, request: CategoryRequest) -> Data[CategoryAnswer]:
        revised = await categories.revise(CategoryId(category_id), request.name, request.parent)
        return Data(data=CategoryAnswer.model_validate(revised))

    @router.delete("/{category_id}", status_code=204, summary="Remove an empty category", dependencies=[admin])
    async def remove_category(category_id: PathId) -> None:
        await categories.remove(CategoryId(category_id))

    return router


def finding_routes(finding: Finding, recommending: Recommending) -> APIRouter:
    """To be included before the routes of single products: `suggest` is no id of one."""
    router = APIRouter(prefix="/api/v1/products", tags=["products"])

    @router.get("", summary="Find products", response_model_exclude_unset=True)
    async def list_products(
        paging: PageQuery,
        asked: Annotated[Wanted, Depends(wanted)],
        sort: Order = None,
        facets: Annotated[bool | None, absent_when_empty, Query(description="count the choices, too")] = None,
        cursor: Annotated[Cursor | None, Query(description="`next` of the page before; goes before `page`")] = None,
    ) -> ProductList:
        """Pages have numbers, up to product 10000 of a list. To read on, and to read much, follow `next`: such a page begins right behind
        the last product of the one before, whatever was added or deleted since, and costs the same however deep it is.
        """
        after = cursors.decode(cursor, order_of(asked, sort)) if cursor else None
        page = await finding.page(asked, sort, paging.page, paging.limit, after, with_facets=bool(facets))
        answer = {
            "data": [listed(listing) for listing in page.listings],
            "page": page.number,
            "limit": paging.limit,
            "total": page.total,
            "total_is_exact": page.total_is_exact,
            "next": page.next and cursors.encode(page.next),
        }
        shown = {"facets": FacetsAnswer.model_validate(page.facets)} if page.facets else {}
        return ProductList.model_validate({**answer, **shown})

    @router.get("/suggest", summary="Names of products for what is being typed")
    async def suggest(
        q: Annotated[Words, Query(description="what is written so far")],
        limit: Annotated[int, Query(ge=1, le=20)] = 10,
    ) -> Data[list[SuggestionAnswer]]:
        asked = question(q)
        names = await finding.suggestions(asked, limit) if asked else []
        return Data(data=[SuggestionAnswer(text=name) for name in names])

    @router.get("/{product_id}/recommendations", summary="What else a shopper may like")
    async def recommend(
        product_id: PathId, limit: Annotated[int, Query(ge=1, le=50)] = 10
    ) -> Data[list[RecommendedAnswer]]:
        """What was bought together with it, then what is popular in its category, then what is popular."""
        found = await recommending.beside(ProductId(product_id), limit)
        return Data(data=[recommended(recommendation) for recommendation in found])

    return router


def product_routes(products: Products, pages: ProductPages, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/products", tags=["products"])
    selling = auth.role(Role.SELLER, Role.ADMIN)

    @router.get("/{product_id}", summary="A product with its variants, seller, stock and rating")
    async def get_details(product_id: PathId) -> Data[DetailsAnswer]:
        return Data(data=details(await pages.details(ProductId(product_id))))

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
