"""Orders over HTTP."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from chassis.database import idempotency
from chassis.errors import ProblemError
from chassis.http.authentication import FORBIDDEN, Authenticator, Principal, Role
from chassis.http.schemas import (
    Data,
    Id,
    KeyHeader,
    Money,
    PageOf,
    PageQuery,
    Quantity,
    RequestBody,
    ResponseBody,
    StorableText,
)
from chassis.types.ids import MAX_ID, OrderId, ProductId, UserId
from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field, StringConstraints, model_validator

from order_service.domain.addresses import Address, AddressId
from order_service.domain.orders import Actor, CancelReason, Line, OrderStatus, Parcel, Wanted
from order_service.handlers.addresses import AddressAnswer, AddressRequest
from order_service.handlers.callers import Callers
from order_service.handlers.times import Time
from order_service.service.orders import Ordering
from order_service.service.placing import Placing, Wish

_PREFIX = "/api/v1/orders"
_Label = Annotated[StorableText, StringConstraints(min_length=1, max_length=100)]


class WantedItem(RequestBody):
    product_id: Id
    quantity: Quantity


class OrderRequest(RequestBody):
    """What to buy: items, or without them what is in the cart. Names and prices come from the catalogue. Lines of one product are
    taken together. Where to: an address, or the id of one in the address book, or neither.
    """

    items: Annotated[list[WantedItem], Field(min_length=1, max_length=100)] | None = None
    shipping_address: AddressRequest | None = None
    address_id: Annotated[UUID, Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _one_address(self) -> "OrderRequest":
        if self.shipping_address is not None and self.address_id is not None:
            raise ValueError("send shipping_address or address_id, not both")
        return self

    def to_wish(self) -> Wish:
        items = self.items
        lines = None if items is None else tuple(Line(ProductId(item.product_id), item.quantity) for item in items)
        return Wish(lines, self._ship_to())

    def _ship_to(self) -> Address | AddressId | None:
        if self.shipping_address is not None:
            return self.shipping_address.to_address()
        return None if self.address_id is None else AddressId(self.address_id)


class StatusRequest(RequestBody):
    """Where an order goes next. A carrier and a tracking number belong to `shipped` alone."""

    status: Annotated[OrderStatus, Field(strict=False)]
    carrier: _Label | None = None
    tracking_number: _Label | None = None

    @model_validator(mode="after")
    def _parcel_is_shipped(self) -> "StatusRequest":
        if self.status is not OrderStatus.SHIPPED and self.to_parcel() is not None:
            raise ValueError("carrier and tracking_number belong to the status shipped")
        return self

    def to_parcel(self) -> Parcel | None:
        if self.carrier is None and self.tracking_number is None:
            return None
        return Parcel(self.carrier, self.tracking_number)


class ItemAnswer(ResponseBody):
    product_id: int
    name: str
    quantity: int
    unit_price: Money
    total: Money


class StepAnswer(ResponseBody):
    status: OrderStatus
    at: datetime
    by: Actor


class ParcelAnswer(ResponseBody):
    carrier: str | None
    tracking_number: str | None


class SettlementAnswer(ResponseBody):
    paid: Money
    refunded: Money


class OrderAnswer(ResponseBody):
    """A pending order is cancelled by itself at `expires_at`. `total` is subtotal, shipping and tax together."""

    id: UUID
    buyer_id: int
    status: OrderStatus
    items: list[ItemAnswer]
    subtotal: Money
    shipping: Money
    tax: Money
    total: Money
    shipping_address: AddressAnswer | None
    shipment: Annotated[ParcelAnswer | None, Field(description="how it travels, once it is shipped and known")]
    payment: Annotated[SettlementAnswer | None, Field(description="once anything was paid")]
    cancel_reason: CancelReason | None
    history: list[StepAnswer]
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Filter:
    """Which orders to list; others' are for admins."""

    everybody: Annotated[bool, Query(alias="all", description="everybody's; for admins")] = False
    buyer_id: Annotated[int | None, Query(ge=1, le=MAX_ID, description="whose; for admins")] = None
    status: OrderStatus | None = None
    placed_from: Annotated[Time | None, Query(alias="from")] = None
    placed_before: Annotated[Time | None, Query(alias="to", description="placed before")] = None

    def wanted_by(self, caller: Principal) -> Wanted:
        """Raises 403 where it is not the caller's to ask."""
        is_own = not self.everybody and self.buyer_id in (None, caller.user_id)
        if not is_own and not caller.is_admin:
            raise ProblemError(FORBIDDEN, "others' orders are for admins: leave out all and buyer_id")
        whose = self.buyer_id if self.everybody or self.buyer_id is not None else caller.user_id
        return Wanted(None if whose is None else UserId(whose), self.status, self.placed_from, self.placed_before)


def routes(placing: Placing, ordering: Ordering, callers: Callers, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix=_PREFIX, tags=["orders"])
    Caller = Annotated[Principal, Depends(callers.required())]  # noqa: N806 - a type
    Admin = Annotated[Principal, Depends(auth.role(Role.ADMIN))]  # noqa: N806 - a type

    @router.post("", status_code=201, summary="Place an order, of the cart unless items are sent")
    async def place_order(
        caller: Caller, response: Response, request: OrderRequest | None = None, key: KeyHeader = None
    ) -> Data[OrderAnswer]:
        wish = Wish(None) if request is None else request.to_wish()
        order = await placing.place(caller.user_id, wish, None if key is None else idempotency.Key(key))
        response.headers["Location"] = f"{_PREFIX}/{order.id}"
        return Data(data=OrderAnswer.model_validate(order))

    @router.get("", summary="One's orders, newest first; for admins everybody's with all=true")
    async def list_orders(
        caller: Caller, paging: PageQuery, chosen: Annotated[Filter, Depends()]
    ) -> PageOf[OrderAnswer]:
        orders, total = await ordering.orders(chosen.wanted_by(caller), paging)
        answers = [OrderAnswer.model_validate(order) for order in orders]
        return PageOf(data=answers, page=paging.page, limit=paging.limit, total=total)

    @router.get("/{order_id}", summary="One order")
    async def get_order(order_id: UUID, caller: Caller) -> Data[OrderAnswer]:
        return Data(data=OrderAnswer.model_validate(await ordering.order(caller, OrderId(order_id))))

    @router.put("/{order_id}/status", summary="Move an order on; for admins")
    async def move_order(order_id: UUID, request: StatusRequest, _admin: Admin) -> Data[OrderAnswer]:
        moved = await ordering.move(OrderId(order_id), request.status, request.to_parcel())
        return Data(data=OrderAnswer.model_validate(moved))

    @router.delete("/{order_id}", status_code=204, summary="Cancel an order; its stock goes back, and what was paid")
    async def cancel_order(order_id: UUID, caller: Caller) -> None:
        await ordering.cancel(caller, OrderId(order_id))

    return router
