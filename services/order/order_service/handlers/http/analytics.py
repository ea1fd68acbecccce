"""The HTTP routes of sales reports."""

from typing import Annotated

from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.csv_documents import CSV_RESPONSES, CsvRoute
from chassis.http.schemas import Data
from fastapi import APIRouter, Depends, Query

from order_service.domain.sales import Interval
from order_service.handlers.schemas import (
    ConversionResponse,
    IntervalSalesResponse,
    RangeEnd,
    RangeStart,
    ReportZone,
    TopProductResponse,
)
from order_service.service.sales import SalesReports

_IntervalQuery = Annotated[
    Interval, Query(description="the interval by which sales are grouped; weeks begin on Mondays")
]
_LimitQuery = Annotated[int, Query(ge=1, le=100, description="the largest number of products to list")]


def routes(reports: SalesReports, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/analytics", tags=["analytics"], route_class=CsvRoute)
    Reader = Annotated[Principal, Depends(auth.role(Role.SELLER, Role.ADMIN))]  # noqa: N806 - a type

    @router.get(
        "/sales",
        responses=CSV_RESPONSES,
        summary="List sales and refunds by interval and currency",
        description="A seller sees only their own sales, an admin all sales.",
    )
    async def get_sales(
        reader: Reader,
        start: RangeStart = None,
        end: RangeEnd = None,
        interval: _IntervalQuery = Interval.DAY,
        timezone: ReportZone = None,
    ) -> Data[list[IntervalSalesResponse]]:
        sales = await reports.report_sales(reader, start, end, interval, timezone)
        return Data(data=[IntervalSalesResponse.model_validate(each) for each in sales])

    @router.get(
        "/top-products",
        responses=CSV_RESPONSES,
        summary="List the products of which most units were sold",
        description="A seller sees only their own products, an admin all products.",
    )
    async def get_top_products(
        reader: Reader,
        start: RangeStart = None,
        end: RangeEnd = None,
        limit: _LimitQuery = 10,
        timezone: ReportZone = None,
    ) -> Data[list[TopProductResponse]]:
        products = await reports.report_top_products(reader, start, end, limit, timezone)
        return Data(data=[TopProductResponse.model_validate(each) for each in products])

    @router.get(
        "/conversion",
        responses=CSV_RESPONSES,
        summary="Count the orders that were placed and paid",
        description="A seller sees only orders with their own products, an admin all orders.",
    )
    async def get_conversion(
        reader: Reader, start: RangeStart = None, end: RangeEnd = None, timezone: ReportZone = None
    ) -> Data[ConversionResponse]:
        conversion = await reports.report_conversion(reader, start, end, timezone)
        return Data(data=ConversionResponse.model_validate(conversion))

    return router
