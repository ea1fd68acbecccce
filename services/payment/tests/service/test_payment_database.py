"""What the database itself refuses, whatever a program does, and what the invariants find where it could not refuse."""

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
async def books() -> AsyncIterator[tuple[SqlConnection, InvariantMonitor]]:
    """Books of their own, whose constraints are gone, so that they can be broken."""
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


async def put_payment(sql: SqlConnection, **values: object) -> UUID:
    """A completed payment of 1000, but for `values`."""
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
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await sql.execute(
        f"INSERT INTO payments ({names}, created_at, updated_at) VALUES ({places}, now(), now() - interval '1 hour')",  # noqa: S608 - our own names
        *row.values(),
    )
    return payment_id


async def put_refund(sql: SqlConnection, payment_id: UUID, amount: int, status: str, currency: str = "USD") -> None:
    await sql.execute(
        "INSERT INTO refunds (id, payment_id, amount, currency, status, created_at, settled_at, next_check_at)"
        " VALUES ($1, $2, $3, $4, $5, now(), CASE WHEN $5 <> 'pending' THEN now() END, CASE WHEN $5 = 'pending' THEN now() END)",
        uuid4(),
        payment_id,
        amount,
        currency,
        status,
    )


async def cancel_long_ago(sql: SqlConnection, payment_id: UUID) -> None:
    await sql.execute(
        "UPDATE orders SET cancelled_at = now() - interval '1 hour'"
        " WHERE id = (SELECT order_id FROM payments WHERE id = $1)",
        payment_id,
    )


async def break_refunds_within_captured(sql: SqlConnection) -> None:
    await put_refund(sql, await put_payment(sql, refunding=1001), 1001, "pending")


async def break_one_live_payment_per_order(sql: SqlConnection) -> None:
    order_id = uuid4()
    await put_payment(sql, order_id=order_id)
    await put_payment(sql, order_id=order_id)


async def break_completed_is_captured(sql: SqlConnection) -> None:
    await put_payment(sql, captured=999)


async def break_status_tells_what_was_refunded(sql: SqlConnection) -> None:
    await put_refund(sql, await put_payment(sql, refunded=1000), 1000, "succeeded")


async def break_refunds_sum_up(sql: SqlConnection) -> None:
    await put_refund(sql, await put_payment(sql, status="partially_refunded", refunded=2), 1, "succeeded")


async def break_refunds_in_the_currency_of_their_payment(sql: SqlConnection) -> None:
    payment_id = await put_payment(sql, status="partially_refunded", refunded=1)
    await put_refund(sql, payment_id, 1, "succeeded", "EUR")


async def break_cancelled_orders_are_refunded(sql: SqlConnection) -> None:
    await cancel_long_ago(sql, await put_payment(sql))


async def break_cancelled_orders_are_not_charged(sql: SqlConnection) -> None:
    payment_id = await put_payment(sql, status="pending", captured=0)
    await sql.execute("UPDATE payments SET next_check_at = now() WHERE id = $1", payment_id)
    await cancel_long_ago(sql, payment_id)


async def break_open_payments_are_watched(sql: SqlConnection) -> None:
    await put_payment(sql, status="processing", captured=0)


async def break_pending_refunds_are_watched(sql: SqlConnection) -> None:
    await put_refund(sql, await put_payment(sql, refunding=5), 5, "pending")
    await sql.execute("UPDATE refunds SET next_check_at = NULL")


async def test_a_refund_that_is_refused_again_and_again_is_noticed(
    books: tuple[SqlConnection, InvariantMonitor],
) -> None:
    sql, kept = books
    (promise,) = [one for one in load_invariants("payment_service") if one.name == "cancelled_orders_are_refunded"]
    payment_id = await put_payment(sql)
    await cancel_long_ago(sql, payment_id)
    await put_refund(sql, payment_id, 1000, "failed")
    await sql.execute("UPDATE refunds SET reason = 'order_cancelled'")
    await sql.execute("UPDATE payments SET updated_at = now()")
    assert not await kept.violations(promise), "it was first tried a moment ago"

    await sql.execute("UPDATE refunds SET created_at = now() - interval '11 minutes'")

    assert [row["id"] for row in await kept.violations(promise)] == [payment_id]


@pytest.mark.parametrize("name", [invariant.name for invariant in load_invariants("payment_service")])
async def test_each_invariant_finds_what_breaks_it(books: tuple[SqlConnection, InvariantMonitor], name: str) -> None:
    sql, kept = books
    assert all([not await kept.violations(invariant) for invariant in load_invariants("payment_service")])

    await globals()[f"break_{name}"](sql)

    found = {invariant.name: len(await kept.violations(invariant)) for invariant in load_invariants("payment_service")}
    assert {broken for broken, rows in found.items() if rows} == {name}


async def test_a_refund_that_no_row_tells_of_is_found(books: tuple[SqlConnection, InvariantMonitor]) -> None:
    sql, kept = books
    await put_payment(sql, status="partially_refunded", refunded=2)

    found = [invariant.name for invariant in load_invariants("payment_service") if await kept.violations(invariant)]

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
async def test_the_database_holds_the_invariants(payments: Payments, statement: str, constraint: str) -> None:
    payment = await payments.paid(81, 1000)
    async with payments.sql() as sql:
        with pytest.raises(asyncpg.CheckViolationError) as refusal:
            await sql.execute(f"{statement} WHERE id = $1", UUID(payment["id"]))

    assert refusal.value.constraint_name == constraint


async def test_the_database_holds_one_live_payment_per_order(payments: Payments) -> None:
    payment = await payments.paid(81)
    async with payments.sql() as sql:
        with pytest.raises(asyncpg.UniqueViolationError) as refusal:
            await put_payment(sql, id=uuid7(), order_id=UUID(payment["order_id"]))

    assert refusal.value.constraint_name == "one_live_payment_per_order"
