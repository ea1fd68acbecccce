"""The PostgreSQL database of a service, through SQLAlchemy Core on asyncpg.

A use case opens one transaction with `begin()`. One that only reads, each time what one statement can see, needs none:
it gets a connection with `read()`, on which it runs prepared statements (chassis.database.statements). One that writes
by a single prepared statement gets one with `autocommit()`.
"""

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from prometheus_client import Gauge
from sqlalchemy import URL, Engine, NullPool, event, exc, text
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chassis.database.connections import PooledConnection
from chassis.database.idle_connections import IdleConnections
from chassis.database.statements import AutocommitConnection, span_of
from chassis.database.transactions import transaction_on
from chassis.errors import DatabaseUnavailable
from chassis.observability import logs, tracing
from chassis.settings import DatabaseSettings
from chassis.tls import client_context

POOL_IN_USE = Gauge("db_client_connections_usage", "Connections of the pool that are in use")
POOL_SIZE = Gauge("db_client_connections_max", "Connections that the pool may hold")
ANSWERED = Gauge(
    "db_client_answered_timestamp_seconds", "When the database last finished a transaction of this process"
)

_READY_TIMEOUT_SECONDS = 2.5
"""Less than the timeout of the readiness probe in charts/common."""
_ANSWER_VALID_SECONDS = 5.0
"""How long the end of a transaction proves that the database answers."""
_STATEMENT_TIMEOUT_SECONDS = 10
_REPORT_TIMEOUT_SECONDS = 300
_OUTAGE_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,  # the server is stopping or starting
    asyncpg.exceptions.InsufficientResourcesError,  # too many connections, disk or memory full
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server has said that it ends the connection, which is not closed yet
    OSError,
    asyncio.TimeoutError,
)
_NOT_MIGRATED_ERRORS = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InsufficientPrivilegeError,  # the migration grants the runtime role its privileges
)
"""A process may start before the migration that it needs. Until then the events that it takes must wait, not fail."""
_UNPREPARED_ERRORS = (asyncpg.InvalidCachedStatementError, asyncpg.exceptions.OutdatedSchemaCacheError)
"""A migration has changed a column that a prepared statement reads. It is prepared again the next time."""

log = logs.get_logger(__name__)


class Database:
    """The connection pool of a service's database.

    It connects on first use, so that a service starts without a database.
    """

    def __init__(self, settings: DatabaseSettings, schema: str, parameters: Mapping[str, str] | None = None) -> None:
        """`schema` is the Alembic revision that this code was written for.

        `parameters` are PostgreSQL's run-time parameters for each connection of the pool.
        """
        self._schema = schema
        self._name = settings.db_name
        engine = _create_engine(settings, settings.db_pool_size, _STATEMENT_TIMEOUT_SECONDS, parameters)
        self._connections = IdleConnections(engine)
        self._reports = IdleConnections(_create_engine(settings, 1, _REPORT_TIMEOUT_SECONDS))
        self._probes = _create_unpooled_engine(settings)
        self._probing = asyncio.Lock()
        self._has_schema = False
        self._answered_at = -math.inf
        _trace_statements(engine.sync_engine, settings.db_name)
        POOL_SIZE.set(settings.db_pool_size)
        POOL_IN_USE.set_function(lambda: float(self._connections.in_use))

    def begin(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Opens a transaction, which the end of the block commits and an exception rolls back.

        Raises DatabaseUnavailable.
        """
        return self._begin(self._connections)

    def begin_report(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Opens a transaction as `begin` does, for large reads in the background.

        Its statements may take five minutes each. One such transaction runs at a time.
        """
        return self._begin(self._reports)

    def read(self) -> AbstractAsyncContextManager[AutocommitConnection]:
        """Gives a connection without a transaction, for prepared statements that read: each sees what is committed.

        Raises DatabaseUnavailable.
        """
        return self._connect()

    def autocommit(self) -> AbstractAsyncContextManager[AutocommitConnection]:
        """Gives a connection without a transaction, for one prepared statement that writes: its return is its commit.

        It is two round trips less than `begin`. Raises DatabaseUnavailable.
        """
        return self._connect()

    async def is_ready(self) -> bool:
        """Returns whether the database answers and has the schema that this code was written for, or a later one.

        A release migrates before its pods replace the old ones, so each schema must also work with the code before it.

        It does not wait for the pool: under load all pods would become unready at once, though the database answers.
        While transactions end, nothing is asked. Otherwise one caller at a time asks, on a connection of its own.
        """
        try:
            async with asyncio.timeout(_READY_TIMEOUT_SECONDS), self._probing:
                has_answered = time.monotonic() - self._answered_at < _ANSWER_VALID_SECONDS
                return (self._has_schema and has_answered) or await self._probe()
        except TimeoutError:
            return False

    async def close(self) -> None:
        for connections in (self._connections, self._reports):
            await connections.close()
        await self._probes.dispose()

    async def _probe(self) -> bool:
        """Asks the database for its schema. A server that has no connection left is busy, and so it answers."""
        try:
            async with self._connect_probe() as connection:
                revisions = await connection.scalars(text("SELECT version_num FROM alembic_version"))
                self._has_schema = any(revision >= self._schema for revision in revisions)
        except DatabaseUnavailable as error:
            return self._has_schema and _is_server_full(error)
        except exc.ProgrammingError:
            return False
        return self._has_schema

    @asynccontextmanager
    async def _connect_probe(self) -> AsyncIterator[AsyncConnection]:
        """Opens a connection that is closed afterwards."""
        async with AsyncExitStack() as stack:
            with _refusals_as_database_unavailable():
                connection = await stack.enter_async_context(self._probes.connect())
            with _outages_as_database_unavailable():
                yield connection
                self._record_answer()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[AutocommitConnection]:
        with _refusals_as_database_unavailable():
            connection = await self._connections.take()
        try:
            with _outages_as_database_unavailable():
                yield AutocommitConnection(connection.driver_connection, self._name)
        except BaseException:
            connection.close()
            raise
        self._connections.put_back(connection)
        self._record_answer()

    @asynccontextmanager
    async def _begin(self, connections: IdleConnections) -> AsyncIterator[AsyncConnection]:
        with _refusals_as_database_unavailable():
            connection = await connections.take()
        with _outages_as_database_unavailable():
            async with transaction_on(connection, connections) as transaction:
                yield transaction
            self._record_answer()

    def _record_answer(self) -> None:
        ANSWERED.set_to_current_time()
        self._answered_at = time.monotonic()


def database_url(settings: DatabaseSettings) -> URL:
    """Returns the database's URL for SQLAlchemy on asyncpg."""
    return URL.create(
        "postgresql+asyncpg",
        username=settings.db_user,
        password=settings.db_password,
        host=settings.db_host,
        port=settings.db_port,
        database=settings.db_name,
    )


def database_tls(settings: DatabaseSettings) -> ssl.SSLContext | None:
    """Returns the `ssl` argument of asyncpg. None leaves it to the server whether a connection is encrypted."""
    return client_context(settings.db_ca) if settings.db_ca else None


def _create_engine(
    settings: DatabaseSettings,
    connections: int,
    statement_timeout_seconds: float,
    parameters: Mapping[str, str] | None = None,
) -> AsyncEngine:
    return create_async_engine(
        database_url(settings),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=settings.db_connect_timeout_seconds,
        pool_use_lifo=True,  # few connections have prepared what all have to do, instead of each of them a part of it
        connect_args={
            "timeout": settings.db_connect_timeout_seconds,
            "command_timeout": statement_timeout_seconds,
            "ssl": database_tls(settings),
            "connection_class": PooledConnection,
            "server_settings": dict(parameters or {}),
        },
        hide_parameters=True,  # a logged error has the statement, but no personal data from its parameters
    )


def _create_unpooled_engine(settings: DatabaseSettings) -> AsyncEngine:
    """Returns an engine that opens a connection for each transaction and closes it afterwards."""
    connect_args = {
        "timeout": _READY_TIMEOUT_SECONDS,
        "command_timeout": _READY_TIMEOUT_SECONDS,
        "ssl": database_tls(settings),
    }
    return create_async_engine(database_url(settings), poolclass=NullPool, connect_args=connect_args)


@contextmanager
def _refusals_as_database_unavailable() -> Iterator[None]:
    """Raises DatabaseUnavailable for whatever prevents a connection."""
    try:
        yield
    except exc.TimeoutError as error:
        raise DatabaseUnavailable("every connection of the pool is in use") from error
    except (exc.DBAPIError, AsyncAdapt_asyncpg_dbapi.Error, asyncpg.PostgresError, *_OUTAGE_ERRORS) as error:
        # Logged here, because the reason is for the operator of this service and must not reach the caller.
        log.warning("the database refused the connection", reason=str(error))
        raise DatabaseUnavailable("the database is not answering") from error


@contextmanager
def _outages_as_database_unavailable() -> Iterator[None]:
    """Raises DatabaseUnavailable instead of the errors that mean an outage or a migration, missing or just run.

    They are SQLAlchemy's, or the driver's own for a prepared statement.
    """
    try:
        yield
    except (exc.DBAPIError, AsyncAdapt_asyncpg_dbapi.Error, asyncpg.PostgresError, *_OUTAGE_ERRORS) as error:
        cause = _cause(error)
        if _is_disconnect(error) or _is_outage(cause):
            raise DatabaseUnavailable("the database is not answering") from error
        if isinstance(cause, _NOT_MIGRATED_ERRORS):
            raise DatabaseUnavailable("the database is not migrated to what this version needs") from error
        if isinstance(cause, _UNPREPARED_ERRORS):
            raise DatabaseUnavailable("the database is being migrated; try again in a moment") from error
        raise


def _cause(error: BaseException) -> BaseException | None:
    """Returns the error of asyncpg that SQLAlchemy or its adapter may have wrapped."""
    if isinstance(error, exc.DBAPIError):
        return driver_error(error.orig)
    return driver_error(error) if isinstance(error, AsyncAdapt_asyncpg_dbapi.Error) else error


def _is_disconnect(error: Exception) -> bool:
    return isinstance(error, exc.DBAPIError) and error.connection_invalidated


def _is_outage(cause: BaseException | None) -> bool:
    # asyncpg reports a value that it cannot encode as an InterfaceError too: that is a bug of the service.
    return isinstance(cause, _OUTAGE_ERRORS) and not isinstance(cause, ValueError)


def _is_server_full(error: DatabaseUnavailable) -> bool:
    """Returns whether the server refused a connection because all that it allows are in use."""
    return error.__cause__ is not None and isinstance(_cause(error.__cause__), asyncpg.TooManyConnectionsError)


def driver_error(error: BaseException | None) -> BaseException | None:
    """Returns the error of asyncpg that SQLAlchemy's dialect has wrapped."""
    return error.__cause__ if error is not None else None


def _trace_statements(engine: Engine, database: str) -> None:
    """Opens a span for each statement within a recorded span. Statements of background loops have no trace."""
    for method in ("do_execute", "do_executemany"):
        event.listen(engine, method, _traced(method, database))


def _traced(method: str, database: str) -> Callable[[Any, str, Any, ExecutionContext], bool]:
    """Returns a listener that executes the statement in place of the dialect's `method`, within a span."""

    def execute(cursor: Any, statement: str, parameters: Any, context: ExecutionContext) -> bool:
        """Returns whether the statement was executed, as SQLAlchemy expects; if not, the dialect executes it."""
        if not tracing.is_recorded():
            return False
        with span_of(statement, database):
            getattr(context.dialect, method)(cursor, statement, parameters, context)
        return True

    return execute
