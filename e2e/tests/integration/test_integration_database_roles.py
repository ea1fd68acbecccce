"""What a service that is taken over can do to its database: read and write rows, and change nothing of its schema."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest
from devtools.services import SERVICES
from devtools.stack import Stack

WITH_DATABASE = tuple(name for name, kind in SERVICES.items() if kind.database)


@asynccontextmanager
async def logged_in_as(service: str, stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """Opens a connection with the environment of the service's process."""
    variables = stack.environment_of(service)
    connection = await asyncpg.connect(
        host=variables["DB_HOST"],
        port=int(variables["DB_PORT"]),
        user=variables["DB_USER"],
        password=variables["DB_PASSWORD"],
        database=variables["DB_NAME"],
    )
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("service", WITH_DATABASE)
async def test_a_service_writes_the_rows_of_its_database_and_cannot_change_its_schema(
    stack: Stack, service: str
) -> None:
    owner = urlsplit(stack.database_of(service)).username
    async with logged_in_as(service, stack) as connection:
        tables = await connection.fetch("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'")
        assert len(tables) > 1
        for (table,) in tables:
            for statement in (f"TRUNCATE {table}", f"DROP TABLE {table}", f"ALTER TABLE {table} ADD COLUMN extra int"):
                await is_refused(connection, statement)
            written = await connection.fetchrow(
                "SELECT bool_and(has_table_privilege($1, privilege)) AS all_of_them,"
                " bool_or(has_table_privilege($1, privilege)) AS any_of_them"
                " FROM unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) privilege",
                table,
            )
            assert tuple(written) == ((False, False) if table == "alembic_version" else (True, True)), table
            assert await connection.fetchval("SELECT has_table_privilege($1, 'SELECT')", table), table
        for statement in ("CREATE TABLE extra (id int)", "CREATE SCHEMA extra", f"SET ROLE {owner}"):
            await is_refused(connection, statement)


async def is_refused(connection: asyncpg.Connection, statement: str) -> None:
    """Fails if PostgreSQL would execute the statement, which is rolled back in any case."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("service", WITH_DATABASE)
async def test_no_migration_gives_a_function_the_rights_of_the_owner(stack: Stack, service: str) -> None:
    """A function that runs with the rights of its owner would lend them to the service."""
    async with logged_in_as(service, stack) as connection:
        lent = await connection.fetch(
            "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        )
    assert lent == []
