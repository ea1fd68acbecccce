"""The search vocabulary has the words of product names; words that no product has any more are pruned."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from chassis.database.engine import Database
from chassis_testing.waiting import eventually
from product_harness import Catalogue
from product_service.app import SCHEMA
from product_service.domain.search_terms import SearchLanguage
from product_service.service import search
from product_service.service.search import SearchService


@pytest.fixture
async def search_service(catalogue: Catalogue) -> AsyncIterator[SearchService]:
    """The search service of another process."""
    database = Database(catalogue.settings, SCHEMA)
    yield SearchService(database, SearchLanguage.ENGLISH)
    await database.close()


async def in_vocabulary(catalogue: Catalogue, *words: str) -> list[str]:
    """Returns those of these words that are in the vocabulary."""
    query = "SELECT word FROM search_words WHERE word = ANY($1) ORDER BY word"
    return [word for (word,) in await catalogue.rows(query, words)]


async def test_pruning_deletes_unused_words_and_keeps_used_ones(
    catalogue: Catalogue, search_service: SearchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_PRUNE_BATCH", 3)
    names = ("Xenolith kept", "Xylograph renamed", "Xerophyte deleted")
    kept, renamed, deleted = [await catalogue.add_product(name=name) for name in names]
    await catalogue.revise_product(renamed, amount=1)
    await catalogue.http.delete(f"/api/v1/products/{deleted['id']}", headers=catalogue.seller)

    await search_service.prune_vocabulary()

    assert await in_vocabulary(catalogue, "xenolith", "xylograph", "xerophyte") == ["xenolith"]
    assert await catalogue.list_names(q="xenolyth") == [kept["name"]]
    assert await catalogue.list_names(q="xylogreph") == []


async def test_pruning_keeps_a_word_that_a_concurrent_transaction_uses(
    catalogue: Catalogue, search_service: SearchService
) -> None:
    product = await catalogue.add_product(name="Zeugma")
    await catalogue.http.delete(f"/api/v1/products/{product['id']}", headers=catalogue.seller)
    insert = (
        "INSERT INTO products"
        " (seller_id, category_id, name, description, price_amount, price_currency, images, created_at, updated_at)"
        " SELECT seller_id, category_id, name, '', 1, 'USD', '{}', now(), now() FROM products WHERE id = $1"
    )

    async with catalogue.connection() as connection:
        async with connection.transaction():
            await connection.execute(insert, product["id"])
            pruning = asyncio.create_task(search_service.prune_vocabulary())
            await eventually(lambda: is_waiting_for_lock(catalogue))
        await pruning

    assert await in_vocabulary(catalogue, "zeugma") == ["zeugma"]


async def is_waiting_for_lock(catalogue: Catalogue) -> bool:
    query = "SELECT FROM pg_locks WHERE relation = 'search_words'::regclass AND NOT granted"
    return await catalogue.rows(query) != []
