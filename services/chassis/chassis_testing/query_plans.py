"""Plans of PostgreSQL for the statements of repositories: which index a list is read along."""

from collections.abc import Awaitable, Callable
from typing import Any

from chassis.database.engine import Database
from chassis.settings import DatabaseSettings
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis_testing.databases import owner_of


async def assert_page_reads_its_own_rows(
    database: DatabaseSettings,
    read: Callable[[AsyncConnection], Awaitable[object]],
    index: str,
    rows: str | None = None,
) -> None:
    """Asserts that the first statement of `read` finds the position of its cursor in an index, and sorts nothing.

    So no row before the page is read, and none behind it. `read` calls a repository with its transaction. Tables of
    tests are small, so scans of whole tables are disabled; where several indexes would do, `rows` is a statement that
    fills the table, for the transaction alone.
    """
    plan = await _plan(database, read, rows)
    conditions = "\n".join(line for line in plan.splitlines() if "Index Cond" in line)
    finds_position = "<" in conditions or ">" in conditions
    if f"using {index} " not in plan or not finds_position or "Sort" in plan:
        raise AssertionError(f"a page is not read along {index}:\n{plan}")


async def _plan(
    database: DatabaseSettings, read: Callable[[AsyncConnection], Awaitable[object]], rows: str | None
) -> str:
    statements: list[tuple[str, Any]] = []
    connected = Database(owner_of(database), schema="")
    try:
        async with connected.begin() as transaction:
            await transaction.execute(text("SET LOCAL enable_seqscan = off"))
            await transaction.execute(text("SET LOCAL enable_bitmapscan = off"))
            if rows is not None:
                await transaction.execute(text(rows))
                await transaction.execute(text("ANALYZE"))

            def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_others: Any) -> None:
                statements.append((statement, parameters))

            event.listen(transaction.sync_connection, "before_cursor_execute", record)
            await read(transaction)
            statement, parameters = statements[0]
            lines = (await transaction.exec_driver_sql(f"EXPLAIN {statement}", parameters)).scalars()
            plan = "\n".join(lines)
            await transaction.rollback()
            return plan
    finally:
        await connected.close()
