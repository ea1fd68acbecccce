"""Migrations by Alembic, which each service ships inside its package. One process at a time runs them.

Each migration is a transaction of its own, which waits for no lock longer than a few seconds: behind a statement that
waits for a table, all others wait too. What takes long on a large table runs outside of that transaction, in
`outside_transaction`, and must then be repeatable: a process that dies there runs the whole migration again.
"""

import asyncio
import importlib.resources
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
from alembic import command, context, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chassis.database import tables
from chassis.database.engine import database_url
from chassis.observability import logs
from chassis.settings import DatabaseSettings

_LOCK = 0x65_63_6F_6D  # any number that is the same in all processes: each service has a database of its own
_LOCK_TIMEOUT = "3s"

log = logs.get_logger(__name__)


async def migrate(package: str, settings: DatabaseSettings, timeout_seconds: float = 120.0) -> None:
    """Migrates the database to the newest schema that the package ships.

    Waits up to `timeout_seconds` for the database to accept connections, and for locks that its transactions hold.
    Idempotent, also when two processes run it at once.
    """
    engine = create_async_engine(database_url(settings), connect_args={"timeout": 3})
    try:
        deadline = time.monotonic() + timeout_seconds
        await _wait_until_reachable(engine, deadline)
        async with engine.connect() as connection:
            await _lock(connection)
            await _upgrade_before(deadline, connection, package)
        log.info("the schema is current", revision=_newest_revision(package))
    finally:
        await engine.dispose()


def run_environment() -> None:
    """Runs the migrations that Alembic has chosen. Each package's `migrations/env.py` calls it."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, transactional_ddl=True, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


@contextmanager
def outside_transaction() -> Iterator[None]:
    """Commits what the migration has done so far, and then each statement of the block by itself, without a timeout."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        yield
        op.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")


def create_index_concurrently(name: str, definition: str, *, unique: bool = False) -> None:
    """Creates an index while the table is read and written. Call it in `outside_transaction`.

    `definition` is what follows the name: `ON products (id)`. An index that an interrupted attempt left is replaced.
    """
    op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    op.execute(f"CREATE {'UNIQUE ' * unique}INDEX CONCURRENTLY {name} {definition}")


def create_event_tables() -> None:
    """Creates the outbox and the inbox, in a service's first migration."""
    _create(tables.outbox, tables.inbox)


def create_idempotency_keys() -> None:
    """Creates the table of idempotency keys, in a migration of a service that accepts them."""
    _create(tables.idempotency_keys)


def _create(*table_factories: Callable[[MetaData], Table]) -> None:
    metadata = MetaData()
    for add_table in table_factories:
        add_table(metadata)
    metadata.create_all(op.get_bind(), checkfirst=False)


async def _wait_until_reachable(engine: AsyncEngine, deadline: float) -> None:
    """Returns once the database accepts a connection.

    Raises the last error after the deadline, by the monotonic clock.
    """
    while True:
        try:
            async with engine.connect():
                return
        except Exception as error:
            if time.monotonic() > deadline:
                raise
            log.info("waiting for the database", host=engine.url.host, reason=str(error))
        await asyncio.sleep(1)


async def _lock(connection: AsyncConnection) -> None:
    """Waits until no other process migrates this database; the lock ends with the connection.

    It polls, because CREATE INDEX CONCURRENTLY waits for every statement that has begun before it: for one that waits
    for the lock, for ever.
    """
    while not await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
        await connection.commit()
        await asyncio.sleep(0.2)
    await connection.commit()


async def _upgrade_before(deadline: float, connection: AsyncConnection, package: str) -> None:
    """Migrates, and again while a transaction of the shop holds a lock for too long: raises that after the deadline.

    The deadline is by the monotonic clock.
    """
    while True:
        try:
            return await connection.run_sync(_upgrade, package)
        except DBAPIError as error:
            is_lock_timeout = error.orig is not None and isinstance(error.orig.__cause__, asyncpg.LockNotAvailableError)
            if not is_lock_timeout or time.monotonic() > deadline:
                raise
            log.info("waiting for a lock", reason=str(error.orig))
        await connection.rollback()
        await asyncio.sleep(1)


def _upgrade(connection: Connection, package: str) -> None:
    connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
    connection.commit()
    config = _config(package)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _newest_revision(package: str) -> str:
    """Returns the newest revision that a package ships. Raises LookupError if it ships none."""
    revision = ScriptDirectory.from_config(_config(package)).get_current_head()
    if revision is None:
        raise LookupError(f"{package} ships no migration")
    return revision


def _config(package: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(importlib.resources.files(package) / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
