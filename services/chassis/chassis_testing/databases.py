"""PostgreSQL databases for tests: one of its own for each, dropped afterwards."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from chassis.database.migrations import migrate
from chassis.settings import DatabaseSettings

from chassis_testing.environment import environment_variable

SqlConnection: TypeAlias = PoolConnectionProxy
"""To a database."""


@asynccontextmanager
async def migrated_database(package: str) -> AsyncIterator[DatabaseSettings]:
    """A database of its own with a service's schema; dropped afterwards."""
    async with empty_database() as settings:
        await migrate(package, settings)
        yield settings


@asynccontextmanager
async def empty_database() -> AsyncIterator[DatabaseSettings]:
    """A database of its own without any table; dropped afterwards."""
    server = urlsplit(environment_variable("TEST_POSTGRES_DSN"))
    name = f"test_{uuid4().hex}"
    admin = await asyncpg.connect(environment_variable("TEST_POSTGRES_DSN"))
    await admin.execute(f'CREATE DATABASE "{name}"')
    try:
        yield DatabaseSettings(
            db_host=server.hostname or "",
            db_port=server.port or 5432,
            db_user=server.username or "",
            db_password=server.password or "",
            db_name=name,
            db_connect_timeout_seconds=30,  # a busy machine is not a full pool
        )
    finally:
        if name in _pools:
            await _pools.pop(name).close()
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await admin.close()


_pools: dict[str, asyncpg.Pool] = {}


@asynccontextmanager
async def connect_to(database: DatabaseSettings) -> AsyncIterator[SqlConnection]:
    """A test's own connection to such a database, past the service. It goes back to a pool, since opening one costs more than most
    of what is asked of it.
    """
    name = database.db_name
    if name not in _pools:
        _pools[name] = asyncpg.create_pool(
            host=database.db_host,
            port=database.db_port,
            user=database.db_user,
            password=database.db_password,
            database=name,
            min_size=0,
            max_size=20,
        )
        await _pools[name]
    async with _pools[name].acquire() as connection:
        yield connection
