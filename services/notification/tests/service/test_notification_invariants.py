"""The invariants of the database, the metrics that are read from it, and the pruning of the history."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import prometheus_client
import pytest
from chassis.database.engine import Database
from chassis.database.invariants import InvariantMonitor, load_invariants
from chassis.types.ids import uuid7
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from notification_harness import Environment, RunningService, address_of, order_placed, running_service
from notification_service.app import SCHEMA, build
from notification_service.domain.notifications import Template
from notification_service.service.history import NotificationHistory

NOTIFICATION = (
    "INSERT INTO notifications (id, cause, user_id, channel, template, template_version, facts, status, reason,"
    " created_at, due_at) VALUES ('{id}', 'test-{id}', 1, 'email', 'order_placed', 1, '{facts}', '{status}', {reason},"
    " now(), now() + interval '1 day')"
)
ATTEMPT = "INSERT INTO attempts VALUES ('{id}', {number}, 1, now(), {outcome}, NULL)"


def row(status: str, reason: str = "NULL", facts: str = "{}") -> str:
    return NOTIFICATION.replace("{status}", status).replace("{reason}", reason).replace("{facts}", facts)


def attempt(number: int, outcome: str) -> str:
    return ATTEMPT.replace("{number}", str(number)).replace("{outcome}", outcome)


VIOLATIONS = {
    "nothing_is_sent_more_than_twice": [
        row("failed", "'test'"),
        *(attempt(number, outcome) for number, outcome in ((1, "'unknown'"), (2, "NULL"), (3, "'accepted'"))),
    ],
    "what_was_accepted_is_not_pending": [row("pending"), attempt(1, "'accepted'")],
    "what_is_sent_was_accepted": [row("sent"), attempt(1, "'transient'")],
    "erased_accounts_keep_nothing": [row("pending"), "INSERT INTO erased_accounts VALUES (1, now())"],
    "no_secret_is_stored": [row("failed", "'test'", '{"token": "x"}')],
}


@pytest.fixture
async def database(isolated_env: Environment) -> AsyncIterator[Database]:
    made = Database(isolated_env.database, SCHEMA)
    yield made
    await made.close()


async def violated(database: Database) -> set[str]:
    monitor = InvariantMonitor(database, "notification_service")
    return {
        invariant.name for invariant in load_invariants("notification_service") if await monitor.violations(invariant)
    }


def test_each_invariant_has_a_violation_here() -> None:
    assert {invariant.name for invariant in load_invariants("notification_service")} == set(VIOLATIONS)


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_each_violation_is_found_by_its_invariant_alone(
    isolated_env: Environment, database: Database, name: str
) -> None:
    assert await violated(database) == set()
    notification_id = str(uuid7())
    async with isolated_env.sql() as sql:
        for statement in VIOLATIONS[name]:
            await sql.execute(statement.replace("{id}", notification_id))

    assert await violated(database) == {name}


@pytest.mark.parametrize("kept", ["facts", "preference"])
async def test_any_data_of_an_erased_account_violates_the_invariant(
    isolated_env: Environment, database: Database, kept: str
) -> None:
    async with isolated_env.sql() as sql:
        await sql.execute("INSERT INTO erased_accounts VALUES (1, now())")
        if kept == "facts":
            await sql.execute(row("failed", "'test'", '{"order_id": "x"}').replace("{id}", str(uuid7())))
        else:
            await sql.execute("INSERT INTO preferences VALUES (1, 'order_updates', 'email', false)")

    assert await violated(database) == {"erased_accounts_keep_nothing"}


async def test_the_invariants_hold_after_a_delivery(service: RunningService, user: int) -> None:
    await service.env.publish(order_placed(user))
    await service.env.wait_for_status(user, "sent")
    database = Database(service.env.database, SCHEMA)

    assert await violated(database) == set()
    await database.close()


async def test_pending_and_failed_notifications_are_measured(isolated_env: Environment, database: Database) -> None:
    now = datetime.now(UTC)
    async with isolated_env.sql() as sql:
        for status, reason in (("pending", "NULL"), ("pending", "NULL"), ("failed", "'test'")):
            await sql.execute(row(status, reason).replace("{id}", str(uuid7())))
        await sql.execute("UPDATE notifications SET waiting_since = $1", now - timedelta(seconds=90))

    await NotificationHistory(database, timedelta(days=1), lambda: now).update_metrics()

    def value(name: str) -> float | None:
        return prometheus_client.REGISTRY.get_sample_value(name)

    assert value("notifications_backlog") == 2
    assert value("notifications_oldest_pending_seconds") == 90
    assert value("notifications_dead") == 1


async def test_each_attempt_is_counted(service: RunningService, user: int) -> None:
    def counted(outcome: str) -> float:
        labels = {"template": "order_placed", "channel": "email", "outcome": outcome}
        return prometheus_client.REGISTRY.get_sample_value("notifications_sent_total", labels) or 0

    before = counted("transient"), counted("accepted")
    service.env.mailbox.rcpt_replies[address_of(user)].append("451 later")
    await service.env.publish(order_placed(user))
    await service.env.wait_for_status(user, "sent")

    assert (counted("transient"), counted("accepted")) == (before[0] + 1, before[1] + 1)


async def test_old_notifications_are_pruned_unless_pending(isolated_env: Environment, database: Database) -> None:
    now = datetime.now(UTC)
    async with isolated_env.sql() as sql:
        old, recent, pending = (str(uuid7()) for _ in range(3))
        for id_, status in ((old, "sent"), (recent, "sent"), (pending, "pending")):
            await sql.execute(row(status).replace("{id}", id_))
        await sql.execute(attempt(1, "'accepted'").replace("{id}", old))
        aged = "UPDATE notifications SET created_at = $1 WHERE id <> $2::text::uuid"
        await sql.execute(aged, now - timedelta(days=31), recent)

        await NotificationHistory(database, timedelta(days=30), lambda: now).prune()

        left = {str(kept["id"]) for kept in await sql.fetch("SELECT id FROM notifications")}
        assert left == {recent, pending}
        assert await sql.fetchval("SELECT count(*) FROM attempts") == 0


async def test_the_index_of_urgent_mails_has_every_template_that_is_awaited(isolated_env: Environment) -> None:
    async with isolated_env.sql() as sql:
        index = await sql.fetchval("SELECT pg_get_indexdef('notifications_urgent'::regclass)")

    assert {each for each in Template if f"'{each}'" in index} == {each for each in Template if each.is_awaited}


async def test_the_database_refuses_a_second_notification_for_one_cause(isolated_env: Environment) -> None:
    import asyncpg

    async with isolated_env.sql() as sql:
        await sql.execute(row("sent").replace("{id}", "01990000-0000-7000-8000-000000000001"))
        with pytest.raises(asyncpg.UniqueViolationError):
            await sql.execute(
                row("sent")
                .replace("test-{id}", "test-01990000-0000-7000-8000-000000000001")
                .replace("{id}", str(uuid7()))
            )


async def test_grpc_serves_health(isolated_env: Environment) -> None:
    service = await build(isolated_env.settings())
    assert service.rpc is not None
    await service.rpc.start()
    async with aio.insecure_channel(f"127.0.0.1:{service.rpc.port}") as channel:
        response = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert response.status == health_pb2.HealthCheckResponse.SERVING
    await service.rpc.stop(0)
    for close in service.closers:
        await close()


async def test_preferences_survive_a_restart(isolated_env: Environment) -> None:
    async with running_service(isolated_env) as service:
        await service.set_preferences(1, email=False)
    async with running_service(isolated_env) as service:
        response = await service.http.get("/api/v1/notifications/preferences", headers=service.bearer(1))

    assert response.json()["data"]["order_updates"]["email"] is False
