"""The HTTP routes of sales reports."""

from typing import Annotated

from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.schemas import Data
from fastapi import APIRouter, Depends, Query

from order_service.domain.sales import Interval
from order_service.handlers.schemas import (
    ConversionResponse,
    IntervalSalesResponse,
    RangeEnd,
    RangeStart,
    TopProductResponse,
)
from order_service.service.sales import SalesReports

_IntervalQuery = Annotated[
    Interval, Query(description="the interval by which sales are grouped; weeks begin on Mondays")
]
_LimitQuery = Annotated[int, Query(ge=1, le=100, description="the largest number of products to list")]


def routes(reports: SalesReports, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/analytics", tags=["analytics"])
    Reader = Annotated[Principal, Depends(auth.role(Role.SELLER, Role.ADMIN))]  # noqa: N806 - a type

    @router.get(
        "/sales",
        summary="List sales and refunds by interval and currency",
        description="A seller sees only their own sales, an admin all sales.",
    )
    async def get_sales(
        reader: Reader, start: RangeStart = None, end: RangeEnd = None, interval: _IntervalQuery = Interval.DAY
    ) -> Data[list[IntervalSalesResponse]]:
        sales = await reports.report_sales(reader, start, end, interval)
        return Data(data=[IntervalSalesResponse.model_validate(each) for each in sales])

    @router.get(
        "/top-products",
        summary="List the products of which most units were sold",
        description="A seller sees only their own products, an admin all products.",
    )
    async def get_top_products(
        reader: Reader, start: RangeStart = None, end: RangeEnd = None, limit: _LimitQuery = 10
    ) -> Data[list[TopProductResponse]]:
        products = await reports.report_top_products(reader, start, end, limit)
        return Data(data=[TopProductResponse.model_validate(each) for each in products])

    @router.get(
        "/conversion",
        summary="Count the orders that were placed and paid",
        description="A seller sees only orders with their own products, an admin all orders.",
    )
    async def get_conversion(
        reader: Reader, start: RangeStart = None, end: RangeEnd = None
    ) -> Data[ConversionResponse]:
        return Data(data=ConversionResponse.model_validate(await reports.report_conversion(reader, start, end)))

    return router
