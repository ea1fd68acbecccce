"""The request and response bodies of the HTTP API."""

import re
from datetime import datetime
from typing import Annotated
from uuid import UUID

from chassis.http.schemas import Id, Quantity, RequestBody, ResponseBody, StorableText
from fastapi import Depends, Header
from pydantic import AfterValidator, Field

from inventory_service.domain.movements import Movement, MovementKind
from inventory_service.domain.stock import MAX_ON_HAND, StockTerms


class _StockUnits(ResponseBody):
    product_id: int
    on_hand: Annotated[int, Field(description="units in the building")]
    reserved: Annotated[int, Field(description="units of placed orders that are not paid")]
    committed: Annotated[int, Field(description="units of paid orders that are not shipped")]
    available: Annotated[int, Field(description="units that can be ordered now")]
    max_per_order: Annotated[int | None, Field(description="the most units that one order may have; null if any")]


class StockResponse(_StockUnits):
    """Units of a product: `available` is `on_hand` without what is reserved and committed.

    The public sees no count above a limit of the shop (`EXACT_STOCK_UP_TO`): it sees the limit instead, and `is_exact`
    is false. The product's seller and admins see exact counts.
    """

    is_exact: Annotated[bool, Field(description="false if one of the counts is larger than shown")]


class ManagedStockResponse(_StockUnits):
    """Stock as its seller and admins set it."""

    low_stock_threshold: int


class SetStockRequest(RequestBody):
    quantity: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_ON_HAND,
            description="the new on_hand: all units in the building, those of orders that are not shipped included",
            examples=[25],
        ),
    ]
    low_stock_threshold: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_ON_HAND,
            description="the seller is notified once fewer units than this are available; null leaves it unchanged",
            examples=[5],
        ),
    ] = None
    max_per_order: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_ON_HAND,
            description="the most units that one order may have; null leaves it unchanged, the largest number lifts it",
            examples=[4],
        ),
    ] = None

    def terms(self) -> StockTerms:
        return StockTerms(self.low_stock_threshold, self.max_per_order)


_ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7E]*"'


async def _expected_revisions(
    if_match: Annotated[
        str | None,
        Header(
            alias="If-Match",
            max_length=255,
            pattern=rf"^(?:\*|{_ENTITY_TAG}(?:[ \t]*,[ \t]*{_ENTITY_TAG})*)$",
            description="The ETag of the stock that the caller has read. Refused with 412 if it changed since then.",
            examples=['"17"'],
        ),
    ] = None,
) -> frozenset[int] | None:
    """Returns the revisions that an If-Match header (RFC 9110, 13.1.1) names; None if it accepts any.

    A weak tag counts as well: it is the same tag, weakened by the gateway because it compressed the response.
    """
    if if_match is None or if_match == "*":
        return None
    return frozenset(int(revision) for revision in re.findall(r'"([0-9]{1,18})"', if_match))


ExpectedRevisions = Annotated[frozenset[int] | None, Depends(_expected_revisions)]


class RequestedItem(RequestBody):
    product_id: Id
    quantity: Quantity


class AvailabilityRequest(RequestBody):
    items: Annotated[list[RequestedItem], Field(min_length=1, max_length=100)]


class ShortageResponse(ResponseBody):
    product_id: int
    requested: Annotated[int, Field(description="units in the request")]
    available: int
    is_exact: Annotated[bool, Field(description="false if more units are available than shown")]


class ExcessResponse(ResponseBody):
    product_id: int
    requested: Annotated[int, Field(description="units in the request")]
    maximum: Annotated[int, Field(description="the most units that one order may have")]


class AvailabilityResponse(ResponseBody):
    available: Annotated[bool, Field(description="whether all items could be ordered now")]
    shortages: list[ShortageResponse]
    over_maximum: list[ExcessResponse]


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
