"""The sales figures: fed by events, asked by sellers and admins."""

from collections.abc import Callable, Sequence
from datetime import datetime

from chassis.database.engine import Database
from chassis.http.authentication import Principal
from chassis.types.ids import OrderId, UserId
from chassis.types.money import Money, total
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.orders import Item
from order_service.domain.sales import Conversion, Figures, Interval, Span, TopProduct
from order_service.repository.sales import SalesRepository


class Sales:
    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def sold_within(
        self, transaction: AsyncConnection, order_id: OrderId, items: Sequence[Item], paid: Money, at: datetime
    ) -> None:
        """An order was confirmed. What was paid beyond its items is shipping and tax."""
        charges = Money(paid.amount - total(item.total for item in items).amount, paid.currency)
        await SalesRepository(transaction).add(order_id, items, charges, at)

    async def figures(
        self, principal: Principal, start: datetime | None, end: datetime | None, interval: Interval
    ) -> list[Figures]:
        """Raises BadRange."""
        span = Span.of(start, end, self._now(), interval)
        async with self._database.begin() as transaction:
            return await SalesRepository(transaction).figures(span, interval, _seller(principal))

    async def top_products(
        self, principal: Principal, start: datetime | None, end: datetime | None, limit: int
    ) -> list[TopProduct]:
        """Raises BadRange."""
        span = Span.of(start, end, self._now(), Interval.DAY)
        async with self._database.begin() as transaction:
            return await SalesRepository(transaction).top_products(span, limit, _seller(principal))

    async def conversion(self, principal: Principal, start: datetime | None, end: datetime | None) -> Conversion:
        """Raises BadRange."""
        span = Span.of(start, end, self._now(), Interval.DAY)
        async with self._database.begin() as transaction:
            return await SalesRepository(transaction).conversion(span, _seller(principal))


def _seller(principal: Principal) -> UserId | None:
    """A seller sees what is theirs, an admin everything."""
    return None if principal.is_admin else principal.user_id
