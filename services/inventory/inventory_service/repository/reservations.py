"""Statements on reservations. Locks: a reservation's row first, then its stock rows in product order."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from chassis.types.ids import OrderId, ProductId
from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.domain.reservations import Reservation, ReservationStatus
from inventory_service.domain.stock import Line
from inventory_service.repository.tables import reservation_lines, reservations


class ReservationRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def lock_or_create(self, new: Reservation) -> Reservation:
        """The order's reservation, its row locked: `new` itself where there was none."""
        return await self.create(new) or await self._locked(new.order_id)

    async def create(self, new: Reservation) -> Reservation | None:
        """None where the order has one already."""
        once = insert(reservations).values(
            order_id=new.order_id, status=new.status, held_until=new.held_until, is_cancelled=new.is_cancelled
        )
        made = await self._transaction.execute(once.on_conflict_do_nothing().returning(reservations.c.order_id))
        return new if made.first() else None

    async def lock(self, order_id: OrderId) -> Reservation | None:
        wanted = select(reservations).where(reservations.c.order_id == order_id).with_for_update(key_share=True)
        row = (await self._transaction.execute(wanted)).first()
        return None if row is None else _reservation(row)

    async def _locked(self, order_id: OrderId) -> Reservation:
        found = await self.lock(order_id)
        if found is None:
            raise LookupError(f"the reservation of order {order_id} vanished: nothing ever deletes one")
        return found

    async def hold(self, order_id: OrderId, until: datetime) -> None:
        """Makes the reservation pending, at least until then. Its row must be locked."""
        later = func.greatest(reservations.c.held_until, until)
        await self._transaction.execute(
            update(reservations)
            .where(reservations.c.order_id == order_id)
            .values(status=ReservationStatus.PENDING, held_until=later)
        )

    async def close(self, orders: Sequence[OrderId], status: ReservationStatus) -> None:
        """Ends the reservations. Their rows must be locked."""
        await self._transaction.execute(
            update(reservations).where(reservations.c.order_id.in_(orders)).values(status=status)
        )

    async def cancel(self, order_id: OrderId) -> None:
        """Ends the reservation for good. Its row must be locked."""
        await self._transaction.execute(
            update(reservations)
            .where(reservations.c.order_id == order_id)
            .values(status=ReservationStatus.RELEASED, is_cancelled=True)
        )

    async def lock_lapsed(self, at: datetime, limit: int) -> list[OrderId]:
        """Pending reservations whose time is over, locked; those that somebody else has locked are left to them."""
        wanted = (
            select(reservations.c.order_id)
            .where(reservations.c.status == ReservationStatus.PENDING, reservations.c.held_until <= at)
            .order_by(reservations.c.held_until)
            .limit(limit)
            .with_for_update(key_share=True, skip_locked=True)
        )
        return list((await self._transaction.scalars(wanted)).all())

    async def lines(self, orders: Sequence[OrderId]) -> list[Line]:
        """What these orders hold together: one line per product, in product order."""
        wanted = (
            select(reservation_lines.c.product_id, func.sum(reservation_lines.c.quantity).label("quantity"))
            .where(reservation_lines.c.order_id.in_(orders))
            .group_by(reservation_lines.c.product_id)
            .order_by(reservation_lines.c.product_id)
        )
        rows = await self._transaction.execute(wanted)
        return [Line(ProductId(row.product_id), int(row.quantity)) for row in rows]

    async def add_lines(self, order_id: OrderId, lines: Sequence[Line]) -> None:
        """To a reservation that has none."""
        rows = [{"order_id": order_id, "product_id": line.product_id, "quantity": line.quantity} for line in lines]
        await self._transaction.execute(insert(reservation_lines), rows)

    async def remove_lines(self, order_id: OrderId) -> None:
        await self._transaction.execute(delete(reservation_lines).where(reservation_lines.c.order_id == order_id))


def _reservation(row: Row[Any]) -> Reservation:
    return Reservation(OrderId(row.order_id), ReservationStatus(row.status), row.held_until, row.is_cancelled)
