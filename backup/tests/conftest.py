"""The shop of the tests: three services' databases on the test server, with the PostgreSQL programs that fit it."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from chassis.settings import DatabaseSettings
from chassis_testing.databases import migrated_database, owner_of
from chassis_testing.environment import environment_variable
from obstore.store import LocalStore
from platform_backup.create import Shop
from platform_backup.destination import Destination
from platform_backup.encryption import BackupKey
from platform_backup.postgres_tools import PostgresTools

KEY = BackupKey(b"k" * 32)
_IN_CONTAINER = """#!/bin/sh
exec docker exec -i -e PGHOST -e PGPORT -e PGUSER -e PGPASSWORD -e PGDATABASE ecommerce-test-postgres \\
  sh -c 'PATH=$(echo /usr/lib/postgresql/*/bin):$PATH exec "$0" "$@"' {program} "$@"
"""


@pytest.fixture(scope="session")
async def tools(tmp_path_factory: pytest.TempPathFactory) -> PostgresTools:
    """The programs on PATH, if they are as new as the test server, else those of its container."""
    server = await asyncpg.connect(environment_variable("TEST_POSTGRES_DSN"))
    needed = server.get_server_version().major
    await server.close()
    if shutil.which("pg_dump") and await PostgresTools().major_version() >= needed:
        return PostgresTools()
    folder = tmp_path_factory.mktemp("postgres")
    for program in ("pg_dump", "pg_restore", "psql"):
        wrapper = folder / program
        wrapper.write_text(_IN_CONTAINER.format(program=program))
        wrapper.chmod(0o755)
    return PostgresTools(str(folder))


@pytest.fixture
async def runtime() -> AsyncIterator[dict[str, DatabaseSettings]]:
    """The logins of three services: notification publishes no events, product has objects of many kinds."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(migrated_database(f"{name}_service"))
            for name in ("notification", "order", "product")
        }


@pytest.fixture
def shop(tools: PostgresTools, runtime: dict[str, DatabaseSettings], tmp_path: Path) -> Shop:
    """A shop whose backups are in a folder."""
    folder = tmp_path / "backups"
    folder.mkdir()
    databases = {name: owner_of(settings) for name, settings in runtime.items()}
    return Shop("default/shop", databases, KEY, Destination(LocalStore(folder), "the folder"), tools)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder with the backups of the shop."""
    return tmp_path / "backups/default/shop"
