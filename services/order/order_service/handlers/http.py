"""Orders over HTTP."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from chassis.kernel.ids import OrderId, ProductId
from chassis.schemas import Answer, Data, Id, Money, PageOf, PageQuery, Quantity, Request
from chassis.tokens import Authenticator, Principal
from fastapi import APIRouter, Depends, Header, Response
from pydantic import Field

from order_service.domain.idempotency import IdempotencyKey
from order_service.domain.orders import Line, OrderStatus
from order_service.service.orders import Ordering

_PREFIX = "/api/v1/orders"


class WantedItem(Request):
    product_id: Id
    quantity: Quantity


class OrderRequest(Request):
    """What to buy; names and prices come from the catalogue. Lines of one product are taken together."""

    items: Annotated[list[WantedItem], Field(min_length=1, max_length=100)]

    def to_lines(self) -> list[Line]:
        return [Line(ProductId(item.product_id), item.quantity) for item in self.items]


class ItemAnswer(Answer):
    product_id: int
    name: str
    quantity: int
    unit_price: Money
    total: Money


class OrderAnswer(Answer):
    """A pending order is cancelled by itself at `expires_at`."""

    id: UUID
    status: OrderStatus
    items: list[ItemAnswer]
    total: Money
    created_at: datetime
    expires_at: datetime


KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7E]+$",
        description="one per order: repeated requests with the same key place it once",
    ),
]


def routes(ordering: Ordering, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix=_PREFIX, tags=["orders"])
    Caller = Annotated[Principal, Depends(auth.required)]  # noqa: N806 - a type

    @router.post("", status_code=201, summary="Place an order")
    async def place_order(
        request: OrderRequest, caller: Caller, response: Response, key: KeyHeader = None
    ) -> Data[OrderAnswer]:
        order = await ordering.place(caller.user_id, request.to_lines(), None if key is None else IdempotencyKey(key))
        response.headers["Location"] = f"{_PREFIX}/{order.id}"
        return Data(data=OrderAnswer.model_validate(order))

    @router.get("", summary="One's orders, newest first")
    async def list_orders(caller: Caller, paging: PageQuery) -> PageOf[OrderAnswer]:
        orders, total = await ordering.orders_of(caller.user_id, paging)
        answers = [OrderAnswer.model_validate(order) for order in orders]
        return PageOf(data=answers, page=paging.page, limit=paging.limit, total=total)

    @router.get("/{order_id}", summary="One order")
    async def get_order(order_id: UUID, caller: Caller) -> Data[OrderAnswer]:
        return Data(data=OrderAnswer.model_validate(await ordering.order(caller, OrderId(order_id))))

    @router.delete("/{order_id}", status_code=204, summary="Cancel an order; its stock goes back")
    async def cancel_order(order_id: UUID, caller: Caller) -> None:
        await ordering.cancel(caller, OrderId(order_id))

    return router
