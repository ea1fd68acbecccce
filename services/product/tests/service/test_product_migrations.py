"""The new schema takes over what is there, and serves the release before it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from alembic import command
from chassis.database import migrations
from chassis_testing.databases import connect_to, empty_database
from product_harness import Shop, shop_with_neighbours

OLD_INSERT = (
    "INSERT INTO products (seller_id, category_id, name, description, price_amount, price_currency, images, created_at, updated_at)"
    " VALUES ($1, 1, $2, $3, 100, 'USD', '{}', now(), now())"
)


@asynccontextmanager
async def shop_from(revision: str, *statements: tuple[Any, ...]) -> AsyncIterator[Shop]:
    """A shop that was there before the new schema, with what these statements wrote: each with its arguments."""
    async with empty_database() as settings:
        upgrade = command.upgrade
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(command, "upgrade", lambda config, _head: upgrade(config, revision))
            await migrations.migrate("product_service", settings)
        async with connect_to(settings) as connection:
            await connection.execute("INSERT INTO categories (name) VALUES ('Old')")
            for statement in statements:
                await connection.execute(*statement)
        await migrations.migrate("product_service", settings)
        async with shop_with_neighbours(settings) as shop:
            yield shop


@pytest.fixture
async def taken_over() -> AsyncIterator[Shop]:
    async with shop_from("0001", (OLD_INSERT, 7, "Brûlée torch 100%", "The flames")) as shop:
        yield shop


async def test_what_erased_sellers_left_before_has_no_words_any_more() -> None:
    async with shop_from(
        "0002",
        (OLD_INSERT, 41, "Anna's", "by Anna"),
        (OLD_INSERT, 7, "Cup", ""),
        ("UPDATE products SET deleted_at = now()",),
        ("INSERT INTO erased_sellers VALUES (41, now() - interval '1 year')",),
    ) as shop:
        said = await shop.rows("SELECT seller_id, name, description, search::text FROM products ORDER BY seller_id")

    assert said == [(7, "Cup", "", "'cup':1A,2B"), (41, "", "", "")]


async def test_what_was_there_is_found_by_its_words_and_by_misspelt_ones(taken_over: Shop) -> None:
    for q in ("brulee", "flame", "brulle", "%"):
        assert await taken_over.names(q=q) == ["Brûlée torch 100%"], q


async def test_what_the_release_before_writes_meanwhile_is_found_as_well(taken_over: Shop) -> None:
    await taken_over.execute(OLD_INSERT, 7, "Percolator", "")
    await taken_over.execute("UPDATE products SET name = 'Samovar', updated_at = now() WHERE name LIKE 'Br%'")

    assert await taken_over.names(q="percolater") == ["Percolator"]
    assert await taken_over.names(q="samowar") == ["Samovar"]
    assert await taken_over.names(q="brulee") == []


async def test_the_release_before_still_refuses_what_it_refused(taken_over: Shop) -> None:
    child = await taken_over.category("Child", parent=1)

    with pytest.raises(asyncpg.UniqueViolationError):
        await taken_over.execute("INSERT INTO categories (name) VALUES ('OLD')")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await taken_over.execute("DELETE FROM categories WHERE id = 1")
    await taken_over.execute("DELETE FROM categories WHERE id = $1", child)
