"""PostgreSQL databases for tests: each test has its own, which is dropped afterwards."""

import functools
import hashlib
import importlib.resources
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
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
    """Creates a database with a service's schema, and drops it afterwards.

    It is a copy of a template, since a copy takes a fraction of the time of the migrations.
    """
    async with _database(await _migrated_template(package)) as settings:
        yield settings


@asynccontextmanager
async def empty_database() -> AsyncIterator[DatabaseSettings]:
    """Creates a database without tables, and drops it afterwards."""
    async with _database("template1") as settings:
        yield settings


@asynccontextmanager
async def _database(template: str) -> AsyncIterator[DatabaseSettings]:
    name = f"test_{uuid4().hex}"
    admin = await asyncpg.connect(environment_variable("TEST_POSTGRES_DSN"))
    await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield _settings(name)
    finally:
        if name in _pools:
            await _pools.pop(name).close()
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await admin.close()


def _settings(name: str) -> DatabaseSettings:
    server = urlsplit(environment_variable("TEST_POSTGRES_DSN"))
    return DatabaseSettings(
        db_host=server.hostname or "",
        db_port=server.port or 5432,
        db_user=server.username or "",
        db_password=server.password or "",
        db_name=name,
        db_connect_timeout_seconds=30,  # a slow machine must not look like a full pool
    )


async def _migrated_template(package: str) -> str:
    """Returns the name of a database with a service's schema, which no test connects to.

    All test processes share it, and it stays on the server for the next test run. Changed migrations are another
    database. It gets its name when it is complete, so an interrupted run leaves none that is not.
    """
    name = f"{package}_{_migrations_digest(package)}"
    admin = await asyncpg.connect(environment_variable("TEST_POSTGRES_DSN"))
    try:
        await admin.execute("SELECT pg_advisory_lock(hashtext($1))", name)
        if not await admin.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name):
            began = f"{name}_begun"
            await admin.execute(f'DROP DATABASE IF EXISTS "{began}" WITH (FORCE)')
            await admin.execute(f'CREATE DATABASE "{began}"')
            await migrate(package, _settings(began))
            await admin.execute(f'ALTER DATABASE "{began}" RENAME TO "{name}"')
    finally:
        await admin.close()
    return name


@functools.cache
def _migrations_digest(package: str) -> str:
    """Returns a digest of what decides on a schema: the migrations, which import only from chassis.database."""
    digest = hashlib.sha256()
    for of in (f"{package}.migrations", "chassis.database"):
        for path in sorted(Path(str(importlib.resources.files(of))).rglob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


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
