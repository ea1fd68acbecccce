"""Stock over HTTP."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from chassis.database import idempotency
from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.schemas import (
    Data,
    Id,
    KeyHeader,
    PageOf,
    PageQuery,
    PathId,
    Quantity,
    RequestBody,
    ResponseBody,
    StorableText,
)
from chassis.types.ids import ProductId
from fastapi import APIRouter, Depends
from pydantic import AfterValidator, Field

from inventory_service.domain.movements import Movement, MovementKind
from inventory_service.domain.stock import MAX_ON_HAND, Line
from inventory_service.service.stock import StockKeeping


class StockAnswer(ResponseBody):
    """Units: `available` is what may be ordered now."""

    product_id: int
    on_hand: int
    reserved: int
    available: int


class KeptStockAnswer(StockAnswer):
    """Stock as who keeps it sees it."""

    low_stock_threshold: int


class CountRequest(RequestBody):
    quantity: Annotated[int, Field(ge=0, le=MAX_ON_HAND, description="the new on_hand", examples=[25])]
    low_stock_threshold: Annotated[
        int | None,
        Field(ge=0, le=MAX_ON_HAND, description="tell me once less than this is available", examples=[5]),
    ] = None


class WantedItem(RequestBody):
    product_id: Id
    quantity: Quantity


class AvailabilityRequest(RequestBody):
    items: Annotated[list[WantedItem], Field(min_length=1, max_length=100)]


class ShortageAnswer(ResponseBody):
    product_id: int
    wanted: int
    available: int


class AvailabilityAnswer(ResponseBody):
    available: bool
    shortages: list[ShortageAnswer]


def _not_nought(delta: int) -> int:
    if delta == 0:
        raise ValueError("must not be 0")
    return delta


class AdjustmentRequest(RequestBody):
    delta: Annotated[
        int,
        Field(
            ge=-MAX_ON_HAND,
            le=MAX_ON_HAND,
            description="units that came, or went where it is below 0",
            examples=[-2],
            json_schema_extra={"not": {"const": 0}},
        ),
        AfterValidator(_not_nought),
    ]
    reason: Annotated[StorableText, Field(max_length=200, pattern=r"\S", examples=["damaged"])]


class MovementAnswer(ResponseBody):
    """One line of the ledger: `on_hand` is what this movement left."""

    id: int
    product_id: int
    kind: MovementKind
    delta: int
    on_hand: int
    actor_id: int | None
    order_id: UUID | None
    reason: str | None
    at: datetime

    @classmethod
    def of(cls, movement: Movement) -> "MovementAnswer":
        cause = movement.cause
        return cls(
            id=movement.id or 0,
            product_id=movement.product_id,
            kind=cause.kind,
            delta=movement.delta,
            on_hand=movement.on_hand,
            actor_id=cause.actor_id,
            order_id=cause.order_id,
            reason=cause.reason,
            at=movement.at,
        )


def routes(stock: StockKeeping, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/inventory", tags=["inventory"])
    stock_keeper = Depends(auth.role(Role.SELLER, Role.ADMIN))

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
        product_id: PathId, request: CountRequest, principal: Annotated[Principal, stock_keeper]
    ) -> Data[KeptStockAnswer]:
        counted = await stock.count(principal, ProductId(product_id), request.quantity, request.low_stock_threshold)
        return Data(data=KeptStockAnswer.model_validate(counted))

    @router.post(
        "/{product_id}/adjustments", status_code=201, summary="Add to what is in the warehouse, or take from it"
    )
    async def adjust_stock(
        product_id: PathId,
        request: AdjustmentRequest,
        principal: Annotated[Principal, stock_keeper],
        key: KeyHeader = None,
    ) -> Data[MovementAnswer]:
        movement = await stock.adjust(
            principal,
            ProductId(product_id),
            request.delta,
            request.reason.strip(),
            None if key is None else idempotency.Key(key),
        )
        return Data(data=MovementAnswer.of(movement))

    @router.get("/{product_id}/history", summary="What came and went, newest first: its seller, or an admin")
    async def get_history(
        product_id: PathId, paging: PageQuery, principal: Annotated[Principal, stock_keeper]
    ) -> PageOf[MovementAnswer]:
        page, total = await stock.history(principal, ProductId(product_id), paging)
        data = [MovementAnswer.of(movement) for movement in page]
        return PageOf(data=data, page=paging.page, limit=paging.limit, total=total)

    return router
