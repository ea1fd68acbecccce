"""Deletes old rows a batch per transaction: no statement takes long, and none locks many rows, however many are old."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from sqlalchemy import Column, ColumnClause, ColumnElement, Delete, column, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database.engine import Database

BATCH = 1000
"""How many rows one transaction deletes."""

PruneBatch = Callable[[AsyncConnection, int], Awaitable[int]]
"""Deletes at most that many rows within a transaction, and returns how many it deleted."""


async def prune_in_batches(database: Database, prune_batch: PruneBatch) -> int:
    """Repeats `prune_batch`, each time in a transaction of its own, until it deletes fewer rows than a batch has.

    Returns how many rows were deleted. Raises DatabaseUnavailable; then what was deleted before stays deleted.
    """
    total = 0
    while True:
        async with database.begin() as transaction:
            deleted = await prune_batch(transaction, BATCH)
        total += deleted
        if deleted < BATCH:
            return total


def delete_oldest(
    age: Column[datetime], before: datetime | ColumnElement[datetime], limit: int, *conditions: ColumnElement[bool]
) -> Delete:
    """Returns the statement that deletes the `limit` oldest rows for which the column `age` is before a time.

    It reads through an index that begins with `age`, and leaves rows that another transaction has locked. The rows are
    found by their place (ctid), so that their number does not depend on the planner's estimates.
    """
    place: ColumnClause[str] = column("ctid")
    oldest = select(place).select_from(age.table).where(age < before, *conditions).order_by(age).limit(limit)
    places = func.array(oldest.with_for_update(skip_locked=True).scalar_subquery())
    return delete(age.table).where(place == func.any(places))
