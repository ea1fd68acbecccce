"""Prepared statements: written in SQLAlchemy Core, compiled once, and run by asyncpg.

A statement of a hot path is a constant of its repository, or is compiled once for each form that it has. SQLAlchemy has
no part in running it: asyncpg prepares the text once for each connection, and again after a migration
(docs/adr/0032). All other statements are executed by SQLAlchemy, in the same transactions.

`Statement` returns rows, `Command` none. One command writes any number of rows of a table: `insert_rows` and
`sent_rows` (docs/adr/0036).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import asyncpg
from opentelemetry.trace import StatusCode
from sqlalchemy import ARRAY, Column, TableValuedAlias, bindparam, exc, func, select
from sqlalchemy import column as result_column
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ReturnsRows, TextClause

from chassis.observability import tracing


class Record(Protocol):
    """A row as asyncpg returns it: the names of its columns, and their values; JSON is parsed."""

    def __getitem__(self, column: str, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class AutocommitConnection:
    """A connection without a transaction, as `Database.read` and `Database.autocommit` give it."""

    driver: asyncpg.Connection
    database: str


Connection = AsyncConnection | AutocommitConnection
"""What a prepared statement runs on: a transaction of `Database.begin`, or a connection without one."""

_T = TypeVar("_T")
_DIALECT: Dialect = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own


class _Prepared:
    """A statement that is compiled once.

    Its parameters are the `bindparam`s of the expression, whose types say how values are sent. A list is one parameter,
    of an ARRAY type.
    """

    def __init__(self, expression: ReturnsRows | TextClause) -> None:
        """Raises CompileError or TypeError for an expression that cannot be compiled without its values."""
        compiled = expression.compile(dialect=_DIALECT)
        if not isinstance(compiled, SQLCompiler) or compiled.positiontup is None or compiled.post_compile_params:
            raise TypeError("a prepared statement has one parameter for each value: use any_() with an ARRAY, not IN")
        self.text = compiled.string
        self._parameters = [_parameter(compiled, name) for name in compiled.positiontup]
        self._required = frozenset(parameter.name for parameter in self._parameters if parameter.is_required)

    async def _fetch(self, connection: Connection, values: Mapping[str, object]) -> Sequence[Record]:
        """Returns the rows.

        Raises TypeError unless `values` has every parameter and nothing else, and SQLAlchemy's IntegrityError for a
        violated constraint, as a statement does that SQLAlchemy executes.
        """
        if values.keys() != self._required:
            raise TypeError(f"the statement has the parameters {sorted(self._required)}, not {sorted(values)}")
        arguments = [parameter.argument(values) for parameter in self._parameters]
        driver = await _driver(connection)
        span = span_of(self.text, _database(connection)) if tracing.is_recorded() else nullcontext()
        try:
            with span:
                rows: Sequence[Record] = await driver.fetch(self.text, *arguments)
        except asyncpg.IntegrityConstraintViolationError as violation:
            raise _integrity_error(self.text, violation) from violation
        return rows


def as_read(row: Record) -> Record:
    """Returns a row as it is: the form of a Statement whose caller takes columns of it."""
    return row


class Statement(_Prepared, Generic[_T]):
    """A statement that is compiled once, and the form of its rows."""

    def __init__(self, expression: ReturnsRows | TextClause, to_row: Callable[[Record], _T]) -> None:
        """Raises CompileError or TypeError for an expression that cannot be compiled without its values."""
        super().__init__(expression)
        self._to_row = to_row

    async def all(self, connection: Connection, **values: object) -> list[_T]:
        """Returns the rows. Raises TypeError unless `values` has every parameter and nothing else; IntegrityError."""
        return [self._to_row(row) for row in await self._fetch(connection, values)]

    async def first(self, connection: Connection, **values: object) -> _T | None:
        """Returns the first row, or None. Raises what `all` does."""
        rows = await self._fetch(connection, values)
        return self._to_row(rows[0]) if rows else None

    async def one(self, connection: Connection, **values: object) -> _T:
        """Returns the row of a statement that always has one. Raises LookupError without one, and what `all` does."""
        rows = await self._fetch(connection, values)
        if not rows:
            raise LookupError(f"the statement returned no row: {self.text}")
        return self._to_row(rows[0])


class Command(_Prepared):
    """A statement without rows that is compiled once: an INSERT, UPDATE or DELETE."""

    async def execute(self, connection: Connection, **values: object) -> None:
        """Raises TypeError unless `values` has every parameter and nothing else; IntegrityError."""
        await self._fetch(connection, values)


def sent_rows(*columns: "Column[Any]") -> TableValuedAlias:
    """Returns the rows that a statement is sent, as a table with these columns.

    For each column the statement has a parameter of the column's key: the array of its values, one for each row.
    """
    arrays = [bindparam(column.key, type_=ARRAY(column.type)) for column in columns]
    names = [result_column(column.key, column.type) for column in columns]
    return func.unnest(*arrays).table_valued(*names).render_derived(name="sent")


def insert_rows(*columns: "Column[Any]") -> Insert:
    """Returns the INSERT of any number of rows into the table of these columns; its parameters are `sent_rows`'s."""
    return insert(columns[0].table).from_select(list(columns), select(*sent_rows(*columns).c))


@contextmanager
def span_of(statement: str, database: str) -> Iterator[None]:
    """Opens the span of a statement within the current one.

    The span has the statement but no value: not even the message of an error, which may quote one. Its attributes
    follow OpenTelemetry's conventions: https://opentelemetry.io/docs/specs/semconv/database/postgresql/.
    """
    with tracing.tracer.start_span(
        f"{statement.split(maxsplit=1)[0].upper()} {database}",
        kind=tracing.SpanKind.CLIENT,
        attributes={"db.system.name": "postgresql", "db.namespace": database, "db.query.text": statement},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception:
            span.set_status(StatusCode.ERROR)
            raise


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A parameter of a statement: given by the caller, or a constant of the expression."""

    name: str
    is_required: bool
    constant: object
    convert: Callable[[Any], object] | None
    """What the type does to a value before it is sent: JSON becomes text."""

    def argument(self, values: Mapping[str, object]) -> object:
        value = values[self.name] if self.is_required else self.constant
        return value if self.convert is None else self.convert(value)


def _parameter(compiled: SQLCompiler, name: str) -> _Parameter:
    bound = compiled.binds[name]
    convert = bound.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)
    return _Parameter(name, bound.required, bound.value, convert)


async def commit(transaction: AsyncConnection) -> None:
    """Sends COMMIT, if a statement has begun the driver's transaction. SQLAlchemy's own commit sends nothing then.

    Raises IntegrityError for a violated constraint that is checked at the end. A COMMIT without an answer closes the
    connection (chassis.database.connections).
    """
    adapter = _adapter(transaction)
    begun = adapter._transaction  # noqa: SLF001
    if begun is not None:
        adapter._transaction = None  # noqa: SLF001 - also if COMMIT fails: the transaction has ended, or the connection
        try:
            await begun.commit()
        except asyncpg.IntegrityConstraintViolationError as violation:
            raise _integrity_error("COMMIT", violation) from violation


async def _driver(connection: Connection) -> asyncpg.Connection:
    """Returns the driver's connection, with its transaction begun if it has one.

    SQLAlchemy's adapter sends BEGIN before the first statement that it executes itself. It has no public method for
    that.
    """
    if isinstance(connection, AutocommitConnection):
        return connection.driver
    adapter = _adapter(connection)
    if adapter._transaction is None:  # noqa: SLF001
        await adapter._start_transaction()  # noqa: SLF001
    return adapter.driver_connection


def _adapter(connection: AsyncConnection) -> Any:
    """Returns SQLAlchemy's adapter of the driver's connection. It knows the driver's transaction, which is private."""
    return connection.sync_connection.connection.dbapi_connection  # type: ignore[union-attr]  # it is open


def _integrity_error(statement: str, violation: asyncpg.IntegrityConstraintViolationError) -> exc.IntegrityError:
    """Returns the error that SQLAlchemy raises for the violation of a constraint, so that callers handle one error."""
    adapted = AsyncAdapt_asyncpg_dbapi.IntegrityError(str(violation), violation)  # type: ignore[no-untyped-call]  # SQLAlchemy's own
    adapted.__cause__ = violation
    return exc.IntegrityError(statement, None, adapted, hide_parameters=True)


def _database(connection: Connection) -> str:
    return connection.database if isinstance(connection, AutocommitConnection) else connection.engine.url.database or ""
