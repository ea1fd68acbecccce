"""The command that publishes events again, and the migration that keeps published events."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from chassis.database import migrations
from chassis.messaging import inbox
from chassis.runtime.command import run
from chassis.settings import DatabaseSettings
from chassis_testing.databases import connect_to, empty_database, migrated_database
from chassis_testing.waiting import eventually
from order_service.app import SCHEMA

SINCE = (datetime.now(UTC) - timedelta(days=1)).isoformat()
PUBLISHED = (
    "INSERT INTO outbox_published SELECT n, gen_random_uuid(), 'order.placed.v1', '{}', now(), now()"
    " FROM generate_series(1, $1::int) n"
)


def resend(database: DatabaseSettings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    variables = {name.upper(): str(value) for name, value in database.model_dump().items()}
    return subprocess.run(
        [sys.executable, "-m", "order_service", "resend", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_resend_moves_published_events_into_the_outbox() -> None:
    async with migrated_database("order_service") as database, connect_to(database) as sql:
        await sql.execute(PUBLISHED, 2500)

        ended = resend(database, "--since", SINCE)

        assert (ended.returncode, ended.stdout) == (0, "order: 2500 events are in the outbox again\n")
        assert ended.stderr.splitlines() == ["1000 events", "2000 events", "2500 events"]
        assert await sql.fetchval("SELECT count(*) FROM outbox WHERE resent_at IS NOT NULL") == 2500
        assert await sql.fetchval("SELECT count(*) FROM outbox_published") == 0


async def test_resend_without_a_database_fails_with_one_line() -> None:
    async with empty_database() as database:
        ended = resend(database.model_copy(update={"db_port": 1}), "--since", SINCE)

        assert ended.returncode == 1
        assert [line for line in ended.stderr.splitlines() if not line.startswith("{")] == [
            "order_service resend: the database is not answering; run the command again"
        ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "--since"),
        (["--since", "yesterday"], "yesterday is no time"),
        (["--since", "2026-01-31T08:00:00"], "has no time zone"),
        (["--since", (datetime.now(UTC) - inbox.RETENTION).isoformat()], "too long ago"),
        (["--since", SINCE, "--until", SINCE], "is not before"),
        (["--since", SINCE, "--type", "user.erased.v1"], "order does not publish user.erased.v1"),
    ],
)
def test_resend_refuses_wrong_arguments_in_one_line(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run("order_service", ["resend", *arguments])

    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert reason in line
    assert line.count("\n") == 1


async def test_events_that_wait_during_the_migration_stay_in_the_outbox() -> None:
    async with empty_database() as database:
        await migrations.migrate("order_service", database, revision="0003")
        async with connect_to(database) as sql:
            # As the release before this one: it has neither the column nor the table nor the index.
            await sql.execute("DROP TABLE outbox_published; ALTER TABLE outbox DROP resent_at; DROP INDEX inbox_by_age")
            await sql.execute("INSERT INTO outbox (id, type, body) VALUES (gen_random_uuid(), 'order.placed.v1', '{}')")

            await migrations.migrate("order_service", database)

            assert await sql.fetchval("SELECT count(*) FROM outbox WHERE resent_at IS NULL") == 1
            assert await sql.fetchval("SELECT count(*) FROM outbox_published") == 0
            valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'inbox_by_age'::regclass"
            assert await sql.fetchval(valid)
            assert await sql.execute("DELETE FROM outbox") == "DELETE 1"  # as the release before this one publishes


async def test_a_migration_waits_for_a_table_that_is_locked() -> None:
    async with empty_database() as database:
        await migrations.migrate("order_service", database, revision="0003")
        async with connect_to(database) as sql, connect_to(database) as other:
            transaction = sql.transaction()
            await transaction.start()
            await sql.execute("LOCK TABLE outbox")
            migrating = asyncio.create_task(migrations.migrate("order_service", database))
            waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'outbox'::regclass AND NOT granted"

            async def waits() -> bool:
                return bool(await other.fetchval(waiting))

            async def gave_up() -> bool:
                return not await waits()

            await eventually(waits)
            await eventually(gave_up)  # requests on the table need not wait behind the migration
            assert not migrating.done()
            await transaction.rollback()

            await migrating
            assert await other.fetchval("SELECT max(version_num) FROM alembic_version") == SCHEMA
