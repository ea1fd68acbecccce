"""The invariants find violations, and the release that adds distributions repairs existing ratings."""

from collections.abc import AsyncIterator

import pytest
from alembic import command
from chassis.database import invariants, migrations
from chassis.database.engine import Database, database_url
from chassis.settings import DatabaseSettings
from chassis_testing.databases import connect_to, empty_database, migrated_database
from review_harness import RunningReviewService, new_product, run_review_service, violations
from review_service.app import SCHEMA
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

VIOLATIONS = {
    "ratings_are_what_shown_reviews_add_up_to": [
        "UPDATE ratings SET sum = sum - 1",
        "UPDATE ratings SET stars_5 = 0, stars_4 = 1",
        "UPDATE reviews SET status = 'rejected'",
        "DELETE FROM ratings",
        "DELETE FROM reviews",
    ],
    "helpful_counts_are_votes": ["UPDATE reviews SET helpful_count = 2", "DELETE FROM helpful_votes"],
    "no_author_votes_for_their_own_review": ["UPDATE helpful_votes SET user_id = 10"],
    "shown_reviews_have_no_reason_to_be_hidden": ["UPDATE reviews SET moderation_reason = 'insults'"],
    "removed_reviews_have_no_text": [
        "UPDATE reviews SET removed_at = updated_at, title = NULL, text = NULL",
        "UPDATE reviews SET removed_at = updated_at, status = 'rejected'",
    ],
    "erased_accounts_have_no_text": [
        "INSERT INTO erased_users VALUES (10, now())",
        "INSERT INTO erased_users VALUES (11, now())",
    ],
}


def test_each_invariant_has_a_violation_here() -> None:
    assert list(VIOLATIONS) == [invariant.name for invariant in invariants.load_invariants("review_service")]


@pytest.fixture(scope="module")
async def corruptible_service() -> AsyncIterator[RunningReviewService]:
    """A service of its own. Each test violates an invariant and rolls that back."""
    async with migrated_database("review_service") as database, run_review_service(database) as service:
        review = await service.review(new_product(), author=10, text="mine")
        await service.vote(review["id"], 11)
        yield service


@pytest.mark.parametrize(
    ("name", "statement"), [(name, statement) for name, statements in VIOLATIONS.items() for statement in statements]
)
async def test_a_violation_is_found(corruptible_service: RunningReviewService, name: str, statement: str) -> None:
    assert await violations(corruptible_service.database) == {}
    [query] = [invariant.query for invariant in invariants.load_invariants("review_service") if invariant.name == name]
    async with corruptible_service.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(statement)

        rows = await connection.fetch(query)

        await transaction.rollback()
    assert len(rows) == 1


async def upgrade_database(settings: DatabaseSettings, *inserts: str) -> None:
    """Creates the schema of the previous release, inserts rows, and upgrades it to the current schema."""

    def upgrade(connection: Connection, revision: str) -> None:
        config = migrations._config("review_service")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    engine = create_async_engine(database_url(settings))
    async with engine.begin() as connection:
        await connection.run_sync(upgrade, "0001")
        for statement in inserts:
            await connection.execute(text(statement))
    await engine.dispose()
    await migrations.migrate("review_service", settings)


async def test_existing_ratings_get_distributions_and_are_published() -> None:
    async with empty_database() as settings:
        await upgrade_database(
            settings,
            "INSERT INTO reviews (product_id, author_id, rating, created_at, updated_at) "
            "VALUES (1, 10, 5, now(), now()), (1, 11, 2, now(), now()), (2, 10, 3, now(), now())",
            "INSERT INTO ratings VALUES (1, 2, 7), (2, 1, 3), (3, 0, 0)",
        )
        async with run_review_service(settings) as service:
            assert await violations(service.database) == {}
            assert await service.distribution(1) == [0, 1, 0, 0, 1]
            [event] = await service.rating_events(1, revision=1)
            assert (event.count, event.stars) == (2, 7)
            assert [(event.count, event.stars) for event in await service.rating_events(2, revision=1)] == [(1, 3)]


async def test_ratings_written_by_the_previous_release_are_repaired() -> None:
    """That release runs until its last pod is replaced, and writes neither distributions nor revisions."""
    async with migrated_database("review_service") as settings:
        async with connect_to(settings) as connection:
            await connection.execute(
                "INSERT INTO reviews (product_id, author_id, rating, created_at, updated_at) "
                "VALUES (1, 10, 4, now(), now())"
            )
            await connection.execute("INSERT INTO ratings (product_id, count, sum) VALUES (1, 1, 4)")
        assert list(await violations_in(settings)) == ["ratings_are_what_shown_reviews_add_up_to"]

        async with run_review_service(settings) as service:
            [event] = await service.rating_events(1, revision=1)

            assert (event.count, event.stars) == (1, 4)
            assert await service.distribution(1) == [0, 0, 0, 1, 0]
            assert await violations(service.database) == {}


async def violations_in(settings: DatabaseSettings) -> dict[str, list[dict[str, object]]]:
    database = Database(settings, SCHEMA)
    rows_by_name = await violations(database)
    await database.close()
    return rows_by_name
