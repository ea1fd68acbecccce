"""The stock of a product over HTTP."""

from typing import Annotated

from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.csv_documents import CSV_RESPONSES, CsvRoute
from chassis.http.schemas import Data, PathId
from chassis.types.ids import ProductId
from fastapi import APIRouter, Depends

from inventory_service.domain.stock import Line
from inventory_service.handlers.schemas import (
    AvailabilityRequest,
    AvailabilityResponse,
    ManagedStockResponse,
    SetStockRequest,
    ShortageResponse,
    StockResponse,
)
from inventory_service.service.stock import StockService


def routes(stock: StockService, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/inventory", tags=["inventory"], route_class=CsvRoute)
    seller_or_admin = Depends(auth.role(Role.SELLER, Role.ADMIN))

    @router.get("/{product_id}", responses=CSV_RESPONSES, summary="Get the stock of a product")
    async def get_stock(product_id: PathId) -> Data[StockResponse]:
        return Data(data=StockResponse.model_validate(await stock.stock_of(ProductId(product_id))))

    @router.post(
        "/check-availability",
        summary="Check whether items could be ordered now",
        description="Lists the products with too few units available. Reserves nothing.",
    )
    async def check_availability(request: AvailabilityRequest) -> Data[AvailabilityResponse]:
        found = await stock.shortages([Line(ProductId(item.product_id), item.quantity) for item in request.items])
        shortages = [ShortageResponse.model_validate(shortage) for shortage in found]
        return Data(data=AvailabilityResponse(available=not shortages, shortages=shortages))

    @router.put(
        "/{product_id}",
        summary="Set the stock of a product",
        description="Sets the units on hand and, if given, the low-stock threshold. Sellers do so for their products.",
    )
    async def set_stock(
        product_id: PathId, request: SetStockRequest, principal: Annotated[Principal, seller_or_admin]
    ) -> Data[ManagedStockResponse]:
        changed = await stock.set_stock(principal, ProductId(product_id), request.quantity, request.low_stock_threshold)
        return Data(data=ManagedStockResponse.model_validate(changed))

    return router
