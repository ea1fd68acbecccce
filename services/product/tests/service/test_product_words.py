"""Misspelt words are taken for those of names. What no product has any more is not meant, and not kept."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from chassis.database.engine import Database
from chassis_testing.waiting import eventually
from product_harness import Shop
from product_service.app import SCHEMA
from product_service.service import search
from product_service.service.search import Finding


@pytest.fixture
async def finding(shop: Shop) -> AsyncIterator[Finding]:
    """One of a second process of the shop."""
    database = Database(shop.settings, SCHEMA)
    yield Finding(database)
    await database.close()


async def known(shop: Shop, *words: str) -> list[str]:
    """Which of these words may be meant by others."""
    query = "SELECT word FROM search_words WHERE word = ANY($1) ORDER BY word"
    return [word for (word,) in await shop.rows(query, words)]


async def test_words_of_names_that_are_gone_are_forgotten_and_the_others_meant_as_before(
    shop: Shop, finding: Finding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_WORDS_AT_ONCE", 3)
    names = ("Xenolith kept", "Xylograph renamed", "Xerophyte deleted")
    kept, renamed, deleted = [await shop.product(name=name) for name in names]
    await shop.revise(renamed, amount=1)
    await shop.http.delete(f"/api/v1/products/{deleted['id']}", headers=shop.seller)

    await finding.forget_words()

    assert await known(shop, "xenolith", "xylograph", "xerophyte") == ["xenolith"]
    assert await shop.names(q="xenolyth") == [kept["name"]]
    assert await shop.names(q="xylogreph") == []


async def test_a_word_that_somebody_is_about_to_say_again_is_not_forgotten(shop: Shop, finding: Finding) -> None:
    product = await shop.product(name="Zeugma")
    await shop.http.delete(f"/api/v1/products/{product['id']}", headers=shop.seller)
    another = (
        "INSERT INTO products (seller_id, category_id, name, description, price_amount, price_currency, images, created_at, updated_at)"
        " SELECT seller_id, category_id, name, '', 1, 'USD', '{}', now(), now() FROM products WHERE id = $1"
    )

    async with shop.connection() as connection:
        async with connection.transaction():
            await connection.execute(another, product["id"])
            forgetting = asyncio.create_task(finding.forget_words())
            await eventually(lambda: _somebody_waits(shop))
        await forgetting

    assert await known(shop, "zeugma") == ["zeugma"]


async def _somebody_waits(shop: Shop) -> bool:
    waiting = "SELECT FROM pg_locks WHERE relation = 'search_words'::regclass AND NOT granted"
    return await shop.rows(waiting) != []
