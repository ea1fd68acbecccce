"""A release migrates while the code before it still serves: the new schema must bear that code, and what it left."""

from typing import Any

import pytest
from alembic import command
from chassis.database import invariants, migrations
from chassis.database.engine import Database, database_url
from chassis.database.invariants import InvariantMonitor
from chassis.settings import DatabaseSettings
from chassis_testing.databases import SqlConnection, connect_to, empty_database, migrated_database
from order_service.app import SCHEMA
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

PLACE = (
    "INSERT INTO orders (id, buyer_id, status, total_amount, currency, created_at, expires_at)"
    " VALUES (gen_random_uuid(), 1, 'pending', 200, 'USD', now(), now() + interval '1 hour') RETURNING id"
)
ITEM = "INSERT INTO order_items (order_id, product_id, name, quantity, unit_amount) VALUES ($1, 7, 'Cup', 2, 100)"
CANCEL = "UPDATE orders SET status = 'cancelled', cancel_reason = $2 WHERE id = $1"
HISTORY = "SELECT status, by FROM order_history WHERE order_id = $1 ORDER BY position"


async def place_as_before(sql: SqlConnection) -> Any:
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


async def broken(settings: DatabaseSettings) -> list[str]:
    database = Database(settings, SCHEMA)
    books = InvariantMonitor(database, "order_service")
    found = [each.name for each in invariants.load_invariants("order_service") if await books.violations(each)]
    await database.close()
    return found


async def test_orders_of_the_code_before_keep_their_books() -> None:
    async with empty_database() as settings:
        await migrate_to(settings, "0002")
        async with connect_to(settings) as sql:
            pending, cancelled = await place_as_before(sql), await place_as_before(sql)
            await sql.execute(CANCEL, cancelled, "buyer")

        await migrations.migrate("order_service", settings)

        async with connect_to(settings) as sql:
            assert [tuple(row) for row in await sql.fetch(HISTORY, pending)] == [("pending", "buyer")]
            assert [tuple(row) for row in await sql.fetch(HISTORY, cancelled)] == [
                ("pending", "buyer"),
                ("cancelled", "buyer"),
            ]
        assert await broken(settings) == []


@pytest.mark.parametrize(("reason", "by"), [("buyer", "buyer"), ("admin", "admin"), ("expired", "system")])
async def test_the_code_before_goes_on_over_the_new_schema(reason: str, by: str) -> None:
    async with migrated_database("order_service") as settings:
        async with connect_to(settings) as sql:
            async with sql.transaction():
                placed = await place_as_before(sql)
            await sql.execute(CANCEL, placed, reason)

            assert [tuple(row) for row in await sql.fetch(HISTORY, placed)] == [("pending", "buyer"), ("cancelled", by)]
        assert await broken(settings) == []


async def test_migrating_twice_is_as_migrating_once() -> None:
    async with migrated_database("order_service") as settings:
        await migrations.migrate("order_service", settings)

        assert await broken(settings) == []
