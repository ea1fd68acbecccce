"""PostgreSQL databases for tests: each test has its own, which is dropped afterwards.

A service under test logs in as the runtime role, as in a shop; the test itself as the owner (`connect_to`).
"""

import functools
import hashlib
import importlib.resources
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from chassis.database.migrations import migrate
from chassis.database.roles import RuntimeRole
from chassis.settings import DatabaseSettings

from chassis_testing.environment import environment_variable

SqlConnection: TypeAlias = PoolConnectionProxy
"""A connection to a test's database."""

_pools: dict[str, asyncpg.Pool] = {}


@asynccontextmanager
async def migrated_database(package: str) -> AsyncIterator[DatabaseSettings]:
    """Creates a database with a service's schema, and drops it afterwards. The settings have the runtime role.

    It is a copy of a template, since a copy takes a fraction of the time of the migrations.
    """
    async with _database(await _migrated_template(package)) as settings:
        role = runtime_role(environment_variable("TEST_POSTGRES_DSN"))
        yield settings.model_copy(update={"db_user": role.name, "db_password": role.password})


@asynccontextmanager
async def empty_database() -> AsyncIterator[DatabaseSettings]:
    """Creates a database without tables, and drops it afterwards. The settings have its owner."""
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


def runtime_role(postgres: str) -> RuntimeRole:
    """Returns the role that services log in as on a test server, given the DSN of its superuser.

    All databases of the server share it, since roles belong to the server.
    """
    return RuntimeRole("test_runtime", urlsplit(postgres).password or "")


async def create_runtime_role(superuser: asyncpg.Connection, postgres: str) -> None:
    """Creates that role, unless another process has: two migrations that create one role at once would conflict."""
    role = runtime_role(postgres)
    with suppress(asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        await superuser.execute(f"CREATE ROLE {role.name} LOGIN PASSWORD '{role.password}'")


def owner_of(database: DatabaseSettings) -> DatabaseSettings:
    """Returns the settings of a test's database with the owner, who may migrate and analyze it."""
    return _settings(database.db_name)


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
            server = environment_variable("TEST_POSTGRES_DSN")
            await create_runtime_role(admin, server)
            await migrate(package, _settings(began), runtime_role=runtime_role(server))
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
    """Gives a connection to a test's database that does not go through the service, as the owner.

    Connections are pooled, because opening one takes longer than most of what a test does with it.
    """
    name = database.db_name
    if name not in _pools:
        owner = _settings(name)
        _pools[name] = asyncpg.create_pool(
            host=owner.db_host,
            port=owner.db_port,
            user=owner.db_user,
            password=owner.db_password,
            database=name,
            min_size=0,
            max_size=20,
        )
        await _pools[name]
    async with _pools[name].acquire() as connection:
        yield connection
