"""Statements on reservations. Locks: a reservation's row first, then its stock rows in product order."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from chassis.types.ids import OrderId, ProductId
from sqlalchemy import ColumnElement, Row, and_, delete, func, select, update
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
        """Returns the order's reservation, its row locked: `new` itself where it was created by this call."""
        return await self.create(new) or await self._lock_existing(new.order_id)

    async def create(self, new: Reservation) -> Reservation | None:
        """Returns None where the order has a reservation already."""
        insertion = insert(reservations).values(
            order_id=new.order_id,
            status=new.status,
            held_until=new.held_until,
            is_cancelled=new.is_cancelled,
            is_shipped=new.is_shipped,
        )
        created = await self._transaction.execute(insertion.on_conflict_do_nothing().returning(reservations.c.order_id))
        return new if created.first() else None

    async def lock(self, order_id: OrderId) -> Reservation | None:
        query = select(reservations).where(reservations.c.order_id == order_id).with_for_update(key_share=True)
        row = (await self._transaction.execute(query)).first()
        return None if row is None else _reservation(row)

    async def _lock_existing(self, order_id: OrderId) -> Reservation:
        reservation = await self.lock(order_id)
        if reservation is None:
            raise LookupError(f"the reservation of order {order_id} vanished: nothing ever deletes one")
        return reservation

    async def extend(self, order_id: OrderId, until: datetime) -> None:
        """Makes the reservation pending, at least until the given time. Its row must be locked."""
        later = func.greatest(reservations.c.held_until, until)
        await self._transaction.execute(
            update(reservations)
            .where(reservations.c.order_id == order_id)
            .values(status=ReservationStatus.PENDING, held_until=later)
        )

    async def commit(self, order_id: OrderId) -> None:
        """Records that the order's units are committed. The reservation's row must be locked."""
        await self._transaction.execute(
            update(reservations)
            .where(reservations.c.order_id == order_id)
            .values(status=ReservationStatus.COMMITTED, in_committed=True)
        )

    async def close(self, orders: Sequence[OrderId], status: ReservationStatus) -> None:
        """Sets the status of reservations that hold no units any more. Their rows must be locked."""
        await self._transaction.execute(
            update(reservations).where(reservations.c.order_id.in_(orders)).values(status=status, in_committed=False)
        )

    async def cancel(self, order_id: OrderId) -> None:
        """Ends the reservation, and marks its order as cancelled. Its row must be locked."""
        await self._transaction.execute(
            update(reservations)
            .where(reservations.c.order_id == order_id)
            .values(status=ReservationStatus.RELEASED, in_committed=False, is_cancelled=True)
        )

    async def mark_as_shipped(self, order_id: OrderId) -> None:
        """Records that the order is shipped. The reservation's row must be locked."""
        await self._transaction.execute(
            update(reservations).where(reservations.c.order_id == order_id).values(is_shipped=True)
        )

    async def list_overdue(self, at: datetime, limit: int) -> dict[OrderId, datetime]:
        """Returns pending reservations whose time is over and when it ended, the oldest first, without a lock.

        Reads along reservations_by_expiry.
        """
        query = (
            select(reservations.c.order_id, reservations.c.held_until)
            .where(_is_overdue(at))
            .order_by(reservations.c.held_until)
            .limit(limit)
        )
        return {OrderId(row.order_id): row.held_until for row in await self._transaction.execute(query)}

    async def lock_overdue(self, orders: Sequence[OrderId], at: datetime) -> list[OrderId]:
        """Locks and returns those of these reservations that are still pending and overdue.

        Skips those that another transaction has locked.
        """
        query = (
            select(reservations.c.order_id)
            .where(reservations.c.order_id.in_(orders), _is_overdue(at))
            .with_for_update(key_share=True, skip_locked=True)
        )
        return list((await self._transaction.scalars(query)).all())

    async def lines(self, orders: Sequence[OrderId]) -> list[Line]:
        """Returns the sum of these orders' lines: one line per product, in product order."""
        query = (
            select(reservation_lines.c.product_id, func.sum(reservation_lines.c.quantity).label("quantity"))
            .where(reservation_lines.c.order_id.in_(orders))
            .group_by(reservation_lines.c.product_id)
            .order_by(reservation_lines.c.product_id)
        )
        rows = await self._transaction.execute(query)
        return [Line(ProductId(row.product_id), int(row.quantity)) for row in rows]

    async def add_lines(self, order_id: OrderId, lines: Sequence[Line]) -> None:
        """Adds lines to a reservation that has none."""
        rows = [{"order_id": order_id, "product_id": line.product_id, "quantity": line.quantity} for line in lines]
        await self._transaction.execute(insert(reservation_lines), rows)

    async def remove_lines(self, order_id: OrderId) -> None:
        await self._transaction.execute(delete(reservation_lines).where(reservation_lines.c.order_id == order_id))


def _is_overdue(at: datetime) -> ColumnElement[bool]:
    return and_(reservations.c.status == ReservationStatus.PENDING, reservations.c.held_until <= at)


def _reservation(row: Row[Any]) -> Reservation:
    status = ReservationStatus(row.status)
    if status is ReservationStatus.COMMITTED and not row.in_committed:
        status = ReservationStatus.FULFILLED  # by a release that took the units from on hand at payment
    return Reservation(OrderId(row.order_id), status, row.held_until, row.is_cancelled, row.is_shipped)
