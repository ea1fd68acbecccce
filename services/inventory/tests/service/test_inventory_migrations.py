"""Existing stock survives each migration, and the release before the newest schema works on it beside this one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from alembic import command
from chassis.database import migrations
from chassis.database.engine import database_url
from chassis.settings import DatabaseSettings
from chassis.types.ids import uuid7
from chassis_testing.databases import empty_database
from inventory_harness import UseCases, open_use_cases, violations
from inventory_service.domain.errors import OutOfStock
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

_Insert = Callable[[AsyncConnection], Awaitable[None]]


def _upgrade(connection: Connection, revision: str) -> None:
    config = migrations._config("inventory_service")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@asynccontextmanager
async def upgraded_from(
    revision: str, insert: Callable[[AsyncConnection], Awaitable[None]]
) -> AsyncIterator[DatabaseSettings]:
    """A database on the newest schema whose rows were inserted on an older one."""
    async with empty_database() as settings:
        engine = create_async_engine(database_url(settings))
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, revision)
            await insert(connection)
        await engine.dispose()
        await migrations.migrate("inventory_service", settings)
        yield settings


async def test_stock_from_before_the_ledger_is_the_first_movement() -> None:
    pending, released = uuid7(), uuid7()

    async def insert(connection: AsyncConnection) -> None:
        await connection.execute(text("INSERT INTO stock VALUES (1, 5, 3), (2, 0, 0)"))
        await connection.execute(
            text("INSERT INTO reservations VALUES (:pending, 'pending', now()), (:released, 'released', now())"),
            {"pending": pending, "released": released},
        )
        await connection.execute(text("INSERT INTO reservation_lines VALUES (:pending, 1, 3)"), {"pending": pending})

    async with upgraded_from("0001", insert) as settings, open_use_cases(settings) as use_cases:
        assert await violations(use_cases.database) == {}
        assert await use_cases.movements(1) == [("set", 5, 5)]
        assert await use_cases.movements(2) == []
        await use_cases.stock.publish_missing_availability()
        assert await use_cases.event_counts(1) == {"AvailabilityChanged": 1}
        assert await use_cases.event_counts(2) == {}
        await use_cases.receive_confirmed(pending, (1, 3))
        await use_cases.receive_placed(released, (1, 1))
        assert await use_cases.units(1) == (5, 0, 3)


async def test_what_was_paid_before_the_migration_stays_sold() -> None:
    shipped, cancelled, unpaid = uuid7(), uuid7(), uuid7()

    async def insert(connection: AsyncConnection) -> None:
        await _insert_stock(connection, 1, 10)
        await _reserve(connection, unpaid, 1, 1)
        for order in (shipped, cancelled):
            await _reserve(connection, order, 1, 3)
            await _sell_reserved(connection, order)

    async with upgraded_from("0002", insert) as settings, open_use_cases(settings) as use_cases:
        assert await violations(use_cases.database) == {}
        assert await use_cases.units(1) == (4, 1, 0)

        await use_cases.receive_shipped(shipped)
        await use_cases.receive_cancelled(cancelled)
        await use_cases.receive_confirmed(unpaid, (1, 1))

        assert await use_cases.units(1) == (7, 0, 1)
        assert await violations(use_cases.database) == {}
        moved = [("set", 10, 10), ("sale", -3, 7), ("sale", -3, 4), ("return", 3, 7)]
        assert await use_cases.movements(1) == moved


async def test_the_previous_release_cancels_an_order_whose_units_are_committed(use_cases: UseCases) -> None:
    first, second, order = use_cases.new_product(), use_cases.new_product(), uuid7()
    for product in (first, second):
        await use_cases.set_stock(product, 10)
    await use_cases.reserve(order, (first, 3), (second, 1))
    await use_cases.receive_confirmed(order, (first, 3), (second, 1))

    async with use_cases.database.begin() as transaction:
        await _return_sold(transaction, order)

    assert await use_cases.status(order) == "released"
    assert [await use_cases.units(product) for product in (first, second)] == [(10, 0, 0)] * 2
    await use_cases.receive_shipped(order)
    assert [await use_cases.units(product) for product in (first, second)] == [(10, 0, 0)] * 2


async def test_orders_that_the_previous_release_sells_and_this_one_ends(use_cases: UseCases) -> None:
    product, shipped, cancelled = use_cases.new_product(), uuid7(), uuid7()
    await use_cases.set_stock(product, 10)
    for order in (shipped, cancelled):
        await use_cases.reserve(order, (product, 3))
        async with use_cases.database.begin() as transaction:
            await _sell_reserved(transaction, order)

    await use_cases.receive_confirmed(shipped, (product, 3))
    await use_cases.receive_shipped(shipped)
    await use_cases.receive_cancelled(cancelled)

    assert await use_cases.units(product) == (7, 0, 0)


async def test_the_previous_release_sees_no_committed_unit_as_available(use_cases: UseCases) -> None:
    product, order = use_cases.new_product(), uuid7()
    await use_cases.set_stock(product, 10)
    await use_cases.receive_confirmed(order, (product, 8))

    async with use_cases.database.begin() as transaction:
        query = text("SELECT on_hand - reserved FROM stock WHERE product_id = :product")
        assert await transaction.scalar(query, {"product": product}) == 2
        await _reserve(transaction, uuid7(), product, 2)

    with pytest.raises(OutOfStock):
        await use_cases.reserve(uuid7(), (product, 1))
    assert await use_cases.units(product) == (10, 2, 8)


# The statements of the release before 0003, in its order.


async def _insert_stock(connection: AsyncConnection, product: int, on_hand: int) -> None:
    of = {"product": product, "on_hand": on_hand}
    await connection.execute(text("INSERT INTO stock (product_id, on_hand) VALUES (:product, :on_hand)"), of)
    await _append(connection, product, "set", on_hand, None)


async def _reserve(connection: AsyncConnection, order: UUID, product: int, quantity: int) -> None:
    of = {"order": order, "product": product, "quantity": quantity}
    pending = (
        "INSERT INTO reservations (order_id, status, held_until) VALUES (:order, 'pending', now() + interval '1 hour')"
    )
    await connection.execute(text(pending), of)
    await connection.execute(text("UPDATE stock SET reserved = reserved + :quantity WHERE product_id = :product"), of)
    await connection.execute(text("INSERT INTO reservation_lines VALUES (:order, :product, :quantity)"), of)


async def _sell_reserved(connection: AsyncConnection, order: UUID) -> None:
    """Takes the units of a paid order from on hand."""
    for product, quantity in await _lines(connection, order):
        sold = "UPDATE stock SET on_hand = on_hand - :sold, reserved = reserved - :sold WHERE product_id = :product"
        await connection.execute(text(sold), {"product": product, "sold": quantity})
        await _append(connection, product, "sale", -quantity, order)
    await connection.execute(
        text("UPDATE reservations SET status = 'committed' WHERE order_id = :order"), {"order": order}
    )


async def _return_sold(connection: AsyncConnection, order: UUID) -> None:
    """Adds the units of a paid order that was cancelled to on hand."""
    for product, quantity in await _lines(connection, order):
        returned = "UPDATE stock SET on_hand = on_hand + :quantity WHERE product_id = :product"
        await connection.execute(text(returned), {"product": product, "quantity": quantity})
        await _append(connection, product, "return", quantity, order)
    cancelled = "UPDATE reservations SET status = 'released', is_cancelled = true WHERE order_id = :order"
    await connection.execute(text(cancelled), {"order": order})


async def _lines(connection: AsyncConnection, order: UUID) -> list[tuple[int, int]]:
    query = "SELECT product_id, quantity FROM reservation_lines WHERE order_id = :order ORDER BY product_id"
    return [(row.product_id, row.quantity) for row in await connection.execute(text(query), {"order": order})]


async def _append(connection: AsyncConnection, product: int, kind: str, delta: int, order: UUID | None) -> None:
    await connection.execute(
        text(
            "INSERT INTO movements (product_id, kind, delta, on_hand, order_id, at)"
            " SELECT product_id, :kind, :delta, on_hand, :order, now() FROM stock WHERE product_id = :product"
        ),
        {"product": product, "kind": kind, "delta": delta, "order": order},
    )
