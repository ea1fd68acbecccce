"""Adjustments of a product's stock and the history of its movements over HTTP."""

from typing import Annotated

from chassis.database import idempotency
from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.csv_documents import CSV_RESPONSES, CsvRoute
from chassis.http.cursors import CursorPageOf, CursorPaging, cursor_paging
from chassis.http.schemas import Data, KeyHeader, PathId
from chassis.types.ids import ProductId
from fastapi import APIRouter, Depends

from inventory_service.domain.movements import MovementPosition
from inventory_service.handlers.schemas import AdjustmentRequest, MovementResponse
from inventory_service.service.stock import StockService

HistoryQuery = Annotated[CursorPaging[MovementPosition], Depends(cursor_paging(MovementPosition))]


def routes(stock: StockService, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/inventory/{product_id}", tags=["inventory"], route_class=CsvRoute)
    seller_or_admin = Depends(auth.role(Role.SELLER, Role.ADMIN))

    @router.post(
        "/adjustments",
        status_code=201,
        summary="Adjust the stock of a product",
        description="Adds units to the stock on hand, or takes units away. Sellers adjust their own products.",
    )
    async def adjust_stock(
        product_id: PathId,
        request: AdjustmentRequest,
        principal: Annotated[Principal, seller_or_admin],
        key: KeyHeader = None,
    ) -> Data[MovementResponse]:
        movement = await stock.adjust_stock(
            principal,
            ProductId(product_id),
            request.delta,
            request.reason.strip(),
            None if key is None else idempotency.Key(key),
        )
        return Data(data=MovementResponse.of(movement))

    @router.get(
        "/history",
        responses=CSV_RESPONSES,
        summary="List the stock movements of a product",
        description="Newest first. Sellers read the history of their own products."
        " A list is followed to its end by `next`: send it as `cursor`.",
    )
    async def get_history(
        product_id: PathId, paging: HistoryQuery, principal: Annotated[Principal, seller_or_admin]
    ) -> CursorPageOf[MovementResponse]:
        movements, total = await stock.history(principal, ProductId(product_id), paging)
        data = [MovementResponse.of(movement) for movement in movements]
        return paging.page_of(movements, data, total, MovementPosition.of)

    return router
