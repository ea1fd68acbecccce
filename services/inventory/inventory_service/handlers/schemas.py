"""The request and response bodies of the HTTP API."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from chassis.http.schemas import Id, Quantity, RequestBody, ResponseBody, StorableText
from pydantic import AfterValidator, Field

from inventory_service.domain.movements import Movement, MovementKind
from inventory_service.domain.stock import MAX_ON_HAND


class StockResponse(ResponseBody):
    """Units of a product: `available` is how many can be ordered now."""

    product_id: int
    on_hand: int
    reserved: int
    available: int


class ManagedStockResponse(StockResponse):
    """Stock as its seller and admins see it."""

    low_stock_threshold: int


class SetStockRequest(RequestBody):
    quantity: Annotated[int, Field(ge=0, le=MAX_ON_HAND, description="the new on_hand", examples=[25])]
    low_stock_threshold: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_ON_HAND,
            description="the seller is notified once fewer units than this are available; null leaves it unchanged",
            examples=[5],
        ),
    ] = None


class RequestedItem(RequestBody):
    product_id: Id
    quantity: Quantity


class AvailabilityRequest(RequestBody):
    items: Annotated[list[RequestedItem], Field(min_length=1, max_length=100)]


class ShortageResponse(ResponseBody):
    product_id: int
    wanted: Annotated[int, Field(description="units in the request")]
    available: int


class AvailabilityResponse(ResponseBody):
    available: Annotated[bool, Field(description="whether all items could be ordered now")]
    shortages: list[ShortageResponse]


def _not_zero(delta: int) -> int:
    if delta == 0:
        raise ValueError("must not be 0")
    return delta


class AdjustmentRequest(RequestBody):
    delta: Annotated[
        int,
        Field(
            ge=-MAX_ON_HAND,
            le=MAX_ON_HAND,
            description="units that came, or left where it is below 0",
            examples=[-2],
            json_schema_extra={"not": {"const": 0}},
        ),
        AfterValidator(_not_zero),
    ]
    reason: Annotated[StorableText, Field(max_length=200, pattern=r"\S", examples=["damaged"])]


class MovementResponse(ResponseBody):
    """An entry of the stock ledger: `on_hand` is the stock after this movement."""

    id: int
    product_id: int
    kind: MovementKind
    delta: int
    on_hand: int
    actor_id: Annotated[int | None, Field(description="the user who set or adjusted the stock; null for an order")]
    order_id: Annotated[UUID | None, Field(description="the order of a sale or a return; null for all others")]
    reason: Annotated[str | None, Field(description="the reason that an adjustment was given")]
    at: datetime

    @classmethod
    def of(cls, movement: Movement) -> "MovementResponse":
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
