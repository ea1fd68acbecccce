"""Statements on reservations, prepared except for those of the expiry.

Locks: a reservation's row first, then its stock rows in product order.
"""

from collections.abc import Sequence
from datetime import datetime

from chassis.database.statements import Command, Record, Statement, insert_rows
from chassis.types.ids import OrderId, ProductId
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Uuid,
    and_,
    any_,
    bindparam,
    delete,
    false,
    func,
    not_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from inventory_service.domain.reservations import Reservation, ReservationStatus
from inventory_service.domain.stock import Line
from inventory_service.repository.tables import reservation_lines, reservations


def _to_order_id(row: Record) -> OrderId:
    return OrderId(row["order_id"])


def _to_reservation(row: Record) -> Reservation:
    status = ReservationStatus(row["status"])
    if status is ReservationStatus.COMMITTED and not row["in_committed"]:
        status = ReservationStatus.FULFILLED  # by a release that took the units from on hand at payment
    return Reservation(_to_order_id(row), status, row["held_until"], row["is_cancelled"], row["is_shipped"])


def to_line(row: Record) -> Line:
    """Returns the line of a row of SELECT_LINES."""
    return Line(ProductId(row["product_id"]), int(row["quantity"]))


_BY_ORDER = reservations.c.order_id == bindparam("order")
_ORDERS = any_(bindparam("orders", type_=ARRAY(Uuid)))
_CREATE = Statement(
    insert(reservations)
    .values(
        {
            column: bindparam(column.key)
            for column in (
                reservations.c.order_id,
                reservations.c.status,
                reservations.c.held_until,
                reservations.c.is_cancelled,
                reservations.c.is_shipped,
            )
        }
    )
    .on_conflict_do_nothing()
    .returning(reservations.c.order_id),
    _to_order_id,
)
_LOCK = Statement(select(reservations).where(_BY_ORDER).with_for_update(key_share=True), _to_reservation)
_EXTEND_BY_ORDER = (
    update(reservations)
    .where(_BY_ORDER)
    .values(
        status=ReservationStatus.PENDING,
        held_until=func.greatest(reservations.c.held_until, bindparam("until", type_=reservations.c.held_until.type)),
    )
)
_COMMIT_BY_ORDER = update(reservations).where(_BY_ORDER).values(status=ReservationStatus.COMMITTED, in_committed=true())
_AWAITS_PAYMENT = and_(
    reservations.c.status == ReservationStatus.PENDING,
    not_(reservations.c.is_cancelled),
    not_(reservations.c.is_shipped),
)
_EXTEND = Command(_EXTEND_BY_ORDER)
_COMMIT = Command(_COMMIT_BY_ORDER)
_EXTEND_PENDING = Statement(_EXTEND_BY_ORDER.where(_AWAITS_PAYMENT).returning(reservations.c.order_id), _to_order_id)
_COMMIT_PENDING = Statement(_COMMIT_BY_ORDER.where(_AWAITS_PAYMENT).returning(reservations.c.order_id), _to_order_id)
_CLOSE = Command(
    update(reservations)
    .where(reservations.c.order_id == _ORDERS)
    .values(status=bindparam("status"), in_committed=false())
)
_CANCEL = Command(
    update(reservations)
    .where(_BY_ORDER)
    .values(status=ReservationStatus.RELEASED, in_committed=false(), is_cancelled=true())
)
_MARK_AS_SHIPPED = Command(update(reservations).where(_BY_ORDER).values(is_shipped=true()))
SELECT_LINES = (
    select(reservation_lines.c.product_id, func.sum(reservation_lines.c.quantity).label("quantity"))
    .where(reservation_lines.c.order_id == _ORDERS)
    .group_by(reservation_lines.c.product_id)
)
"""The sum of the lines of the reservations `orders`: one line per product."""
_ADD_LINES = Command(insert_rows(*reservation_lines.c))
_REMOVE_LINES = Command(delete(reservation_lines).where(reservation_lines.c.order_id == bindparam("order")))


class ReservationRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def lock_or_create(self, new: Reservation) -> Reservation:
        """Returns the order's reservation, its row locked: `new` itself where it was created by this call."""
        found = await self.lock(new.order_id) or await self._create(new)
        return found or await self.lock_existing(new.order_id)  # created since it was looked for

    async def _create(self, new: Reservation) -> Reservation | None:
        """Returns None where the order has a reservation already."""
        created = await _CREATE.first(
            self._transaction,
            order_id=new.order_id,
            status=new.status,
            held_until=new.held_until,
            is_cancelled=new.is_cancelled,
            is_shipped=new.is_shipped,
        )
        return None if created is None else new

    async def lock(self, order_id: OrderId) -> Reservation | None:
        return await _LOCK.first(self._transaction, order=order_id)

    async def lock_existing(self, order_id: OrderId) -> Reservation:
        """Locks and returns the reservation of an order that has one. Raises LookupError otherwise."""
        reservation = await self.lock(order_id)
        if reservation is None:
            raise LookupError(f"the reservation of order {order_id} vanished: nothing ever deletes one")
        return reservation

    async def extend(self, order_id: OrderId, until: datetime) -> None:
        """Makes the reservation pending, at least until the given time. Its row must be locked."""
        await _EXTEND.execute(self._transaction, order=order_id, until=until)

    async def commit(self, order_id: OrderId) -> None:
        """Records that the order's units are committed. The reservation's row must be locked."""
        await _COMMIT.execute(self._transaction, order=order_id)

    async def extend_pending(self, order_id: OrderId, until: datetime) -> bool:
        """Extends the reservation of an order that is not paid, which nearly every placed order has.

        Locks its row. Returns False and changes nothing if there is no such reservation.
        """
        return await _EXTEND_PENDING.first(self._transaction, order=order_id, until=until) is not None

    async def commit_pending(self, order_id: OrderId) -> bool:
        """Records that the reserved units of an order are committed; nearly every order has some when it is paid.

        Locks the reservation. Returns False and changes nothing if the order has none that is pending.
        """
        return await _COMMIT_PENDING.first(self._transaction, order=order_id) is not None

    async def close(self, orders: Sequence[OrderId], status: ReservationStatus) -> None:
        """Sets the status of reservations that hold no units any more. Their rows must be locked."""
        await _CLOSE.execute(self._transaction, orders=orders, status=status)

    async def cancel(self, order_id: OrderId) -> None:
        """Ends the reservation, and marks its order as cancelled. Its row must be locked."""
        await _CANCEL.execute(self._transaction, order=order_id)

    async def mark_as_shipped(self, order_id: OrderId) -> None:
        """Records that the order is shipped. The reservation's row must be locked."""
        await _MARK_AS_SHIPPED.execute(self._transaction, order=order_id)

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

    async def add_lines(self, order_id: OrderId, lines: Sequence[Line]) -> None:
        """Adds lines to a reservation that has none."""
        await _ADD_LINES.execute(
            self._transaction,
            order_id=[order_id] * len(lines),
            product_id=[line.product_id for line in lines],
            quantity=[line.quantity for line in lines],
        )

    async def remove_lines(self, order_id: OrderId) -> None:
        await _REMOVE_LINES.execute(self._transaction, order=order_id)


def _is_overdue(at: datetime) -> ColumnElement[bool]:
    return and_(reservations.c.status == ReservationStatus.PENDING, reservations.c.held_until <= at)
