"""Statements on stock and reservations. Locks: a reservation's row first, then its stock rows in product order."""

from collections.abc import Sequence
from datetime import datetime

from chassis.kernel.ids import OrderId, ProductId
from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.domain.stock import Line, ReservationStatus, Stock
from inventory_service.repository.tables import reservation_lines, reservations, stock


class StockRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def stocks(self, products: Sequence[ProductId]) -> dict[ProductId, Stock]:
        """By primary key, without a lock."""
        rows = await self._transaction.execute(select(stock).where(stock.c.product_id.in_(products)))
        return {row.product_id: _stock(row) for row in rows}

    async def lock_stocks(self, products: Sequence[ProductId]) -> dict[ProductId, Stock]:
        """By primary key, each row locked, in product order."""
        wanted = select(stock).where(stock.c.product_id.in_(products)).order_by(stock.c.product_id).with_for_update()
        return {row.product_id: _stock(row) for row in await self._transaction.execute(wanted)}

    async def ensure_record(self, product_id: ProductId) -> None:
        """So that there is a row to lock."""
        await self._transaction.execute(insert(stock).values(product_id=product_id, on_hand=0).on_conflict_do_nothing())

    async def store(self, counted: Stock) -> None:
        """The row must be locked."""
        changed = update(stock).where(stock.c.product_id == counted.product_id).values(on_hand=counted.on_hand)
        await self._transaction.execute(changed)

    async def set_aside(self, lines: Sequence[Line], sign: int) -> None:
        """Adds to (`sign` 1) or takes from (`sign` -1) what is reserved. The rows must be locked."""
        for line in lines:
            changed = stock.c.reserved + sign * line.quantity
            await self._transaction.execute(
                update(stock).where(stock.c.product_id == line.product_id).values(reserved=changed)
            )

    async def claim_reservation(self, order_id: OrderId, until: datetime) -> ReservationStatus | None:
        """Locks the order's reservation, made here where there was none. Gives the status it had; None for a new one."""
        new = insert(reservations).values(order_id=order_id, status=ReservationStatus.PENDING, held_until=until)
        inserted = await self._transaction.execute(new.on_conflict_do_nothing().returning(reservations.c.order_id))
        return None if inserted.first() else await self.lock_reservation(order_id)

    async def lock_reservation(self, order_id: OrderId) -> ReservationStatus | None:
        """The status of an order's reservation, its row locked; None where there is none."""
        wanted = select(reservations.c.status).where(reservations.c.order_id == order_id).with_for_update()
        status = await self._transaction.scalar(wanted)
        return None if status is None else ReservationStatus(status)

    async def hold(self, order_id: OrderId, until: datetime) -> None:
        """Makes the reservation pending, at least until then. Its row must be locked."""
        later = func.greatest(reservations.c.held_until, until)
        await self._transaction.execute(
            update(reservations)
            .where(reservations.c.order_id == order_id)
            .values(status=ReservationStatus.PENDING, held_until=later)
        )

    async def close(self, order_id: OrderId, status: ReservationStatus) -> None:
        """Ends the reservation. Its row must be locked."""
        await self._transaction.execute(
            update(reservations).where(reservations.c.order_id == order_id).values(status=status)
        )

    async def lapsed(self, at: datetime, limit: int) -> list[OrderId]:
        """Pending reservations whose time is over, locked; those that somebody else has locked are left to them."""
        wanted = (
            select(reservations.c.order_id)
            .where(reservations.c.status == ReservationStatus.PENDING, reservations.c.held_until <= at)
            .order_by(reservations.c.held_until)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return list((await self._transaction.scalars(wanted)).all())

    async def lines(self, order_id: OrderId) -> list[Line]:
        """In product order."""
        wanted = (
            select(reservation_lines)
            .where(reservation_lines.c.order_id == order_id)
            .order_by(reservation_lines.c.product_id)
        )
        return [Line(row.product_id, row.quantity) for row in await self._transaction.execute(wanted)]

    async def replace_lines(self, order_id: OrderId, lines: Sequence[Line]) -> None:
        await self._transaction.execute(delete(reservation_lines).where(reservation_lines.c.order_id == order_id))
        rows = [{"order_id": order_id, "product_id": line.product_id, "quantity": line.quantity} for line in lines]
        await self._transaction.execute(insert(reservation_lines), rows)


def _stock(row: Row[tuple[int, int, int]]) -> Stock:
    return Stock(ProductId(row.product_id), row.on_hand, row.reserved)
