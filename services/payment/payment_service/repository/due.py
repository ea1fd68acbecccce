"""Rows that somebody must ask the provider about: `next_check_at` says when, NULL that nobody need. Along each table's `…_due`."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Column, Table, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

_Key = TypeVar("_Key", UUID, int)


async def take(
    transaction: AsyncConnection,
    key: "Column[_Key]",
    now: datetime,
    limit: int,
    pause: Callable[[int], timedelta],
) -> list[tuple[_Key, int]]:
    """The rows whose time has come, and how often they were taken before. Each is due again after a pause, should its taker die.

    Rows that another process is taking are left to it.
    """
    table = _table_of(key)
    wanted = (
        select(key, table.c.attempts)
        .where(table.c.next_check_at <= now)
        .order_by(table.c.next_check_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    taken = [(row[0], row.attempts) for row in await transaction.execute(wanted)]
    for found, attempts in taken:
        again = update(table).where(key == found)
        await transaction.execute(again.values(next_check_at=now + pause(attempts), attempts=attempts + 1))
    return taken


async def hasten(transaction: AsyncConnection, key: "Column[_Key]", row: _Key, at: datetime) -> None:
    """Due at `at`, and its pauses are short again."""
    table = _table_of(key)
    await transaction.execute(update(table).where(key == row).values(next_check_at=at, attempts=0))


async def rest(transaction: AsyncConnection, key: "Column[_Key]", row: _Key, now: datetime) -> None:
    """Nobody need ask any more, unless somebody said meanwhile that one should: then it stays due."""
    table = _table_of(key)
    unasked = or_(table.c.attempts > 0, table.c.next_check_at > now)
    await transaction.execute(update(table).where(key == row, unasked).values(next_check_at=None, attempts=0))


async def settle(transaction: AsyncConnection, key: "Column[_Key]", row: _Key) -> None:
    """Nobody need ask any more."""
    table = _table_of(key)
    await transaction.execute(update(table).where(key == row).values(next_check_at=None, attempts=0))


def _table_of(key: "Column[_Key]") -> Table:
    table = key.table
    if not isinstance(table, Table):
        raise TypeError(f"{key} is of no table")
    return table
