"""The invariants find what is broken, and a release that brings distributions finds ratings as they were."""

from collections.abc import AsyncIterator

import pytest
from alembic import command
from chassis.database import invariants, migrations
from chassis.database.engine import Database, database_url
from chassis.settings import DatabaseSettings
from chassis_testing.databases import connect_to, empty_database, migrated_database
from review_harness import Shop, a_product, broken, running_shop
from review_service.app import SCHEMA
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

FRAUDS = {
    "ratings_are_what_shown_reviews_add_up_to": [
        "UPDATE ratings SET sum = sum - 1",
        "UPDATE ratings SET stars_5 = 0, stars_4 = 1",
        "UPDATE reviews SET status = 'rejected'",
        "DELETE FROM ratings",
        "DELETE FROM reviews",
    ],
    "helpful_counts_are_votes": ["UPDATE reviews SET helpful_count = 2", "DELETE FROM helpful_votes"],
    "nobody_votes_for_themselves": ["UPDATE helpful_votes SET user_id = 10"],
    "shown_reviews_have_no_reason_to_be_hidden": ["UPDATE reviews SET moderation_reason = 'insults'"],
    "removed_reviews_say_nothing": [
        "UPDATE reviews SET removed_at = updated_at, title = NULL, text = NULL",
        "UPDATE reviews SET removed_at = updated_at, status = 'rejected'",
    ],
    "erased_accounts_say_nothing": [
        "INSERT INTO erased_users VALUES (10, now())",
        "INSERT INTO erased_users VALUES (11, now())",
    ],
}


def test_each_invariant_is_tried() -> None:
    assert list(FRAUDS) == [invariant.name for invariant in invariants.load_invariants("review_service")]


@pytest.fixture(scope="module")
async def cooked() -> AsyncIterator[Shop]:
    """A service of its own, whose books tests may break: each puts them back."""
    async with migrated_database("review_service") as database, running_shop(database) as shop:
        review = await shop.review(a_product(), author=10, text="mine")
        await shop.vote(review["id"], 11)
        yield shop


@pytest.mark.parametrize(("name", "fraud"), [(name, fraud) for name, frauds in FRAUDS.items() for fraud in frauds])
async def test_books_that_are_cooked_are_found_out(cooked: Shop, name: str, fraud: str) -> None:
    assert await broken(cooked.books) == {}
    [query] = [invariant.query for invariant in invariants.load_invariants("review_service") if invariant.name == name]
    async with cooked.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(fraud)

        found = await connection.fetch(query)

        await transaction.rollback()
    assert len(found) == 1


async def upgraded(settings: DatabaseSettings, *inserts: str) -> None:
    """A database of the release before, with these rows, brought to this one."""

    def upgrade(connection: Connection, revision: str) -> None:
        config = migrations._config("review_service")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    engine = create_async_engine(database_url(settings))
    async with engine.begin() as connection:
        await connection.run_sync(upgrade, "0001")
        for statement in inserts:
            await connection.execute(text(statement))
    async with engine.begin() as connection:
        await connection.run_sync(upgrade, "head")
    await engine.dispose()


async def test_ratings_from_before_are_spread_out_and_told_of() -> None:
    async with empty_database() as settings:
        await upgraded(
            settings,
            "INSERT INTO reviews (product_id, author_id, rating, created_at, updated_at) "
            "VALUES (1, 10, 5, now(), now()), (1, 11, 2, now(), now()), (2, 10, 3, now(), now())",
            "INSERT INTO ratings VALUES (1, 2, 7), (2, 1, 3), (3, 0, 0)",
        )
        async with running_shop(settings) as shop:
            assert await broken(shop.books) == {}
            assert await shop.distribution(1) == [0, 1, 0, 0, 1]
            [told] = await shop.told_until(1, revision=1)
            assert (told.count, told.stars) == (2, 7)
            assert [(news.count, news.stars) for news in await shop.told_until(2, revision=1)] == [(1, 3)]


async def test_what_the_release_before_writes_is_mended() -> None:
    """It runs on until its last pod is replaced, and knows neither distributions nor revisions."""
    async with migrated_database("review_service") as settings:
        async with connect_to(settings) as connection:
            await connection.execute(
                "INSERT INTO reviews (product_id, author_id, rating, created_at, updated_at) VALUES (1, 10, 4, now(), now())"
            )
            await connection.execute("INSERT INTO ratings (product_id, count, sum) VALUES (1, 1, 4)")
        assert list(await broken_of(settings)) == ["ratings_are_what_shown_reviews_add_up_to"]

        async with running_shop(settings) as shop:
            [told] = await shop.told_until(1, revision=1)

            assert (told.count, told.stars) == (1, 4)
            assert await shop.distribution(1) == [0, 0, 0, 1, 0]
            assert await broken(shop.books) == {}


async def broken_of(settings: DatabaseSettings) -> dict[str, list[dict[str, object]]]:
    database = Database(settings, SCHEMA)
    found = await broken(database)
    await database.close()
    return found
