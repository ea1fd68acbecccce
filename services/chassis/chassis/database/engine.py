"""One PostgreSQL per service, through SQLAlchemy Core on asyncpg. A use case opens one transaction with `begin()`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
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

log = logs.get_logger(__name__)

POOL_IN_USE = Gauge("db_client_connections_usage", "Connections of the pool that are in use")
POOL_SIZE = Gauge("db_client_connections_max", "Connections that the pool may hold")
ANSWERED = Gauge(
    "db_client_answered_timestamp_seconds", "When the database last finished a transaction of this process"
)

_READY_SECONDS = 3
_STATEMENT_SECONDS = 10
_REPORT_SECONDS = 300
_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,  # the server is stopping or starting
    asyncpg.exceptions.InsufficientResourcesError,  # too many connections, disk or memory full
    asyncpg.InterfaceError,
    OSError,
    asyncio.TimeoutError,
)
_BEHIND = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)
"""A process may start beside the migration that it needs: what it takes off the broker until then must wait, not fail."""


class Database:
    """The pool of one service's database. Connects on first use, so a start needs no database."""

    def __init__(self, settings: DatabaseSettings, schema: str) -> None:
        """`schema` is the Alembic revision that this code was written for."""
        self._schema = schema
        self._engine = _engine(settings, settings.db_pool_size, _STATEMENT_SECONDS)
        self._reports = _engine(settings, 1, _REPORT_SECONDS)
        _trace_statements(self._engine.sync_engine, settings.db_name)
        POOL_SIZE.set(settings.db_pool_size)
        POOL_IN_USE.set_function(lambda: float(self._engine.pool.checkedout()))  # type: ignore[attr-defined]  # the queue pool has it

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end of the block, rolled back by an exception. Raises DatabaseUnavailable."""
        async with self._begin(self._engine) as connection:
            yield connection

    @asynccontextmanager
    async def begin_report(self) -> AsyncIterator[AsyncConnection]:
        """As `begin`, for what reads much and nobody waits for: a statement may take minutes, and one at a time runs."""
        async with self._begin(self._reports) as connection:
            yield connection

    @asynccontextmanager
    async def _begin(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            connection = await self._connect(engine, stack)
            try:
                async with connection.begin():
                    yield connection
                ANSWERED.set_to_current_time()
            except exc.DBAPIError as error:
                if error.connection_invalidated or _is_away(error.orig):
                    raise DatabaseUnavailable("the database is not answering") from error
                if isinstance(_cause(error.orig), _BEHIND):
                    raise DatabaseUnavailable("the database is not migrated to what this version needs") from error
                raise
            except _AWAY as error:
                raise DatabaseUnavailable("the database is not answering") from error

    async def _connect(self, engine: AsyncEngine, stack: AsyncExitStack) -> AsyncConnection:
        """Whatever keeps a connection from being made, the database is not there for us."""
        try:
            return await stack.enter_async_context(engine.connect())
        except exc.TimeoutError as error:
            raise DatabaseUnavailable("every connection of the pool is in use") from error
        except (exc.DBAPIError, asyncpg.PostgresError, *_AWAY) as error:
            log.warning("the database does not let us in", reason=str(error))  # why is ours to know, not the caller's
            raise DatabaseUnavailable("the database is not answering") from error

    async def is_ready(self) -> bool:
        """Whether the database answers, and has the schema that this code was written for or a later one.

        A release migrates before its pods replace the old ones, so each schema must also serve the code before it.
        """
        try:
            async with asyncio.timeout(_READY_SECONDS), self.begin() as connection:
                revisions = await connection.scalars(text("SELECT version_num FROM alembic_version"))
                return any(revision >= self._schema for revision in revisions)
        except (DatabaseUnavailable, exc.ProgrammingError, TimeoutError):
            return False

    async def close(self) -> None:
        await self._engine.dispose()
        await self._reports.dispose()


def database_url(settings: DatabaseSettings) -> URL:
    """Returns the database's address for SQLAlchemy on asyncpg."""
    return URL.create(
        "postgresql+asyncpg",
        username=settings.db_user,
        password=settings.db_password,
        host=settings.db_host,
        port=settings.db_port,
        database=settings.db_name,
    )


def _engine(settings: DatabaseSettings, connections: int, statement_seconds: float) -> AsyncEngine:
    return create_async_engine(
        database_url(settings),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=settings.db_connect_timeout_seconds,
        connect_args={"timeout": settings.db_connect_timeout_seconds, "command_timeout": statement_seconds},
        hide_parameters=True,  # an error that is logged tells the statement, not whose address was in it
    )


def _trace_statements(engine: Engine, database: str) -> None:
    """A span for each statement of a request or event that is recorded. What a loop asks of its own accord is nobody's trace."""
    for way in ("do_execute", "do_executemany"):
        event.listen(engine, way, _traced(way, database))


def _traced(way: str, database: str) -> Callable[[Any, str, Any, ExecutionContext], bool]:
    """Executes in the dialect's place, and says so. The span has the statement and never a value: an error's words may hold one, and
    stay out of it.

    By OpenTelemetry's conventions: https://opentelemetry.io/docs/specs/semconv/database/postgresql/.
    """

    def execute(cursor: Any, statement: str, parameters: Any, context: ExecutionContext) -> bool:
        if not tracing.is_recorded():
            return False
        name = f"{statement.split(maxsplit=1)[0].upper()} {database}"
        said = {"db.system.name": "postgresql", "db.namespace": database, "db.query.text": statement}
        with tracing.tracer.start_span(
            name, kind=tracing.SpanKind.CLIENT, attributes=said, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                getattr(context.dialect, way)(cursor, statement, parameters, context)
            except Exception:
                span.set_status(StatusCode.ERROR)
                raise
        return True

    return execute


def _is_away(error: BaseException | None) -> bool:
    cause = _cause(error)
    return isinstance(cause, _AWAY) and not isinstance(
        cause, ValueError
    )  # a value that cannot be sent is our fault, not the database's


def _cause(error: BaseException | None) -> BaseException | None:
    """The driver's error, which the dialect wraps: it says what happened."""
    return error.__cause__ if error is not None else None
