"""The invariants find what is broken, and a release that brings the ledger finds stock as it was."""

import pytest
from alembic import command
from chassis.database import invariants, migrations
from chassis.database.engine import database_url
from chassis.types.ids import uuid7
from chassis_testing.databases import connect_to, empty_database, migrated_database
from inventory_harness import Warehouse, broken, warehouse_of
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import create_async_engine

A_SALE = "INSERT INTO movements (product_id, kind, delta, on_hand, order_id, at)"
FRAUDS = {
    "stock_is_never_oversold": "ALTER TABLE stock DROP CONSTRAINT stock_is_never_oversold; "
    "UPDATE stock SET on_hand = -1, reserved = 2 WHERE product_id = 1",
    "reserved_is_what_open_reservations_hold": "UPDATE stock SET reserved = reserved + 1 WHERE product_id = 1",
    "stock_is_the_sum_of_its_movements": "UPDATE stock SET on_hand = on_hand + 1 WHERE product_id = 1",
    "each_movement_follows_the_one_before": "UPDATE movements SET delta = delta + 1 WHERE product_id = 1",
    "committed_lines_are_sold_once": "DELETE FROM movements WHERE kind = 'sale'",
    "only_committed_orders_keep_units": "UPDATE reservations SET status = 'expired' WHERE status = 'committed'",
    "cancelled_orders_hold_nothing": "UPDATE reservations SET is_cancelled = true WHERE status = 'committed'",
    "lapsed_holds_are_given_back": "UPDATE reservations SET held_until = now() - interval '6 minutes'",
}


def test_each_invariant_is_tried() -> None:
    assert list(FRAUDS) == [invariant.name for invariant in invariants.load_invariants("inventory_service")]


@pytest.mark.parametrize("name", FRAUDS)
async def test_books_that_are_cooked_are_found_out(name: str) -> None:
    async with migrated_database("inventory_service") as settings, warehouse_of(settings) as warehouse:
        order = uuid7()
        await warehouse.set(1, 10)
        await warehouse.reserve(order, (1, 3))
        await warehouse.confirmed(order, (1, 3))
        await warehouse.reserve(uuid7(), (1, 2))
        assert await broken(warehouse.database) == {}

        async with connect_to(settings) as connection:
            await connection.execute("SET session_replication_role = replica")  # no trigger mends or refuses it
            await connection.execute(FRAUDS[name])

        assert name in await broken(warehouse.database)


async def test_stock_from_before_the_ledger_is_its_first_movement() -> None:
    def upgrade(connection: Connection, revision: str) -> None:
        config = migrations._config("inventory_service")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async with empty_database() as settings:
        engine = create_async_engine(database_url(settings))
        async with engine.begin() as connection:
            await connection.run_sync(upgrade, "0001")
            await connection.execute(text("INSERT INTO stock VALUES (1, 5, 3), (2, 0, 0)"))
            await connection.execute(
                text("INSERT INTO reservations VALUES (:held, 'pending', now()), (:gone, 'released', now())"),
                {"held": (held := uuid7()), "gone": (gone := uuid7())},
            )
            await connection.execute(text("INSERT INTO reservation_lines VALUES (:held, 1, 3)"), {"held": held})
        async with engine.begin() as connection:
            await connection.run_sync(upgrade, "head")
        await engine.dispose()

        async with warehouse_of(settings) as warehouse:
            assert await broken(warehouse.database) == {}
            assert await warehouse.moves(1) == [("set", 5, 5)]
            assert await warehouse.moves(2) == []
            await warehouse.stock.announce()
            assert await warehouse.counted(1) == {"AvailabilityChanged": 1}
            assert await warehouse.counted(2) == {}
            await warehouse.confirmed(held, (1, 3))
            await warehouse.placed(gone, (1, 1))
            assert await warehouse.figures(1) == (2, 0)


async def test_reserving_a_basket_takes_four_statements_whatever_is_in_it(warehouse: Warehouse) -> None:
    products = [next(warehouse.products) for _ in range(10)]
    for product in products:
        await warehouse.set(product, 10)
    statements: list[str] = []
    engine = warehouse.database._engine.sync_engine

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement.split()[0])

    event.listen(engine, "before_cursor_execute", note)
    try:
        await warehouse.reserve(uuid7(), *((product, 1) for product in products))
    finally:
        event.remove(engine, "before_cursor_execute", note)

    assert statements == ["INSERT", "SELECT", "UPDATE", "INSERT"]
