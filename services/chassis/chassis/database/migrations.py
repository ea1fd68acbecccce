"""Migrations by Alembic, which each service ships inside its package. One process at a time runs them.

Each migration has a transaction of its own, and waits a few seconds for a lock at most: behind a lock that waits, every
request on the table waits too. A migration that did not get its lock is retried.

Each revision states `oldest_code`: the oldest schema whose code may run on it. The statement is stored in the database
with the migration, where an older release reads it after a rollback.
"""

import asyncio
import importlib.resources
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from alembic import command, context, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import Revision
from sqlalchemy import Connection, MetaData, Table, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chassis.database import tables
from chassis.database.engine import database_tls, database_url, driver_error
from chassis.database.roles import RuntimeRole, grant_runtime_role, replace_owner_password, retire_runtime_role
from chassis.errors import DataLost, SchemaAhead
from chassis.observability import logs
from chassis.settings import DatabaseSettings

_LOCK = 0x65_63_6F_6D  # any number that is the same in all processes: each service has a database of its own
_LOCK_TIMEOUT = "5s"
_POLL_SECONDS = 1.0

log = logs.get_logger(__name__)


async def migrate(
    package: str,
    settings: DatabaseSettings,
    timeout_seconds: float = 120.0,
    revision: str = "head",
    runtime_role: RuntimeRole | None = None,
    migrated_at: str = "",
    retired_role: str = "",
    former_password: str = "",
) -> None:
    """Upgrades the database to the newest schema that the package ships, or only to `revision`.

    After a rollback the database has the schema of a newer release: then there is nothing to do, if this release's code
    may run on it. In both cases `runtime_role` gets its privileges, and the role named `retired_role` loses its login.
    An owner that still has `former_password` gets that of the settings first (docs/adr/0064). With `migrated_at`, the
    time of an earlier migration, a database without a schema is left as it is (docs/adr/0047).
    Raises SchemaAhead, RuntimeRoleRefused, DataLost.

    A migration that fails is rolled back, except for its blocks `outside_transaction`, and its error is raised: then
    the Job fails, and the pods of the release before keep serving.

    Waits up to `timeout_seconds` for the database to accept connections, for another process that migrates it, and for
    locks on its tables. Idempotent, also when two processes run it at once.
    """
    connect_args = {"timeout": 3, "ssl": database_tls(settings), "server_settings": {"lock_timeout": _LOCK_TIMEOUT}}
    engine = create_async_engine(database_url(settings), connect_args=connect_args)
    deadline = time.monotonic() + timeout_seconds
    try:
        await _wait_until_reachable(engine, settings, former_password, deadline)
        async with _exclusive_connection(engine, deadline) as connection:
            if migrated_at:
                await _require_schema(connection, settings.db_name, migrated_at)
            ahead = await _newer_schema(connection, package)
            if ahead is None:
                await _upgrade_once_unlocked(connection, package, revision, deadline)
                await connection.run_sync(_record_newest, package, revision)
                await connection.commit()
            if runtime_role is not None:
                await grant_runtime_role(connection, settings, runtime_role)
            if retired_role:
                await retire_runtime_role(connection, retired_role)
        if ahead is None:
            log.info("the schema is current", revision=_newest_revision(package) if revision == "head" else revision)
        else:
            log.info("the schema is of a newer release, on which this one may run", revision=ahead)
    finally:
        await engine.dispose()


@contextmanager
def outside_transaction() -> Iterator[None]:
    """Commits what the migration has done so far, then each statement of the block by itself, without a lock timeout.

    The block must be repeatable: a process that dies there runs the whole migration again.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        yield
        op.execute("RESET lock_timeout")


def run_environment() -> None:
    """Runs the migrations that Alembic has chosen. Each package's `migrations/env.py` calls it."""
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        transactional_ddl=True,
        transaction_per_migration=True,
        on_version_apply=_record_step,
    )
    with context.begin_transaction():
        context.run_migrations()


def create_event_tables() -> None:
    """Creates the outbox, its published events and the inbox, in a service's first migration."""
    _create(tables.outbox, tables.outbox_published, tables.inbox)


def create_idempotency_keys() -> None:
    """Creates the table of idempotency keys, in a migration of a service that accepts them."""
    _create(tables.idempotency_keys)


def keep_published_events() -> None:
    """Adds the table of published events, in a migration of a service whose first migration is older than the table.

    The release before this one keeps working: it deletes the events that it publishes, so they cannot be resent.
    """
    op.execute("ALTER TABLE outbox ADD COLUMN IF NOT EXISTS resent_at timestamp with time zone")
    metadata = MetaData()
    tables.outbox_published(metadata)
    metadata.create_all(op.get_bind())


def index_inbox_by_age() -> None:
    """Adds the index through which the inbox is pruned, in a migration of a service whose inbox is older than it."""
    create_index_concurrently("inbox_by_age", "inbox", "received_at")


def count_changes(**columns: str) -> None:
    """Adds the table of change counts, and counts each statement that changes one of the tables `columns`.

    `columns` are those whose updates count, by table: a list for SQL, or an empty string for all. Inserted and deleted
    rows always count, whatever the search path of the session is.
    """
    _create(tables.change_counts)
    op.execute(_COUNT_CHANGE)
    for table, watched in columns.items():
        update = f"UPDATE OF {watched}" if watched else "UPDATE"
        op.execute(
            f"CREATE TRIGGER count_change AFTER INSERT OR {update} OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION count_change()"
        )


def create_index_concurrently(name: str, table: str, columns: str, where: str | None = None) -> None:
    """Creates an index without blocking writes to its table, outside of the migration's transaction.

    With `where`, it is an index of the rows for which this condition holds. It waits for every transaction that is
    older, so without a lock timeout. An index of this name is dropped first: it may be what a migration that was
    interrupted left, which PostgreSQL does not use.
    """
    condition = "" if where is None else f" WHERE {where}"
    with outside_transaction():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {table} ({columns}){condition}")


def _create(*table_factories: Callable[[MetaData], Table]) -> None:
    metadata = MetaData()
    for add_table in table_factories:
        add_table(metadata)
    metadata.create_all(op.get_bind(), checkfirst=False)


# Rows that each statement adds, instead of one number that it updates: transactions do not wait for each other.
_COUNT_CHANGE = """
CREATE FUNCTION count_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.change_counts VALUES (1);
    RETURN NULL;
END $$
"""


async def _wait_until_reachable(
    engine: AsyncEngine, settings: DatabaseSettings, former_password: str, deadline: float
) -> None:
    """Returns once the database accepts a connection of the owner with its password, which replaces a former one.

    Raises the last error after the deadline, by the monotonic clock.
    """
    while True:
        try:
            if former_password:
                await replace_owner_password(settings, former_password)
            async with engine.connect():
                return
        except Exception as error:
            if time.monotonic() > deadline:
                raise
            log.info("waiting for the database", host=engine.url.host, reason=str(error))
        await asyncio.sleep(_POLL_SECONDS)


@asynccontextmanager
async def _exclusive_connection(engine: AsyncEngine, deadline: float) -> AsyncIterator[AsyncConnection]:
    """Opens the only connection that migrates the database. Raises TimeoutError after the deadline.

    It polls for the lock. A statement that waits for it would be an open transaction, for which CREATE INDEX
    CONCURRENTLY of the process that migrates would wait: a deadlock.
    """
    async with engine.connect() as connection:
        while not await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
            await connection.rollback()
            if time.monotonic() > deadline:
                raise TimeoutError("another process has been migrating the database for too long")
            await asyncio.sleep(_POLL_SECONDS)
        await connection.commit()
        yield connection  # the end of the session releases the lock


async def _require_schema(connection: AsyncConnection, database: str, migrated_at: str) -> None:
    """Raises DataLost if the database has no schema."""
    if await _stored_revision(connection) is None:
        raise DataLost(
            f"{database} was migrated at {migrated_at} and has no schema now: its data is lost. It is left as it is, "
            "so that a backup can be restored into it"
        )


async def _stored_revision(connection: AsyncConnection) -> str | None:
    return await _scalar(connection, "alembic_version", "SELECT version_num FROM alembic_version")


async def _newer_schema(connection: AsyncConnection, package: str) -> str | None:
    """Returns the database's revision if it is of a newer release. Raises SchemaAhead if this code may not run on it.

    A revision that says nothing is unknown: it may be of any release.
    """
    stored = await _stored_revision(connection)
    if stored is None or stored in _revisions(package):
        return None
    query = "SELECT oldest_code FROM schema_compatibility WHERE revision = :revision"
    oldest_code = await _scalar(connection, "schema_compatibility", query, revision=stored)
    code = _newest_revision(package)
    if oldest_code is None or oldest_code > code:
        raise SchemaAhead(
            f"the database has schema {stored}, which code of schema {oldest_code or stored} or later may run on, and "
            f"this release has {code}: deploy a release that fits, or restore a backup from before the upgrade"
        )
    return stored


async def _scalar(connection: AsyncConnection, table: str, query: str, **parameters: str) -> str | None:
    """Returns the value of a query, None if its table does not exist. Leaves no transaction open."""
    exists = await connection.scalar(text("SELECT to_regclass(:table) IS NOT NULL"), {"table": table})
    value: str | None = await connection.scalar(text(query), parameters) if exists else None
    await connection.rollback()
    return value


def _record_step(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[str], run_args: Mapping[str, Any]
) -> None:
    """Stores what a migration states, in its own transaction. Alembic calls it after each one, by these names."""
    if step.is_upgrade and ctx.connection is not None:
        _record(ctx.connection, step.up_revision)


def _record_newest(connection: Connection, package: str, revision: str) -> None:
    """Stores what the current revision states: it may have been migrated by a release that did not store it."""
    _record(connection, ScriptDirectory.from_config(_config(package)).get_revision(revision))


def _record(connection: Connection, script: Revision | None) -> None:
    """Raises AttributeError if the migration does not state `oldest_code`."""
    if not isinstance(script, Script):
        return
    connection.execute(text(_COMPATIBILITY_TABLE))
    connection.execute(
        text(
            "INSERT INTO schema_compatibility VALUES (:revision, :oldest_code)"
            " ON CONFLICT (revision) DO UPDATE SET oldest_code = excluded.oldest_code"
        ),
        {"revision": script.revision, "oldest_code": script.module.oldest_code},
    )


_COMPATIBILITY_TABLE = (
    "CREATE TABLE IF NOT EXISTS schema_compatibility (revision text PRIMARY KEY, oldest_code text NOT NULL)"
)


async def _upgrade_once_unlocked(connection: AsyncConnection, package: str, revision: str, deadline: float) -> None:
    """Migrates, and tries again while a table is locked. Raises the last error after the deadline."""
    while True:
        try:
            await connection.run_sync(_upgrade, package, revision)
        except exc.DBAPIError as error:
            await connection.rollback()
            is_locked = isinstance(driver_error(error.orig), asyncpg.LockNotAvailableError)
            if not is_locked or time.monotonic() > deadline:
                raise
            log.info("waiting for a lock on a table", reason=str(error.orig))
            await asyncio.sleep(_POLL_SECONDS)
        else:
            await connection.commit()  # if nothing was migrated, the transaction that has found this out is still open
            return


def _upgrade(connection: Connection, package: str, revision: str) -> None:
    config = _config(package)
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _newest_revision(package: str) -> str:
    """Returns the newest revision that a package ships. Raises LookupError if it ships none."""
    revision = ScriptDirectory.from_config(_config(package)).get_current_head()
    if revision is None:
        raise LookupError(f"{package} ships no migration")
    return revision


def _revisions(package: str) -> frozenset[str]:
    script = ScriptDirectory.from_config(_config(package))
    return frozenset(one.revision for one in script.walk_revisions())


def _config(package: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(importlib.resources.files(package) / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
