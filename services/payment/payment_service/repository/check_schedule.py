"""The schedule of checks with the provider: `next_check_at` is when a row is checked next, NULL for never.

Along each table's `…_due`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from chassis.database.statements import Command
from sqlalchemy import Column, ColumnElement, Table, Update, bindparam, case, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.repository.tables import customers, payment_methods, payments, refunds

_Key = TypeVar("_Key", UUID, int)


class CheckSchedule(Generic[_Key]):
    """The checks of one table's rows. Its methods read and write within the caller's transaction."""

    def __init__(self, table: Table, key: "Column[_Key]") -> None:
        self._table = table
        self._key: Column[Any] = key
        of_key = update(table).where(self._key == bindparam("key")).values(attempts=0)
        unless_rescheduled = of_key.where(self._is_not_rescheduled(bindparam("now")))
        self._reschedule = Command(of_key.values(next_check_at=bindparam("at")))
        self._clear = Command(of_key.values(next_check_at=null()))
        self._clear_unless_rescheduled = Command(unless_rescheduled.values(next_check_at=null()))
        self._postpone_unless_rescheduled = Command(unless_rescheduled.values(next_check_at=bindparam("at")))

    async def claim(
        self, transaction: AsyncConnection, now: datetime, limit: int, delay: Callable[[int], timedelta]
    ) -> list[tuple[_Key, int]]:
        """Claims rows that are due, and returns their keys and how often they were claimed before.

        Each row is due again after `delay(attempts)`, in case this process dies. Rows that another process is claiming
        are skipped.
        """
        columns = self._table.c
        due = (
            select(self._key, columns.attempts)
            .where(columns.next_check_at <= now)
            .order_by(columns.next_check_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        claimed = [(row[0], row.attempts) for row in await transaction.execute(due)]
        for key, attempts in claimed:
            await transaction.execute(
                self._update(key).values(next_check_at=now + delay(attempts), attempts=attempts + 1)
            )
        return claimed

    async def reschedule(self, transaction: AsyncConnection, key: _Key, at: datetime) -> None:
        """Makes a row due at `at`, and its delays short again."""
        await self._reschedule.execute(transaction, key=key, at=at)

    async def clear_unless_rescheduled(self, transaction: AsyncConnection, key: _Key, now: datetime) -> None:
        """Clears `next_check_at` unless the row was rescheduled after it was claimed."""
        await self._clear_unless_rescheduled.execute(transaction, key=key, now=now)

    def clearing_unless_rescheduled(self, now: "ColumnElement[datetime]") -> "Mapping[Column[Any], ColumnElement[Any]]":
        """Returns the values with which a statement that stores a row does what `clear_unless_rescheduled` does."""
        columns, is_cleared = self._table.c, self._is_not_rescheduled(now)
        return {
            columns.next_check_at: case((is_cleared, null()), else_=columns.next_check_at),
            columns.attempts: case((is_cleared, 0), else_=columns.attempts),
        }

    async def postpone_unless_rescheduled(
        self, transaction: AsyncConnection, key: _Key, now: datetime, until: datetime
    ) -> None:
        """Makes a row due at `until` unless it was rescheduled after it was claimed."""
        await self._postpone_unless_rescheduled.execute(transaction, key=key, now=now, at=until)

    async def clear(self, transaction: AsyncConnection, key: _Key) -> None:
        """Clears `next_check_at`: the row is not checked again."""
        await self._clear.execute(transaction, key=key)

    def _is_not_rescheduled(self, now: "ColumnElement[datetime]") -> "ColumnElement[bool]":
        return or_(self._table.c.attempts > 0, self._table.c.next_check_at > now)

    def _update(self, key: Any) -> Update:
        return update(self._table).where(self._key == key)


PAYMENT_CHECKS: CheckSchedule[UUID] = CheckSchedule(payments, payments.c.id)
REFUND_CHECKS: CheckSchedule[UUID] = CheckSchedule(refunds, refunds.c.id)
PAYMENT_METHOD_CHECKS: CheckSchedule[UUID] = CheckSchedule(payment_methods, payment_methods.c.id)
CUSTOMER_CHECKS: CheckSchedule[int] = CheckSchedule(customers, customers.c.user_id)
