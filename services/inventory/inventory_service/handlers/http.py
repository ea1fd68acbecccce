"""Stock over HTTP."""

from typing import Annotated

from chassis.kernel.ids import ProductId
from chassis.schemas import Answer, Data, Id, PathId, Quantity, Request
from chassis.tokens import Authenticator, Principal, Role
from fastapi import APIRouter, Depends
from pydantic import Field

from inventory_service.domain.stock import Line
from inventory_service.service.stock import StockKeeping


class StockAnswer(Answer):
    """Units: `available` is what may be ordered now."""

    product_id: int
    on_hand: int
    reserved: int
    available: int


class CountRequest(Request):
    quantity: Annotated[int, Field(ge=0, le=1_000_000_000, description="the new on_hand", examples=[25])]


class WantedItem(Request):
    product_id: Id
    quantity: Quantity


class AvailabilityRequest(Request):
    items: Annotated[list[WantedItem], Field(min_length=1, max_length=100)]


class ShortageAnswer(Answer):
    product_id: int
    wanted: int
    available: int


class AvailabilityAnswer(Answer):
    available: bool
    shortages: list[ShortageAnswer]


def routes(stock: StockKeeping, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/inventory", tags=["inventory"])
    stock_setter = auth.role(Role.SELLER, Role.ADMIN)

    @router.get("/{product_id}", summary="Stock of a product")
    async def get_stock(product_id: PathId) -> Data[StockAnswer]:
        return Data(data=StockAnswer.model_validate(await stock.stock_of(ProductId(product_id))))

    @router.post("/check-availability", summary="Whether a basket could be ordered now; reserves nothing")
    async def check_availability(request: AvailabilityRequest) -> Data[AvailabilityAnswer]:
        lacking = await stock.shortages([Line(ProductId(item.product_id), item.quantity) for item in request.items])
        shortages = [ShortageAnswer.model_validate(shortage) for shortage in lacking]
        return Data(data=AvailabilityAnswer(available=not shortages, shortages=shortages))

    @router.put("/{product_id}", summary="Set what is in the warehouse")
    async def set_stock(
        product_id: PathId, request: CountRequest, principal: Annotated[Principal, Depends(stock_setter)]
    ) -> Data[StockAnswer]:
        counted = await stock.count(principal, ProductId(product_id), request.quantity)
        return Data(data=StockAnswer.model_validate(counted))

    return router
