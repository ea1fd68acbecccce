"""Sales reports for sellers and admins, and the recording of the sales that they are made from."""

from collections.abc import Callable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from chassis.database.engine import Database
from chassis.http.authentication import Principal
from chassis.types.ids import OrderId, UserId
from chassis.types.money import Money, total
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.items import Item
from order_service.domain.sales import Conversion, Interval, IntervalSales, TimeRange, TopProduct
from order_service.repository.sales import SalesRepository


class SalesReports:
    """Reports what was sold: to a seller only the seller's own sales, to an admin everything."""

    def __init__(self, database: Database, zone: ZoneInfo, now: Callable[[], datetime]) -> None:
        """`zone` is the time zone of reports that do not name another."""
        self._database = database
        self._zone = zone
        self._now = now

    async def record_sale(
        self, transaction: AsyncConnection, order_id: OrderId, items: Sequence[Item], paid: Money, at: datetime
    ) -> None:
        """Records the sale of a confirmed order. What was paid beyond its items is shipping and tax."""
        charges = Money(paid.amount - total(item.total for item in items).amount, paid.currency)
        await SalesRepository(transaction).add(order_id, items, charges, at)

    async def report_sales(
        self,
        principal: Principal,
        start: datetime | None,
        end: datetime | None,
        interval: Interval,
        zone: ZoneInfo | None,
    ) -> list[IntervalSales]:
        """Returns what was sold and refunded per interval and currency. Raises InvalidTimeRange."""
        period = TimeRange.resolve(start, end, self._now(), interval, zone or self._zone)
        async with self._database.begin() as transaction:
            return await SalesRepository(transaction).by_interval(period, interval, _seller(principal))

    async def report_top_products(
        self, principal: Principal, start: datetime | None, end: datetime | None, limit: int, zone: ZoneInfo | None
    ) -> list[TopProduct]:
        """Returns the products of which most units were sold. Raises InvalidTimeRange."""
        period = TimeRange.resolve(start, end, self._now(), Interval.DAY, zone or self._zone)
        async with self._database.begin() as transaction:
            return await SalesRepository(transaction).top_products(period, limit, _seller(principal))

    async def report_conversion(
        self, principal: Principal, start: datetime | None, end: datetime | None, zone: ZoneInfo | None
    ) -> Conversion:
        """Returns how many of the orders placed were paid. Raises InvalidTimeRange."""
        period = TimeRange.resolve(start, end, self._now(), Interval.DAY, zone or self._zone)
        async with self._database.begin() as transaction:
            return await SalesRepository(transaction).conversion(period, _seller(principal))


def _seller(principal: Principal) -> UserId | None:
    """Returns the seller that a report is restricted to; None for an admin."""
    return None if principal.is_admin else principal.user_id
