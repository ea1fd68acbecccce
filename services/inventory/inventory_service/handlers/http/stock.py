"""The stock of a product over HTTP."""

from collections.abc import Mapping
from typing import Annotated, Any

from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.csv_documents import CSV_RESPONSES, CsvRoute
from chassis.http.problems import openapi_problem
from chassis.http.schemas import Data, PathId
from chassis.types.ids import ProductId
from fastapi import APIRouter, Depends, Response

from inventory_service.domain.stock import Line, Stock
from inventory_service.handlers.schemas import (
    AvailabilityRequest,
    AvailabilityResponse,
    ExcessResponse,
    ExpectedRevisions,
    ManagedStockResponse,
    SetStockRequest,
    ShortageResponse,
    StockResponse,
)
from inventory_service.service.stock import StockService

_ETAG = {
    "ETag": {
        "description": "The revision of the stock, for If-Match; for sellers and admins",
        "schema": {"type": "string"},
    }
}
_SETTERS = (Role.SELLER, Role.ADMIN)
"""The roles that set stock. No other caller learns from its revision how often it changed."""
_WITH_ETAG: Mapping[int | str, Any] = {200: {"headers": _ETAG}}
_WITH_ETAG_OR_CSV: Mapping[int | str, Any] = {200: {"headers": _ETAG, **CSV_RESPONSES[200]}}


def routes(stock: StockService, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/inventory", tags=["inventory"], route_class=CsvRoute)
    seller_or_admin = Depends(auth.role(*_SETTERS))

    @router.get(
        "/{product_id}",
        summary="Get the stock of a product",
        description="The public sees no exact count above a limit of the shop; the product's seller and admins do."
        " Sellers and admins, who can set stock, get an ETag for If-Match. No cache stores what a caller with a token"
        " gets.",
        responses={**_WITH_ETAG_OR_CSV},
    )
    async def get_stock(
        product_id: PathId, principal: Annotated[Principal | None, Depends(auth.shown_to)], response: Response
    ) -> Data[StockResponse]:
        found = await stock.stock_of(ProductId(product_id))
        if principal is not None and principal.role in _SETTERS:
            response.headers["ETag"] = _etag(found)
        return Data(data=StockResponse.model_validate(stock.show_to(principal, found)))

    @router.post(
        "/check-availability",
        summary="Check whether items could be ordered now",
        description="Lists the products with too few units available, and those of which one order may not have so "
        "many. Reserves nothing.",
    )
    async def check_availability(request: AvailabilityRequest) -> Data[AvailabilityResponse]:
        lines = [Line(ProductId(item.product_id), item.quantity) for item in request.items]
        shortages, excesses = await stock.shortages_and_excesses(lines)
        return Data(
            data=AvailabilityResponse(
                available=not shortages and not excesses,
                shortages=[ShortageResponse.model_validate(shortage) for shortage in shortages],
                over_maximum=[ExcessResponse.model_validate(excess) for excess in excesses],
            )
        )

    @router.put(
        "/{product_id}",
        summary="Set the stock of a product",
        description="Sets the units on hand and, if given, the low-stock threshold and the most units per order. "
        "Sellers do so for their products. "
        "With If-Match, a count is refused if the stock changed after it was read.",
        responses={**_WITH_ETAG, 412: openapi_problem("`stock_changed`: the revision is not that of If-Match")},
    )
    async def set_stock(
        product_id: PathId,
        request: SetStockRequest,
        principal: Annotated[Principal, seller_or_admin],
        expected_revisions: ExpectedRevisions,
        response: Response,
    ) -> Data[ManagedStockResponse]:
        changed = await stock.set_stock(
            principal, ProductId(product_id), request.quantity, request.terms(), expected_revisions
        )
        response.headers["ETag"] = _etag(changed)
        return Data(data=ManagedStockResponse.model_validate(changed))

    return router


def _etag(stock: Stock) -> str:
    return f'"{stock.revision}"'
