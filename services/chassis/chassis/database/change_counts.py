"""The change count of a database: how many statements have changed the data that public answers show.

While the count stays the same, what was read before is what would be read now. Triggers add a row for each statement in
its own transaction (chassis.database.migrations.count_changes), so no change is missed.
"""

from sqlalchemy import BigInteger, MetaData, func, insert, literal, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import tables
from chassis.database.engine import Database
from chassis.database.statements import Command, Statement

COMPACTION_INTERVAL_SECONDS = 10.0
_MIN_ROWS = 100
"""Fewer rows are left as they are, so that an idle database is not written to."""

_counts = tables.change_counts(MetaData())
_SUM = Statement(
    select(func.coalesce(func.sum(_counts.c.changes), 0).cast(BigInteger).label("count")), lambda row: int(row["count"])
)
_COUNT = Command(insert(_counts).values(changes=literal(1)))
_BATCH = 10_000
"""How many rows one statement replaces: after a rollback to a release that does not compact there may be millions."""
_COMPACT = text("""
    WITH deleted AS (
        DELETE FROM change_counts WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM change_counts
            WHERE (SELECT count(*) FROM (SELECT FROM change_counts LIMIT :min_rows) AS first_rows) >= :min_rows
            LIMIT :batch FOR UPDATE SKIP LOCKED
        )) RETURNING changes
    )
    INSERT INTO change_counts SELECT sum(changes) FROM deleted HAVING count(*) > 0
    RETURNING (SELECT count(*) FROM deleted)
""")


class ChangeCount:
    """Reads, raises and compacts the change count of a service's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> int:
        """Returns the number of changes that are committed now. Raises DatabaseUnavailable.

        It never becomes lower, unless the database loses commits, by a failover or because it is restored.
        """
        async with self._database.read() as connection:
            return await _SUM.one(connection)

    async def count(self, transaction: AsyncConnection) -> None:
        """Counts a change outside of the database, such as the eviction of a cached row, once `transaction` commits."""
        await _COUNT.execute(transaction)

    async def compact(self) -> None:
        """Replaces many rows by one with their sum, in batches: every reader sees the same count as before.

        Each batch is one statement, which leaves rows to another process that replaces them. Raises
        DatabaseUnavailable.
        """
        replaced = _BATCH
        while replaced >= _BATCH:
            async with self._database.begin() as transaction:
                replaced = await transaction.scalar(_COMPACT, {"min_rows": _MIN_ROWS, "batch": _BATCH}) or 0
