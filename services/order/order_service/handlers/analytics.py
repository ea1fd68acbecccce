"""The sales figures over HTTP."""

from datetime import datetime
from typing import Annotated

from chassis.http.authentication import Authenticator, Principal, Role
from chassis.http.schemas import Data, Money, ResponseBody
from fastapi import APIRouter, Depends, Query

from order_service.domain.sales import Interval
from order_service.handlers.times import Time
from order_service.service.sales import Sales


class FiguresAnswer(ResponseBody):
    """One interval and currency in which anything was sold or given back; `start` is the interval's first moment in UTC."""

    start: datetime
    orders: int
    units: int
    revenue: Money
    refunds: Money


class TopProductAnswer(ResponseBody):
    product_id: int
    name: str
    orders: int
    units: int
    revenue: Money


class ConversionAnswer(ResponseBody):
    """Of the orders placed in the span, how many were paid; `rate` is null where none was placed."""

    placed: int
    paid: int
    rate: float | None


From = Annotated[Time | None, Query(alias="from", description="included; 30 days before `to` unless said")]
To = Annotated[Time | None, Query(alias="to", description="not included; now unless said")]


def routes(sales: Sales, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/analytics", tags=["analytics"])
    Reader = Annotated[Principal, Depends(auth.role(Role.SELLER, Role.ADMIN))]  # noqa: N806 - a type

    @router.get("/sales", summary="What was sold, per interval and currency; a seller sees their own lines alone")
    async def get_sales(
        reader: Reader, start: From = None, end: To = None, interval: Interval = Interval.DAY
    ) -> Data[list[FiguresAnswer]]:
        figures = await sales.figures(reader, start, end, interval)
        return Data(data=[FiguresAnswer.model_validate(each) for each in figures])

    @router.get("/top-products", summary="What sold most, by units")
    async def get_top_products(
        reader: Reader, start: From = None, end: To = None, limit: Annotated[int, Query(ge=1, le=100)] = 10
    ) -> Data[list[TopProductAnswer]]:
        top = await sales.top_products(reader, start, end, limit)
        return Data(data=[TopProductAnswer.model_validate(each) for each in top])

    @router.get("/conversion", summary="How many of the orders placed were paid")
    async def get_conversion(reader: Reader, start: From = None, end: To = None) -> Data[ConversionAnswer]:
        return Data(data=ConversionAnswer.model_validate(await sales.conversion(reader, start, end)))

    return router
