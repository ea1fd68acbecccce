"""Migrations by Alembic, which each service ships inside its package. One process at a time runs them."""

import asyncio
import importlib.resources
import time
from collections.abc import Callable

from alembic import command, context, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from chassis.database import tables
from chassis.database.engine import database_url
from chassis.observability import logs
from chassis.settings import DatabaseSettings

_LOCK = 0x65_63_6F_6D  # any number that is the same in all processes: each service has a database of its own

log = logs.get_logger(__name__)


async def migrate(package: str, settings: DatabaseSettings, timeout_seconds: float = 120.0) -> None:
    """Migrates the database to the newest schema that the package ships.

    Waits up to `timeout_seconds` for the database to accept connections. Idempotent, also when two processes run it at
    once.
    """
    engine = create_async_engine(database_url(settings), connect_args={"timeout": 3})
    try:
        await _wait_until_reachable(engine, deadline=time.monotonic() + timeout_seconds)
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, package)
        log.info("the schema is current", revision=_newest_revision(package))
    finally:
        await engine.dispose()


def run_environment() -> None:
    """Runs the migrations that Alembic has chosen. Each package's `migrations/env.py` calls it."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


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


def _upgrade(connection: Connection, package: str) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
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
