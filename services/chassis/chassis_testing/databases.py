"""PostgreSQL databases for tests: each test has its own, which is dropped afterwards."""

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
"""A connection to a test's database."""

_pools: dict[str, asyncpg.Pool] = {}


@asynccontextmanager
async def migrated_database(package: str) -> AsyncIterator[DatabaseSettings]:
    """Creates a database with a service's schema, and drops it afterwards."""
    async with empty_database() as settings:
        await migrate(package, settings)
        yield settings


@asynccontextmanager
async def empty_database() -> AsyncIterator[DatabaseSettings]:
    """Creates a database without tables, and drops it afterwards."""
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
            db_connect_timeout_seconds=30,  # a slow machine must not look like a full pool
        )
    finally:
        if name in _pools:
            await _pools.pop(name).close()
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await admin.close()


@asynccontextmanager
async def connect_to(database: DatabaseSettings) -> AsyncIterator[SqlConnection]:
    """Gives a connection to a test's database that does not go through the service.

    Connections are pooled, because opening one takes longer than most of what a test does with it.
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
