"""The new schema takes over what is there, and serves the release before it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic import command
from chassis import migrating, testing
from product_harness import Shop, shop_with_neighbours

OLD_INSERT = (
    "INSERT INTO products (seller_id, category_id, name, description, price_amount, price_currency, images, created_at, updated_at)"
    " VALUES (7, $1, $2, $3, 100, 'USD', '{}', now(), now()) RETURNING id"
)


@pytest.fixture
async def taken_over(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """A shop that was there before the new schema."""
    async with testing.empty_database() as settings:
        upgrade = command.upgrade
        with monkeypatch.context() as patch:
            patch.setattr(command, "upgrade", lambda config, _head: upgrade(config, "0001"))
            await migrating.migrate("product_service", settings)
        connection = await asyncpg.connect(
            host=settings.db_host,
            port=settings.db_port,
            user=settings.db_user,
            password=settings.db_password,
            database=settings.db_name,
        )
        await connection.execute("INSERT INTO categories (name) VALUES ('Old')")
        await connection.fetchval(OLD_INSERT, 1, "Brûlée torch 100%", "The flames")
        await connection.close()
        await migrating.migrate("product_service", settings)
        async with shop_with_neighbours(settings) as shop:
            yield shop


async def test_what_was_there_is_found_by_its_words_and_by_misspelt_ones(taken_over: Shop) -> None:
    for q in ("brulee", "flame", "brulle", "%"):
        assert await taken_over.names(q=q) == ["Brûlée torch 100%"], q


async def test_what_the_release_before_writes_meanwhile_is_found_as_well(taken_over: Shop) -> None:
    await taken_over.rows(OLD_INSERT, 1, "Percolator", "")
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
