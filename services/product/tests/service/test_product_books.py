"""The invariants of this service's books find what breaks them, and nothing in books that are in order."""

from collections.abc import AsyncIterator

import pytest
from chassis.database import invariants
from chassis.database.engine import Database
from chassis_testing.databases import migrated_database
from chassis_testing.waiting import eventually
from product_harness import Shop, shop_with_neighbours
from product_service.app import SCHEMA
from prometheus_client import REGISTRY

BROKEN_BY = {
    "categories_make_a_tree": [
        "INSERT INTO categories (name) VALUES ('a'), ('b')",
        "UPDATE categories SET parent_id = (SELECT id FROM categories AS other WHERE other.name <> categories.name LIMIT 1)",
    ],
    "variants_have_one_seller": [
        "UPDATE products SET group_id = (SELECT min(id) FROM products), options = jsonb_build_object('n', id::text)",
        "UPDATE products SET seller_id = 8 WHERE id = (SELECT max(id) FROM products)",
    ],
    "ratings_can_be": ["UPDATE products SET rating_stars = 11, rating_count = 2"],
    "co_purchases_go_both_ways": [
        "UPDATE products SET orders_count = 5",
        "INSERT INTO co_purchases SELECT min(id), max(id), 1 FROM products",
    ],
    "co_purchases_were_orders": [
        "INSERT INTO co_purchases SELECT min(id), max(id), 1 FROM products",
        "INSERT INTO co_purchases SELECT max(id), min(id), 1 FROM products",
    ],
    "erased_sellers_sell_nothing": [
        "INSERT INTO erased_sellers VALUES (7, now() - interval '2 days')",
    ],
    "erased_sellers_say_nothing": [
        "UPDATE products SET deleted_at = now()",
        "INSERT INTO erased_sellers VALUES (7, now() - interval '2 days')",
    ],
}


@pytest.fixture
async def empty_shop() -> AsyncIterator[Shop]:
    async with migrated_database("product_service") as database, shop_with_neighbours(database) as shop:
        category = await shop.category("Only one")
        for _ in range(2):
            await shop.product(category_id=category)
        yield shop


async def broken(shop: Shop) -> dict[str, int]:
    """How many rows break each invariant that is broken."""
    database = Database(shop.settings, SCHEMA)
    books = invariants.InvariantMonitor(database, "product_service")
    try:
        found = {i.name: await books.violations(i) for i in invariants.load_invariants("product_service")}
        return {name: len(rows) for name, rows in found.items() if rows}
    finally:
        await database.close()


def test_each_invariant_is_broken_once_in_these_tests() -> None:
    assert [invariant.name for invariant in invariants.load_invariants("product_service")] == list(BROKEN_BY)


@pytest.mark.parametrize("name", BROKEN_BY)
async def test_an_invariant_finds_what_breaks_it(empty_shop: Shop, name: str) -> None:
    assert await broken(empty_shop) == {}

    for statement in BROKEN_BY[name]:
        await empty_shop.execute(statement)

    assert list(await broken(empty_shop)) == [name]


async def test_the_service_says_how_its_books_are(empty_shop: Shop) -> None:
    async def is_said() -> bool:
        names = {"invariant": "ratings_can_be"}
        return REGISTRY.get_sample_value("business_invariant_violations", names) is not None

    await eventually(is_said)


async def test_the_books_are_in_order_after_all_that_other_tests_did(shop: Shop) -> None:
    await shop.settled()

    assert await broken(shop) == {}
