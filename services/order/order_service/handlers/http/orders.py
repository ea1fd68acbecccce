"""The HTTP routes of orders."""

from typing import Annotated
from uuid import UUID

from chassis.database import idempotency
from chassis.http.authentication import Authenticator, Principal, Role, owner_to_list
from chassis.http.csv_documents import CSV_RESPONSES, CsvRoute
from chassis.http.cursors import CursorPageOf, TimeCursorQuery, TimePosition
from chassis.http.problems import openapi_problem
from chassis.http.schemas import Data, KeyHeader, Money, query_fields
from chassis.types.ids import OrderId
from fastapi import APIRouter, Depends, Response

from order_service.domain.orders import OrderQuery
from order_service.handlers.dependencies import CallerDependencies
from order_service.handlers.schemas import (
    ManualPaymentRequest,
    OrderFilter,
    OrderRequest,
    OrderResponse,
    ShipmentRequest,
    StatusChangeRequest,
)
from order_service.service.orders import OrderService
from order_service.service.placement import OrderPlacement, PlacementRequest

_PREFIX = "/api/v1/orders"
_NOT_PLACED = openapi_problem(
    "`total_changed`: the order costs `total`, not what was expected; `out_of_stock`, `cart_changed`. Nothing was"
    " ordered, and the Idempotency-Key of a request with `expected_total` may be sent again with another one.",
    total=Money.model_json_schema(),
)


def routes(
    placement: OrderPlacement, orders: OrderService, callers: CallerDependencies, auth: Authenticator
) -> APIRouter:
    router = APIRouter(prefix=_PREFIX, tags=["orders"], route_class=CsvRoute)
    Caller = Annotated[Principal, Depends(callers.buyer())]  # noqa: N806 - a type
    Admin = Annotated[Principal, Depends(auth.role(Role.ADMIN))]  # noqa: N806 - a type

    @router.post(
        "",
        status_code=201,
        summary="Place an order, from the caller's cart unless items are sent",
        responses={409: _NOT_PLACED},
    )
    async def place_order(
        caller: Caller, response: Response, request: OrderRequest | None = None, key: KeyHeader = None
    ) -> Data[OrderResponse]:
        requested = PlacementRequest(None) if request is None else request.to_placement_request()
        order = await placement.place_order(caller.user_id, requested, None if key is None else idempotency.Key(key))
        response.headers["Location"] = f"{_PREFIX}/{order.id}"
        return Data(data=OrderResponse.model_validate(order))

    @router.get(
        "",
        responses=CSV_RESPONSES,
        summary="List the caller's orders, newest first",
        description="Admins list the orders of all buyers with all=true, and those of one buyer with buyer_id."
        " A list is followed to its end by `next`: send it as `cursor`.",
    )
    async def list_orders(
        caller: Caller, paging: TimeCursorQuery, filters: Annotated[OrderFilter, Depends(query_fields(OrderFilter))]
    ) -> CursorPageOf[OrderResponse]:
        page, total = await orders.list_orders(_permitted_query(filters, caller), paging)
        data = [OrderResponse.model_validate(order) for order in page]
        return paging.page_of(page, data, total, TimePosition.of)

    @router.get("/{order_id}", summary="Get an order")
    async def get_order(order_id: UUID, caller: Caller) -> Data[OrderResponse]:
        return Data(data=OrderResponse.model_validate(await orders.get_order(caller, OrderId(order_id))))

    @router.put(
        "/{order_id}/status",
        summary="Change the status of an order; for admins",
        description="An order whose payments were refunded is neither processed nor shipped (`order_refunded`) until"
        " it is paid again; an admin can cancel it.",
    )
    async def move_order(order_id: UUID, request: StatusChangeRequest, _admin: Admin) -> Data[OrderResponse]:
        changed = await orders.change_status(OrderId(order_id), request.status, request.to_shipment())
        return Data(data=OrderResponse.model_validate(changed))

    @router.put(
        "/{order_id}/manual-payment",
        summary="Record that an order was paid without the payment provider; for admins",
        description="By bank transfer, in cash or by invoice, in full. It confirms a pending order, and pays an order"
        " again whose payments were refunded. If such an order is cancelled, return the money by hand.",
    )
    async def record_manual_payment(order_id: UUID, request: ManualPaymentRequest, admin: Admin) -> Data[OrderResponse]:
        paid = await orders.record_manual_payment(admin.user_id, OrderId(order_id), request.reason)
        return Data(data=OrderResponse.model_validate(paid))

    @router.put(
        "/{order_id}/shipment",
        summary="Correct the shipment of a shipped order; for admins",
        description="The former carrier and tracking number are kept, and the buyer gets a mail with the new ones.",
    )
    async def correct_shipment(order_id: UUID, request: ShipmentRequest, _admin: Admin) -> Data[OrderResponse]:
        corrected = await orders.correct_shipment(OrderId(order_id), request.to_shipment())
        return Data(data=OrderResponse.model_validate(corrected))

    @router.delete(
        "/{order_id}",
        status_code=204,
        summary="Cancel an order",
        description="Its stock is released, and what was paid is refunded, except a manual payment. A buyer can cancel"
        " an order until it is being processed, an admin until it is shipped.",
    )
    async def cancel_order(order_id: UUID, caller: Caller) -> None:
        await orders.cancel_order(caller, OrderId(order_id))

    return router


def _permitted_query(filters: OrderFilter, caller: Principal) -> OrderQuery:
    """Returns the query for the caller's own orders, for an admin also for others'.

    Raises a 403 problem for other callers.
    """
    buyer_id = owner_to_list(caller, filters.buyer_id, is_all=filters.all_buyers, objects="other buyers' orders")
    return OrderQuery(buyer_id, filters.status, filters.placed_from, filters.placed_before)
