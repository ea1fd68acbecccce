"""The PostgreSQL database of a service, through SQLAlchemy Core on asyncpg.

A use case opens one transaction with `begin()`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from opentelemetry.trace import StatusCode
from prometheus_client import Gauge
from sqlalchemy import URL, Engine, event, exc, text
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chassis.errors import DatabaseUnavailable
from chassis.observability import logs, tracing
from chassis.settings import DatabaseSettings

POOL_IN_USE = Gauge("db_client_connections_usage", "Connections of the pool that are in use")
POOL_SIZE = Gauge("db_client_connections_max", "Connections that the pool may hold")
ANSWERED = Gauge(
    "db_client_answered_timestamp_seconds", "When the database last finished a transaction of this process"
)

_READY_TIMEOUT_SECONDS = 3
_STATEMENT_TIMEOUT_SECONDS = 10
_REPORT_TIMEOUT_SECONDS = 300
_OUTAGE_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,  # the server is stopping or starting
    asyncpg.exceptions.InsufficientResourcesError,  # too many connections, disk or memory full
    asyncpg.InterfaceError,
    OSError,
    asyncio.TimeoutError,
)
_SCHEMA_TOO_OLD_ERRORS = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)
"""A process may start before the migration that it needs. Until then the events that it takes must wait, not fail."""

log = logs.get_logger(__name__)


class Database:
    """The connection pool of a service's database.

    It connects on first use, so that a service starts without a database.
    """

    def __init__(self, settings: DatabaseSettings, schema: str) -> None:
        """`schema` is the Alembic revision that this code was written for."""
        self._schema = schema
        self._engine = _create_engine(settings, settings.db_pool_size, _STATEMENT_TIMEOUT_SECONDS)
        self._reports = _create_engine(settings, 1, _REPORT_TIMEOUT_SECONDS)
        _trace_statements(self._engine.sync_engine, settings.db_name)
        POOL_SIZE.set(settings.db_pool_size)
        POOL_IN_USE.set_function(lambda: float(self._engine.pool.checkedout()))  # type: ignore[attr-defined]  # the queue pool has it

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Opens a transaction, which the end of the block commits and an exception rolls back.

        Raises DatabaseUnavailable.
        """
        async with self._begin(self._engine) as connection:
            yield connection

    @asynccontextmanager
    async def begin_report(self) -> AsyncIterator[AsyncConnection]:
        """Opens a transaction as `begin` does, for large reads in the background.

        Its statements may take five minutes each. One such transaction runs at a time.
        """
        async with self._begin(self._reports) as connection:
            yield connection

    async def is_ready(self) -> bool:
        """Returns whether the database answers and has the schema that this code was written for, or a later one.

        A release migrates before its pods replace the old ones, so each schema must also work with the code before it.
        """
        try:
            async with asyncio.timeout(_READY_TIMEOUT_SECONDS), self.begin() as connection:
                revisions = await connection.scalars(text("SELECT version_num FROM alembic_version"))
                return any(revision >= self._schema for revision in revisions)
        except (DatabaseUnavailable, exc.ProgrammingError, TimeoutError):
            return False

    async def close(self) -> None:
        await self._engine.dispose()
        await self._reports.dispose()

    @asynccontextmanager
    async def _begin(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            connection = await self._connect(engine, stack)
            with _outages_as_database_unavailable():
                async with connection.begin():
                    yield connection
                ANSWERED.set_to_current_time()

    async def _connect(self, engine: AsyncEngine, stack: AsyncExitStack) -> AsyncConnection:
        """Returns a connection of the pool, which `stack` gives back.

        Raises DatabaseUnavailable for whatever prevents that.
        """
        try:
            return await stack.enter_async_context(engine.connect())
        except exc.TimeoutError as error:
            raise DatabaseUnavailable("every connection of the pool is in use") from error
        except (exc.DBAPIError, asyncpg.PostgresError, *_OUTAGE_ERRORS) as error:
            # Logged here, because the reason is for the operator of this service and must not reach the caller.
            log.warning("the database refused the connection", reason=str(error))
            raise DatabaseUnavailable("the database is not answering") from error


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


def _create_engine(settings: DatabaseSettings, connections: int, statement_timeout_seconds: float) -> AsyncEngine:
    return create_async_engine(
        database_url(settings),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=settings.db_connect_timeout_seconds,
        connect_args={"timeout": settings.db_connect_timeout_seconds, "command_timeout": statement_timeout_seconds},
        hide_parameters=True,  # a logged error has the statement, but no personal data from its parameters
    )


@contextmanager
def _outages_as_database_unavailable() -> Iterator[None]:
    """Raises DatabaseUnavailable instead of the driver's errors that mean an outage or a missing migration."""
    try:
        yield
    except exc.DBAPIError as error:
        if error.connection_invalidated or _is_outage(error.orig):
            raise DatabaseUnavailable("the database is not answering") from error
        if isinstance(driver_error(error.orig), _SCHEMA_TOO_OLD_ERRORS):
            raise DatabaseUnavailable("the database is not migrated to what this version needs") from error
        raise
    except _OUTAGE_ERRORS as error:
        raise DatabaseUnavailable("the database is not answering") from error


def _is_outage(error: BaseException | None) -> bool:
    cause = driver_error(error)
    # asyncpg reports a value that it cannot encode as an InterfaceError too: that is a bug of the service.
    return isinstance(cause, _OUTAGE_ERRORS) and not isinstance(cause, ValueError)


def driver_error(error: BaseException | None) -> BaseException | None:
    """Returns the error of asyncpg that SQLAlchemy's dialect has wrapped."""
    return error.__cause__ if error is not None else None


def _trace_statements(engine: Engine, database: str) -> None:
    """Opens a span for each statement within a recorded span. Statements of background loops have no trace."""
    for method in ("do_execute", "do_executemany"):
        event.listen(engine, method, _traced(method, database))


def _traced(method: str, database: str) -> Callable[[Any, str, Any, ExecutionContext], bool]:
    """Returns a listener that executes the statement in place of the dialect's `method`, within a span.

    The span has the statement but no value: not even the message of an error, which may quote one. Its attributes
    follow OpenTelemetry's conventions: https://opentelemetry.io/docs/specs/semconv/database/postgresql/.
    """

    def execute(cursor: Any, statement: str, parameters: Any, context: ExecutionContext) -> bool:
        """Returns whether the statement was executed, as SQLAlchemy expects; if not, the dialect executes it."""
        if not tracing.is_recorded():
            return False
        name = f"{statement.split(maxsplit=1)[0].upper()} {database}"
        attributes = {"db.system.name": "postgresql", "db.namespace": database, "db.query.text": statement}
        with tracing.tracer.start_span(
            name,
            kind=tracing.SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                getattr(context.dialect, method)(cursor, statement, parameters, context)
            except Exception:
                span.set_status(StatusCode.ERROR)
                raise
        return True

    return execute
