"""Migrating the databases of a developer's shop creates missing ones and never drops data."""

import uuid
from pathlib import Path

import asyncpg
from devtools.stack import Plan, Servers, Stack, free_ports


async def test_migrating_again_keeps_the_data(tmp_path: Path) -> None:
    plan = Plan(name=f"kept-{uuid.uuid4().hex[:8]}", logs=tmp_path, ports=free_ports(), redis_database=1)
    stack = Stack(plan, Servers.from_environment())
    try:
        await stack.migrate("review")
        connection = await asyncpg.connect(stack.database_of("review"))
        await connection.execute("INSERT INTO erased_users VALUES (1, now())")

        await stack.migrate("review")

        assert await connection.fetchval("SELECT count(*) FROM erased_users") == 1
        await connection.close()
    finally:
        await stack.remove()
