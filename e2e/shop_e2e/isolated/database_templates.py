"""Template databases: an isolated stack copies databases that are migrated already.

The templates belong to a stack that is never started, named after the content of its migrations, so that a changed
migration creates new ones. They stay on the test server for the next test run; outdated ones are dropped.
"""

from dataclasses import replace
from pathlib import Path

import asyncpg
from devtools.content_digest import content_digest
from devtools.services import SERVICES
from devtools.stack import Stack

_ROOT = Path(__file__).parents[3]
_PREFIX = "migrated-"
_LOCK = 0x74_65_6D_70
"""An arbitrary number for the advisory lock that serializes creating, copying and dropping templates."""


async def copy_databases(stack: Stack) -> None:
    """Gives a new stack the databases that `Stack.migrate` would. Raises StackError."""
    origin = Stack(replace(stack.plan, name=_PREFIX + _migrations_digest()), stack.servers)
    connection = await asyncpg.connect(stack.servers.postgres)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        there = await _templates(connection)
        if there != set(origin.databases()):
            await _drop(connection, there)
            await origin.remove()  # what an interrupted run began
            await origin.migrate()
            await _keep(connection, origin)
        for copy, template in zip(stack.databases(), origin.databases(), strict=True):
            await connection.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{template}"')
    finally:
        await connection.close()


async def _templates(connection: asyncpg.Connection) -> set[str]:
    query = "SELECT datname FROM pg_database WHERE datistemplate AND starts_with(datname, $1)"
    return {row["datname"] for row in await connection.fetch(query, _PREFIX)}


async def _keep(connection: asyncpg.Connection, origin: Stack) -> None:
    for name in origin.databases():
        await connection.execute(f'ALTER DATABASE "{name}" IS_TEMPLATE true')


async def _drop(connection: asyncpg.Connection, templates: set[str]) -> None:
    for name in templates:
        await connection.execute(f'ALTER DATABASE "{name}" IS_TEMPLATE false')
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _migrations_digest() -> str:
    """Returns a digest of everything that a migration may import, libraries included."""
    packages = [f"services/{service}/{service}_service" for service, kind in SERVICES.items() if kind.database]
    return content_digest(_ROOT, "constraints.txt", "services/chassis/chassis", *packages)
