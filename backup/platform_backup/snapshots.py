"""The cut: an exported snapshot of each database, all taken as close together as possible, while the shop runs.

All connections are opened first, so that what lies between two snapshots is one round trip.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import asyncpg
from chassis.database.engine import database_tls
from chassis.settings import DatabaseSettings

from platform_backup.errors import DatabaseFailed, DatabaseUnreachable
from platform_backup.manifest import OutboxPosition
from platform_backup.settings import OwnerSettings

_T = TypeVar("_T")
CONNECT_TIMEOUT_SECONDS = 10.0
_STATEMENT_TIMEOUT_SECONDS = 60.0
_OF_CONNECTION = (asyncpg.InterfaceError, asyncpg.InternalClientError)
"""The errors of a statement on a connection that is closed, or that the server is about to close."""
DRIVER_ERRORS = (asyncpg.PostgresError, *_OF_CONNECTION, OSError, TimeoutError)
_LOST = (
    asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError, *_OF_CONNECTION, OSError, TimeoutError,
)  # fmt: skip
"""The errors of a server that is away, starts, stops or has no connection left, and of a connection that has ended."""
_LOST_WITHIN_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""The errors of a connection that has ended. Each other error of TLS is one of its settings or certificates."""
_OUTBOX_POSITION = """
    SELECT greatest(
               (SELECT coalesce(max(sequence), 0) FROM outbox),
               (SELECT coalesce(max(sequence), 0) FROM outbox_published)
           ) AS last_sequence,
           (SELECT count(*) FROM outbox) AS waiting
"""
_TABLES = """
    SELECT oid, relfilenode, relname FROM pg_class
    WHERE relkind = 'r' AND relpersistence <> 't'
      AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
"""
"""Reads the table itself, since pg_relation_filenode() and the like return what is so now, not in the snapshot."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A database as it was at one moment. pg_dump reads it by its name while the transaction that exported it lives."""

    name: str
    at: datetime
    server_version: int
    revision: str | None
    outbox: OutboxPosition | None
    tables: frozenset[tuple[int, int, str]]
    """The oid, the number of the file, and the name of each table."""


@asynccontextmanager
async def cut(databases: Mapping[str, DatabaseSettings]) -> AsyncIterator[dict[str, Snapshot]]:
    """Takes a snapshot of each database at once, and holds them until the block ends. Raises DatabaseFailed."""
    async with AsyncExitStack() as stack:
        names = list(databases)
        connections = await asyncio.gather(
            *(stack.enter_async_context(_transaction(name, databases[name])) for name in names)
        )
        exported = await asyncio.gather(*map(_export, names, connections))
        described = await asyncio.gather(*map(_describe, names, connections, exported))
        yield dict(zip(names, described, strict=True))


async def require_tables(service: str, database: DatabaseSettings, snapshot: Snapshot) -> None:
    """Raises DatabaseFailed unless the tables of a snapshot still have the files with its rows.

    TRUNCATE, and an ALTER TABLE that rewrites a table, give it another file: a snapshot of before finds no row there.
    """
    async with connect(service, database) as connection:
        tables = await translate_errors(service, _read_tables(connection))
    if replaced := sorted(name for _, _, name in snapshot.tables - tables):
        raise DatabaseFailed(
            f"a migration has replaced the rows of {', '.join(replaced)} since the snapshot was taken: back up again"
        )


async def choose_passwords(databases: Mapping[str, OwnerSettings]) -> dict[str, DatabaseSettings]:
    """Returns the logins with the former password where PostgreSQL refuses the next one, amid a rotation of owners.

    Raises DatabaseFailed.
    """
    chosen = await asyncio.gather(*(_choose_password(name, database) for name, database in databases.items()))
    return dict(zip(databases, chosen, strict=True))


async def _choose_password(service: str, database: OwnerSettings) -> DatabaseSettings:
    if not database.db_previous_password:
        return database
    try:
        async with connect(service, database):
            return database
    except DatabaseFailed as error:
        if not isinstance(error.__cause__, asyncpg.InvalidPasswordError):
            raise
    return database.model_copy(update={"db_password": database.db_previous_password})


@asynccontextmanager
async def connect(service: str, database: DatabaseSettings) -> AsyncIterator[asyncpg.Connection]:
    """Gives a connection as the owner of a database. Raises DatabaseFailed."""
    try:
        connection = await asyncpg.connect(
            host=database.db_host,
            port=database.db_port,
            user=database.db_user,
            password=database.db_password,
            database=database.db_name,
            ssl=database_tls(database),
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=_STATEMENT_TIMEOUT_SECONDS,
        )
    except DRIVER_ERRORS as error:
        # there is no connection that may have ended: the server wants a login that the driver does not have
        kind = DatabaseFailed if isinstance(error, _OF_CONNECTION) else _failure(error)
        raise kind(f"the database of {service} does not answer: {_text(error)}") from error
    try:
        yield connection
    finally:
        connection.terminate()


async def translate_errors(service: str, call: Awaitable[_T]) -> _T:
    """Awaits a call to a database. Raises DatabaseFailed for an error of the driver."""
    try:
        return await call
    except DRIVER_ERRORS as error:
        raise _failure(error)(f"the database of {service}: {_text(error)}") from error


def _failure(error: Exception) -> type[DatabaseFailed]:
    return DatabaseUnreachable if is_connection_lost(error) else DatabaseFailed


def is_connection_lost(error: BaseException) -> bool:
    """Returns whether a server is away, starts, stops or is full, rather than that it refuses something."""
    if isinstance(error, ssl.SSLError):
        return isinstance(error, _LOST_WITHIN_TLS)
    # asyncpg reports a value or a setting that it cannot use as an InterfaceError, too
    return isinstance(error, _LOST) and not isinstance(error, ValueError)


async def has_table(connection: asyncpg.Connection, name: str) -> bool:
    """Tells whether the schema public has this table."""
    return bool(await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"public.{name}"))


async def revision_of(connection: asyncpg.Connection) -> str | None:
    """Returns the revision of a migrated schema."""
    if not await has_table(connection, "alembic_version"):
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return revision


@asynccontextmanager
async def _transaction(service: str, database: DatabaseSettings) -> AsyncIterator[asyncpg.Connection]:
    """Gives a connection in a transaction that has no snapshot yet, which its first query takes."""
    async with connect(service, database) as connection:
        await translate_errors(service, connection.execute("SET idle_in_transaction_session_timeout = 0"))
        await translate_errors(service, connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        yield connection


async def _export(service: str, connection: asyncpg.Connection) -> asyncpg.Record:
    return await translate_errors(
        service, connection.fetchrow("SELECT pg_export_snapshot() AS name, clock_timestamp() AS at")
    )


async def _describe(service: str, connection: asyncpg.Connection, exported: asyncpg.Record) -> Snapshot:
    return await translate_errors(service, _read(connection, exported))


async def _read(connection: asyncpg.Connection, exported: asyncpg.Record) -> Snapshot:
    has_outbox = await has_table(connection, "outbox") and await has_table(connection, "outbox_published")
    position = await connection.fetchrow(_OUTBOX_POSITION) if has_outbox else None
    return Snapshot(
        name=exported["name"],
        at=exported["at"],
        server_version=connection.get_server_version().major,
        revision=await revision_of(connection),
        outbox=OutboxPosition(**position) if position is not None else None,
        tables=await _read_tables(connection),
    )


async def _read_tables(connection: asyncpg.Connection) -> frozenset[tuple[int, int, str]]:
    return frozenset((row["oid"], row["relfilenode"], row["relname"]) for row in await connection.fetch(_TABLES))


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
