"""Migrations: Alembic, shipped inside each service's package, run by one process at a time."""

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

_LOCK = 0x65_63_6F_6D  # any number all services agree on: each has a database of its own
log = logs.get_logger(__name__)


async def migrate(package: str, settings: DatabaseSettings, patience: float = 120.0) -> None:
    """Brings the database to the newest schema. Waits `patience` seconds for the database; idempotent; safe to run twice at once."""
    engine = create_async_engine(database_url(settings), connect_args={"timeout": 3})
    try:
        await _answers(engine, time.monotonic() + patience)
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, package)
        log.info("the schema is current", revision=newest_revision(package))
    finally:
        await engine.dispose()


async def _answers(engine: AsyncEngine, deadline: float) -> None:
    while True:
        try:
            async with engine.connect():
                return
        except Exception as error:
            if time.monotonic() > deadline:
                raise
            log.info("waiting for the database", host=engine.url.host, reason=str(error))
        await asyncio.sleep(1)


def newest_revision(package: str) -> str:
    """The newest revision that a package ships."""
    revision = ScriptDirectory.from_config(_config(package)).get_current_head()
    if revision is None:
        raise LookupError(f"{package} ships no migration")
    return revision


def run_environment() -> None:
    """What every package's `migrations/env.py` does."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


def create_event_tables() -> None:
    """The outbox and the inbox, for a service's first migration."""
    _create(tables.outbox, tables.inbox)


def create_idempotency_keys() -> None:
    """The keys, for the migration of a service that honours them."""
    _create(tables.idempotency_keys)


def _create(*additions: Callable[[MetaData], Table]) -> None:
    metadata = MetaData()
    for add in additions:
        add(metadata)
    metadata.create_all(op.get_bind(), checkfirst=False)


def _upgrade(connection: Connection, package: str) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = _config(package)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config(package: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(importlib.resources.files(package) / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
