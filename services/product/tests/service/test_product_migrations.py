"""The upgrade keeps existing data, and the previous release works on the new schema."""

# ruff: noqa: RUF001 - letters that resemble others are what is tested

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from alembic import op
from chassis.database import migrations
from chassis.settings import DatabaseSettings
from chassis_testing.databases import SqlConnection, connect_to, empty_database
from chassis_testing.waiting import eventually
from product_harness import Catalogue, catalogue_with_neighbours

OLD_INSERT = (
    "INSERT INTO products"
    " (seller_id, category_id, name, description, price_amount, price_currency, images, created_at, updated_at)"
    " VALUES ($1, 1, $2, $3, 100, 'USD', '{}', now(), now())"
)


@asynccontextmanager
async def upgraded_database(revision: str) -> AsyncIterator[DatabaseSettings]:
    """Creates a database with the schema of this revision."""
    async with empty_database() as settings:
        await migrations.migrate("product_service", settings, revision=revision)
        yield settings


@asynccontextmanager
async def upgraded_catalogue(revision: str, *statements: tuple[Any, ...]) -> AsyncIterator[Catalogue]:
    """Upgrades a database from this revision, where the statements were executed, each with its arguments."""
    async with upgraded_database(revision) as settings:
        async with connect_to(settings) as connection:
            await connection.execute("INSERT INTO categories (name) VALUES ('Old')")
            for statement in statements:
                await connection.execute(*statement)
        await migrations.migrate("product_service", settings)
        async with catalogue_with_neighbours(settings) as catalogue:
            yield catalogue


@pytest.fixture
async def upgraded() -> AsyncIterator[Catalogue]:
    async with upgraded_catalogue("0001", (OLD_INSERT, 7, "Brûlée torch 100%", "The flames")) as catalogue:
        yield catalogue


async def test_the_upgrade_redacts_products_of_sellers_erased_before() -> None:
    async with upgraded_catalogue(
        "0002",
        (OLD_INSERT, 41, "Anna's", "by Anna"),
        (OLD_INSERT, 7, "Cup", ""),
        ("UPDATE products SET deleted_at = now()",),
        ("INSERT INTO erased_sellers VALUES (41, now() - interval '1 year')",),
    ) as catalogue:
        rows = await catalogue.rows(
            "SELECT seller_id, name, description, search::text, terms::text FROM products ORDER BY seller_id"
        )

    assert rows == [(7, "Cup", "", "'cup':1A,2B", "'cup':1A,2B"), (41, "", "", "", "")]


async def test_products_from_before_the_upgrade_are_found_in_all_scripts() -> None:
    products = [(OLD_INSERT, 7, name, "") for name in ("Kılıç seti", "意式咖啡杯")]
    async with upgraded_catalogue("0004", *products) as catalogue:
        for q in ("kilic", "kilicc"):
            assert await catalogue.list_names(q=q) == ["Kılıç seti"], q
        assert await catalogue.list_names(q="咖啡") == ["意式咖啡杯"]


async def test_an_interrupted_upgrade_is_completed_by_the_next_one() -> None:
    def interrupt(statement: str) -> None:
        if statement.startswith("CREATE INDEX CONCURRENTLY products_in_order_of_names"):
            raise ConnectionError
        execute(statement)

    execute = op.execute
    async with upgraded_database("0004") as settings, connect_to(settings) as connection:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(op, "execute", interrupt)
            with pytest.raises(ConnectionError):
                await migrations.migrate("product_service", settings)
        assert await connection.fetchval("SELECT version_num FROM alembic_version") == "0004"
        assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relname = 'products_by_term'") == 1

        await asyncio.gather(*(migrations.migrate("product_service", settings) for _ in range(2)))

        assert await connection.fetchval("SELECT version_num FROM alembic_version") >= "0005"
        indexes = "SELECT indexrelid::regclass::text FROM pg_index WHERE indisvalid"
        assert {"products_by_term", "products_in_order_of_names"} <= {
            name for (name,) in await connection.fetch(indexes)
        }


async def test_an_upgrade_that_waits_for_a_lock_does_not_keep_the_shop_waiting() -> None:
    async with upgraded_database("0004") as settings, connect_to(settings) as report, connect_to(settings) as shop:
        async with report.transaction():
            await report.execute("SELECT FROM products")
            upgrade = asyncio.create_task(migrations.migrate("product_service", settings))
            await eventually(lambda: is_waiting_for_products(shop))
            await shop.execute("SELECT FROM products")  # behind a lock that waits, it would wait for the report too
            assert not upgrade.done()
        await upgrade

        assert await shop.fetchval("SELECT version_num FROM alembic_version") >= "0005"


async def is_waiting_for_products(connection: SqlConnection) -> bool:
    query = "SELECT FROM pg_locks WHERE relation = 'products'::regclass AND NOT granted"
    return bool(await connection.fetch(query))


async def test_products_from_before_the_upgrade_are_found_by_correct_and_misspelt_words(upgraded: Catalogue) -> None:
    for q in ("brulee", "flame", "brulle", "%"):
        assert await upgraded.list_names(q=q) == ["Brûlée torch 100%"], q


async def test_products_that_the_previous_release_writes_after_the_upgrade_are_found(upgraded: Catalogue) -> None:
    await upgraded.execute(OLD_INSERT, 7, "Percolator", "")
    await upgraded.execute("UPDATE products SET name = 'Samovar', updated_at = now() WHERE name LIKE 'Br%'")

    assert await upgraded.list_names(q="percolater") == ["Percolator"]
    assert await upgraded.list_names(q="samowar") == ["Samovar"]
    assert await upgraded.list_names(q="brulee") == []


async def test_constraints_still_hold_for_the_previous_release(upgraded: Catalogue) -> None:
    child = await upgraded.add_category("Child", parent=1)

    with pytest.raises(asyncpg.UniqueViolationError):
        await upgraded.execute("INSERT INTO categories (name) VALUES ('OLD')")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await upgraded.execute("DELETE FROM categories WHERE id = 1")
    await upgraded.execute("DELETE FROM categories WHERE id = $1", child)
