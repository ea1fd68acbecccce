"""Each invariant finds its violations, and nothing in valid data."""

from collections.abc import AsyncIterator

import pytest
from chassis.database import invariants
from chassis.database.engine import Database
from chassis_testing.databases import migrated_database
from chassis_testing.waiting import eventually
from product_harness import Catalogue, catalogue_with_neighbours
from product_service.app import SCHEMA
from prometheus_client import REGISTRY

VIOLATIONS = {
    "categories_make_a_tree": [
        "INSERT INTO categories (name) VALUES ('a'), ('b')",
        "UPDATE categories SET parent_id ="
        " (SELECT id FROM categories AS other WHERE other.name <> categories.name LIMIT 1)",
    ],
    "variants_have_one_seller": [
        "UPDATE products SET group_id = (SELECT min(id) FROM products), options = jsonb_build_object('n', id::text)",
        "UPDATE products SET seller_id = 8 WHERE id = (SELECT max(id) FROM products)",
    ],
    "ratings_are_between_one_and_five": ["UPDATE products SET rating_stars = 11, rating_count = 2"],
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
    "erased_sellers_have_no_text": [
        "UPDATE products SET deleted_at = now()",
        "INSERT INTO erased_sellers VALUES (7, now() - interval '2 days')",
    ],
}


@pytest.fixture
async def small_catalogue() -> AsyncIterator[Catalogue]:
    """A service of its own with one category and two products."""
    async with migrated_database("product_service") as database, catalogue_with_neighbours(database) as catalogue:
        category = await catalogue.add_category("Only one")
        for _ in range(2):
            await catalogue.add_product(category_id=category)
        yield catalogue


async def count_violations(catalogue: Catalogue) -> dict[str, int]:
    """Returns the number of rows that violate each violated invariant."""
    database = Database(catalogue.settings, SCHEMA)
    monitor = invariants.InvariantMonitor(database, "product_service")
    try:
        found = {i.name: await monitor.violations(i) for i in invariants.load_invariants("product_service")}
        return {name: len(rows) for name, rows in found.items() if rows}
    finally:
        await database.close()


def test_every_invariant_has_statements_that_violate_it() -> None:
    assert [invariant.name for invariant in invariants.load_invariants("product_service")] == list(VIOLATIONS)


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_an_invariant_finds_its_violation(small_catalogue: Catalogue, name: str) -> None:
    assert await count_violations(small_catalogue) == {}

    for statement in VIOLATIONS[name]:
        await small_catalogue.execute(statement)

    assert list(await count_violations(small_catalogue)) == [name]


async def test_the_service_exports_invariant_violations(small_catalogue: Catalogue) -> None:
    async def is_exported() -> bool:
        labels = {"invariant": "ratings_are_between_one_and_five"}
        return REGISTRY.get_sample_value("business_invariant_violations", labels) is not None

    await eventually(is_exported)


async def test_invariants_hold_after_the_other_tests(catalogue: Catalogue) -> None:
    await catalogue.wait_until_consumed()

    assert await count_violations(catalogue) == {}
