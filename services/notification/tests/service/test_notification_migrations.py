"""The migrations convert existing rows, and the previous release works on the new schema."""

import asyncpg
import pytest
from alembic import command
from chassis.database import migrations
from chassis.types.ids import uuid7
from chassis_testing.databases import connect_to, empty_database, migrated_database

SMS = (
    "INSERT INTO notifications (id, cause, user_id, channel, template, template_version, facts, status, created_at,"
    " due_at, provider_id) VALUES ($1, 'test', $2, 'sms', 'order_shipped', 1, '{}', 'sent', now(), now(), 'SM1')"
)
ATTEMPT = (
    "INSERT INTO attempts (notification_id, number, round, at, outcome, error)"
    " VALUES ($1, $2, 1, now(), 'transient', 'tls')"
)
ERASED, EXISTING = 1, 2


async def test_provider_ids_of_erased_accounts_are_cleared_and_attempts_of_the_previous_release_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with empty_database() as settings:
        upgrade = command.upgrade
        with monkeypatch.context() as patch:
            patch.setattr(command, "upgrade", lambda config, _head: upgrade(config, "0001"))
            await migrations.migrate("notification_service", settings)
        ids = {user: uuid7() for user in (ERASED, EXISTING)}
        async with connect_to(settings) as sql:
            for user, notification_id in ids.items():
                await sql.execute(SMS, notification_id, user)
            await sql.execute(ATTEMPT, ids[EXISTING], 1)
            await sql.execute("INSERT INTO erased_accounts VALUES ($1, now())", ERASED)

            await migrations.migrate("notification_service", settings)
            await sql.execute(ATTEMPT, ids[EXISTING], 2)

            kept = {row["user_id"]: row["provider_id"] for row in await sql.fetch("SELECT * FROM notifications")}
            excused = [row["excused"] for row in await sql.fetch("SELECT excused FROM attempts")]
    assert kept == {ERASED: None, EXISTING: "SM1"}
    assert excused == [False, False]


async def test_a_notification_that_is_not_sent_says_why() -> None:
    async with migrated_database("notification_service") as settings, connect_to(settings) as sql:
        notification_id = uuid7()
        await sql.execute(SMS, notification_id, EXISTING)
        change = "UPDATE notifications SET status = 'not_sent', reason = $2 WHERE id = $1"
        with pytest.raises(asyncpg.CheckViolationError, match="what_is_not_sent_says_why"):
            await sql.execute(change, notification_id, None)
        await sql.execute(change, notification_id, "no_sms_provider")

        validated = "SELECT DISTINCT convalidated FROM pg_constraint WHERE conrelid = 'notifications'::regclass"
        assert [row["convalidated"] for row in await sql.fetch(validated)] == [True]
