"""Old rows are deleted in batches, along their index, without waiting for rows in use."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from chassis.database import pruning
from chassis.database.engine import Database
from chassis_testing.databases import empty_database
from sqlalchemy import Column, DateTime, Index, Integer, MetaData, Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

NOW = datetime.now(UTC)
VISITS = Table(
    "visits",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Index("visits_by_age", "at"),
)


@pytest.fixture
async def database(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database with 25 visits of the last 25 days."""
    monkeypatch.setattr(pruning, "BATCH", 4)
    async with empty_database() as settings:
        opened = Database(settings, "none")
        async with opened.begin() as transaction:
            await transaction.run_sync(VISITS.metadata.create_all)
            visits = [{"id": day, "at": NOW - timedelta(days=day)} for day in range(25)]
            await transaction.execute(VISITS.insert(), visits)
        yield opened
        await opened.close()


async def left(database: Database) -> list[int]:
    async with database.begin() as transaction:
        return list(await transaction.scalars(text("SELECT id FROM visits ORDER BY id")))


async def test_rows_are_deleted_the_oldest_first_in_a_transaction_per_batch(database: Database) -> None:
    batches: list[int] = []

    async def prune_batch(transaction: AsyncConnection, limit: int) -> int:
        if len(batches) == 2:
            raise RuntimeError("killed")
        deleted = pruning.delete_oldest(VISITS.c.at, NOW - timedelta(days=9.5), limit)
        batches.append((await transaction.execute(deleted)).rowcount)
        return batches[-1]

    with pytest.raises(RuntimeError, match="killed"):
        await pruning.prune_in_batches(database, prune_batch)

    assert batches == [4, 4]
    assert await left(database) == list(range(17))


async def test_it_ends_when_nothing_old_is_left(database: Database) -> None:
    async def prune_batch(transaction: AsyncConnection, limit: int) -> int:
        deleted = pruning.delete_oldest(VISITS.c.at, NOW - timedelta(days=16.5), limit)
        return (await transaction.execute(deleted)).rowcount

    assert await pruning.prune_in_batches(database, prune_batch) == 8
    assert await pruning.prune_in_batches(database, prune_batch) == 0
    assert await left(database) == list(range(17))


async def test_a_row_in_use_is_left(database: Database) -> None:
    async with database.begin() as using, database.begin() as transaction:
        await using.execute(text("SELECT FROM visits WHERE id = 24 FOR UPDATE"))

        deleted = await transaction.execute(pruning.delete_oldest(VISITS.c.at, NOW - timedelta(days=20.5), 100))

        assert deleted.rowcount == 3
    assert await left(database) == [*range(21), 24]


async def test_a_batch_is_read_along_the_index_and_deleted_by_place(database: Database) -> None:
    statement = pruning.delete_oldest(VISITS.c.at, NOW - timedelta(days=30), 100)
    async with database.begin() as transaction:
        compiled = statement.compile(dialect=transaction.dialect, compile_kwargs={"literal_binds": True})
        await transaction.execute(text("INSERT INTO visits SELECT n, now() FROM generate_series(100, 9999) n"))
        await transaction.execute(text("ANALYZE visits"))
        plan = "\n".join(await transaction.scalars(text(f"EXPLAIN {compiled}")))

    assert "Tid Scan on visits" in plan
    assert "Index Scan using visits_by_age" in plan
    assert "Seq Scan" not in plan
