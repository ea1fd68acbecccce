"""The HTTP routes that search for products."""

from typing import Annotated

from chassis.http.encoding import JsonResponse
from chassis.http.schemas import Data, PageQuery
from fastapi import APIRouter, Depends, Query

from product_service.domain.search import PageRequest, ProductFilter, effective_sort
from product_service.domain.search_terms import parse_search_terms
from product_service.handlers.schemas import (
    CursorText,
    ProductListResponse,
    SearchText,
    SortParameter,
    SuggestionResponse,
    decode_cursor,
    empty_as_none,
    product_filter,
    product_list_json,
)
from product_service.service.search import SearchService


def routes(search: SearchService) -> APIRouter:
    """Returns the routes. Include them before those of single products: `suggest` is not a product's id."""
    router = APIRouter(prefix="/api/v1/products", tags=["products"])

    @router.get("", summary="Search for products", response_model=ProductListResponse)
    async def list_products(
        paging: PageQuery,
        filters: Annotated[ProductFilter, Depends(product_filter)],
        sort: SortParameter = None,
        facets: Annotated[
            bool | None, empty_as_none, Query(description="true: also return the facets, with counts")
        ] = None,
        cursor: Annotated[
            CursorText | None, Query(description="`next` of the previous page; takes precedence over `page`")
        ] = None,
    ) -> JsonResponse:
        """Pages have numbers, up to product 10000 of a list. To read beyond that, or to read many pages, follow `next`.

        Such a page begins right after the last product of the previous one, regardless of products that were added or
        deleted since then, and costs the same at any depth.
        """
        after = decode_cursor(cursor, effective_sort(filters, sort)) if cursor else None
        request = PageRequest(paging.page, paging.limit, after)
        page = await search.search(filters, sort, request, with_facets=bool(facets))
        return JsonResponse(product_list_json(page, paging.limit))

    @router.get(
        "/suggest",
        summary="Suggest product names for a search that is being typed",
        response_model=Data[list[SuggestionResponse]],
    )
    async def suggest(
        q: Annotated[SearchText, Query(description="the text typed so far")],
        limit: Annotated[int, Query(ge=1, le=20, description="the maximum number of suggestions")] = 10,
    ) -> JsonResponse:
        terms = parse_search_terms(q)
        names = await search.suggest(terms, limit) if terms else []
        return JsonResponse({"data": [{"text": name} for name in names]})

    return router
