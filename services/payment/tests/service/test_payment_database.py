"""The constraints of the database, and the invariants that find violations without them."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest
from chassis.database.engine import Database
from chassis.database.invariants import InvariantMonitor, load_invariants
from chassis.types.ids import uuid7
from chassis_testing.databases import SqlConnection, connect_to, migrated_database
from payment_harness import Payments
from payment_service.app import SCHEMA


@pytest.fixture
async def unconstrained() -> AsyncIterator[tuple[SqlConnection, InvariantMonitor]]:
    """A database without its constraints, so that its invariants can be violated, and the monitor of them."""
    async with migrated_database("payment_service") as settings, connect_to(settings) as sql:
        database = Database(settings, SCHEMA)
        constraints = await sql.fetch(
            "SELECT conrelid::regclass::text AS owner, conname FROM pg_constraint"
            " WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
        )
        for constraint in constraints:
            await sql.execute(f'ALTER TABLE {constraint["owner"]} DROP CONSTRAINT "{constraint["conname"]}"')
        await sql.execute("DROP INDEX one_live_payment_per_order")
        yield sql, InvariantMonitor(database, "payment_service")
        await database.close()


async def insert_payment(sql: SqlConnection, **values: object) -> UUID:
    """Inserts a completed payment of 1000 minor units, changed by `values`, and returns its id."""
    payment_id = uuid4()
    row: dict[str, object] = {
        "id": payment_id,
        "order_id": uuid4(),
        "buyer_id": 1,
        "amount": 1000,
        "currency": "USD",
        "provider": "simulated",
        "status": "completed",
        "captured": 1000,
        "refunded": 0,
        "refunding": 0,
        **values,
    }
    await sql.execute("INSERT INTO orders (id) VALUES ($1) ON CONFLICT DO NOTHING", row["order_id"])
    names = ", ".join(row)
    placeholders = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    times = "now(), now() - interval '1 hour'"
    statement = f"INSERT INTO payments ({names}, created_at, updated_at) VALUES ({placeholders}, {times})"  # noqa: S608
    await sql.execute(statement, *row.values())
    return payment_id


async def insert_refund(sql: SqlConnection, payment_id: UUID, amount: int, status: str, currency: str = "USD") -> None:
    await sql.execute(
        "INSERT INTO refunds (id, payment_id, amount, currency, status, created_at, settled_at, next_check_at)"
        " VALUES ($1, $2, $3, $4, $5, now(),"
        " CASE WHEN $5 <> 'pending' THEN now() END, CASE WHEN $5 = 'pending' THEN now() END)",
        uuid4(),
        payment_id,
        amount,
        currency,
        status,
    )


async def cancel_order_long_ago(sql: SqlConnection, payment_id: UUID) -> None:
    """Cancels the order of a payment an hour ago."""
    await sql.execute(
        "UPDATE orders SET cancelled_at = now() - interval '1 hour'"
        " WHERE id = (SELECT order_id FROM payments WHERE id = $1)",
        payment_id,
    )


async def violate_refunds_within_captured(sql: SqlConnection) -> None:
    await insert_refund(sql, await insert_payment(sql, refunding=1001), 1001, "pending")


async def violate_one_live_payment_per_order(sql: SqlConnection) -> None:
    order_id = uuid4()
    await insert_payment(sql, order_id=order_id)
    await insert_payment(sql, order_id=order_id)


async def violate_completed_is_captured(sql: SqlConnection) -> None:
    await insert_payment(sql, captured=999)


async def violate_wrong_captures_are_refunded(sql: SqlConnection) -> None:
    await insert_payment(sql, status="failed", captured=999)


async def violate_status_matches_refunds(sql: SqlConnection) -> None:
    await insert_refund(sql, await insert_payment(sql, refunded=1000), 1000, "succeeded")


async def violate_refunds_sum_up(sql: SqlConnection) -> None:
    await insert_refund(sql, await insert_payment(sql, status="partially_refunded", refunded=2), 1, "succeeded")


async def violate_refunds_in_the_currency_of_their_payment(sql: SqlConnection) -> None:
    payment_id = await insert_payment(sql, status="partially_refunded", refunded=1)
    await insert_refund(sql, payment_id, 1, "succeeded", "EUR")


async def violate_cancelled_orders_are_refunded(sql: SqlConnection) -> None:
    await cancel_order_long_ago(sql, await insert_payment(sql))


async def violate_cancelled_orders_are_not_charged(sql: SqlConnection) -> None:
    payment_id = await insert_payment(sql, status="pending", captured=0)
    await sql.execute("UPDATE payments SET next_check_at = now() WHERE id = $1", payment_id)
    await cancel_order_long_ago(sql, payment_id)


async def violate_open_payments_have_a_next_check(sql: SqlConnection) -> None:
    await insert_payment(sql, status="processing", captured=0)


async def violate_pending_refunds_have_a_next_check(sql: SqlConnection) -> None:
    await insert_refund(sql, await insert_payment(sql, refunding=5), 5, "pending")
    await sql.execute("UPDATE refunds SET next_check_at = NULL")


async def violate_payments_have_their_order(sql: SqlConnection) -> None:
    await sql.execute(
        "INSERT INTO orphaned_payments VALUES ($1, now() - interval '31 minutes', now())", await insert_payment(sql)
    )


async def violate_provider_events_are_listed(sql: SqlConnection) -> None:
    await sql.execute("UPDATE event_listing SET listed_until = now() - interval '25 hours'")


async def test_a_refund_that_is_refused_repeatedly_violates_an_invariant(
    unconstrained: tuple[SqlConnection, InvariantMonitor],
) -> None:
    sql, monitor = unconstrained
    (invariant,) = [each for each in load_invariants("payment_service") if each.name == "cancelled_orders_are_refunded"]
    payment_id = await insert_payment(sql)
    await cancel_order_long_ago(sql, payment_id)
    await insert_refund(sql, payment_id, 1000, "failed")
    await sql.execute("UPDATE refunds SET reason = 'order_cancelled'")
    await sql.execute("UPDATE payments SET updated_at = now()")
    assert not await monitor.violations(invariant), "the first attempt was a moment ago"

    await sql.execute("UPDATE refunds SET created_at = now() - interval '11 minutes'")

    assert [row["id"] for row in await monitor.violations(invariant)] == [payment_id]


@pytest.mark.parametrize("name", [invariant.name for invariant in load_invariants("payment_service")])
async def test_each_invariant_finds_its_violation(
    unconstrained: tuple[SqlConnection, InvariantMonitor], name: str
) -> None:
    sql, monitor = unconstrained
    assert all([not await monitor.violations(invariant) for invariant in load_invariants("payment_service")])

    await globals()[f"violate_{name}"](sql)

    found = {
        invariant.name: len(await monitor.violations(invariant)) for invariant in load_invariants("payment_service")
    }
    assert {violated for violated, rows in found.items() if rows} == {name}


async def test_a_refunded_amount_without_a_refund_violates_an_invariant(
    unconstrained: tuple[SqlConnection, InvariantMonitor],
) -> None:
    sql, monitor = unconstrained
    await insert_payment(sql, status="partially_refunded", refunded=2)

    found = [invariant.name for invariant in load_invariants("payment_service") if await monitor.violations(invariant)]

    assert found == ["refunds_sum_up"]


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE payments SET status = 'lost', captured = 0", "payment_status"),
        ("UPDATE payments SET amount = 0, captured = 0", "payment_amount"),
        ("UPDATE payments SET currency = 'usd'", "payment_currency"),
        ("UPDATE payments SET captured = captured + 1", "a_completed_payment_has_captured_its_amount"),
        ("UPDATE payments SET captured = 0", "a_completed_payment_has_captured_its_amount"),
        ("UPDATE payments SET refunded = captured + 1", "refunds_never_exceed_what_was_captured"),
        ("UPDATE payments SET refunding = captured + 1", "refunds_never_exceed_what_was_captured"),
        ("UPDATE payments SET refunded = 600, refunding = 500", "refunds_never_exceed_what_was_captured"),
        ("UPDATE payments SET refunded = -1", "refunds_never_exceed_what_was_captured"),
        ("UPDATE payments SET status = 'failed', captured = 0", "a_failed_payment_says_why"),
    ],
)
async def test_the_database_enforces_the_invariants(payments: Payments, statement: str, constraint: str) -> None:
    payment = await payments.complete_payment(81, 1000)
    async with payments.sql() as sql:
        with pytest.raises(asyncpg.CheckViolationError) as refusal:
            await sql.execute(f"{statement} WHERE id = $1", UUID(payment["id"]))

    assert refusal.value.constraint_name == constraint


async def test_the_database_enforces_one_live_payment_per_order(payments: Payments) -> None:
    payment = await payments.complete_payment(81)
    async with payments.sql() as sql:
        with pytest.raises(asyncpg.UniqueViolationError) as refusal:
            await insert_payment(sql, id=uuid7(), order_id=UUID(payment["order_id"]))

    assert refusal.value.constraint_name == "one_live_payment_per_order"
