"""A release migrates while the previous code still runs: the new schema must support that code and its data."""

from typing import Any

import pytest
from alembic import command
from chassis.database import migrations
from chassis.database.engine import database_url
from chassis.settings import DatabaseSettings
from chassis_testing.databases import SqlConnection, connect_to, empty_database, migrated_database, owner_of
from order_harness import find_violations
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

PLACE = (
    "INSERT INTO orders (id, buyer_id, status, total_amount, currency, created_at, expires_at)"
    " VALUES (gen_random_uuid(), 1, 'pending', 200, 'USD', now(), now() + interval '1 hour') RETURNING id"
)
ITEM = "INSERT INTO order_items (order_id, product_id, name, quantity, unit_amount) VALUES ($1, 7, 'Cup', 2, 100)"
CANCEL = "UPDATE orders SET status = 'cancelled', cancel_reason = $2 WHERE id = $1"
HISTORY = "SELECT status, by FROM order_history WHERE order_id = $1 ORDER BY position"


async def insert_as_previous_code(sql: SqlConnection) -> Any:
    order_id = await sql.fetchval(PLACE)
    await sql.execute(ITEM, order_id)
    return order_id


async def migrate_to(settings: DatabaseSettings, revision: str) -> None:
    def upgrade(connection: Connection) -> None:
        config = migrations._config("order_service")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    engine = create_async_engine(database_url(settings))
    async with engine.begin() as connection:
        await connection.run_sync(upgrade)
    await engine.dispose()


async def test_orders_of_the_previous_code_get_their_history() -> None:
    async with empty_database() as settings:
        await migrate_to(settings, "0002")
        async with connect_to(settings) as sql:
            pending, cancelled = await insert_as_previous_code(sql), await insert_as_previous_code(sql)
            await sql.execute(CANCEL, cancelled, "buyer")

        await migrations.migrate("order_service", settings)

        async with connect_to(settings) as sql:
            assert [tuple(row) for row in await sql.fetch(HISTORY, pending)] == [("pending", "buyer")]
            assert [tuple(row) for row in await sql.fetch(HISTORY, cancelled)] == [
                ("pending", "buyer"),
                ("cancelled", "buyer"),
            ]
        assert await find_violations(settings) == {}


@pytest.mark.parametrize(("reason", "by"), [("buyer", "buyer"), ("admin", "admin"), ("expired", "system")])
async def test_the_previous_code_works_on_the_new_schema(reason: str, by: str) -> None:
    async with migrated_database("order_service") as settings:
        async with connect_to(settings) as sql:
            async with sql.transaction():
                placed = await insert_as_previous_code(sql)
            await sql.execute(CANCEL, placed, reason)

            assert [tuple(row) for row in await sql.fetch(HISTORY, placed)] == [("pending", "buyer"), ("cancelled", by)]
        assert await find_violations(settings) == {}


async def test_migrating_again_changes_nothing() -> None:
    async with migrated_database("order_service") as settings:
        await migrations.migrate("order_service", owner_of(settings))

        assert await find_violations(settings) == {}
