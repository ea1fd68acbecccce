"""The invariants: valid data violates none of them, and each finds the violations that it is for."""

from collections.abc import AsyncIterator

import pytest
from chassis.database.engine import Database
from chassis.database.invariants import InvariantMonitor, load_invariants
from chassis.settings import DatabaseSettings
from chassis_testing.databases import connect_to, migrated_database
from order_harness import find_violations
from order_service.app import SCHEMA
from prometheus_client import REGISTRY

VALID_DATA = """
INSERT INTO buyers (id, erased_at) VALUES (1, NULL), (2, now());
INSERT INTO orders (id, buyer_id, status, cancel_reason, total_amount, shipping_amount, tax_amount, currency,
                    created_at, expires_at)
VALUES ('00000000-0000-0000-0000-000000000001', 1, 'pending', NULL, 230, 20, 10, 'USD', now(), now() + '1 hour'),
       ('00000000-0000-0000-0000-000000000002', 1, 'confirmed', NULL, 200, 0, 0, 'USD', now(), now() + '1 hour'),
       ('00000000-0000-0000-0000-000000000003', 2, 'cancelled', 'expired', 200, 0, 0, 'USD', now(), now()),
       ('00000000-0000-0000-0000-000000000004', 1, 'confirmed', NULL, 200, 0, 0, 'USD', now(), now() + '1 hour');
INSERT INTO order_items (order_id, product_id, seller_id, name, quantity, unit_amount)
SELECT id, 7, 7, 'Cup', 2, 100 FROM orders;
INSERT INTO order_history (order_id, position, status, at, by)
SELECT id, 0, 'pending', now(), 'buyer' FROM orders
UNION ALL SELECT id, 1, status, now() - interval '20 minutes', 'system' FROM orders WHERE status <> 'pending';
INSERT INTO payments (id, order_id, amount, completed_at)
VALUES ('p', '00000000-0000-0000-0000-000000000002', 200, now()),
       ('twice', '00000000-0000-0000-0000-000000000004', 200, now() - interval '20 minutes');
INSERT INTO manual_payments (order_id, amount, reason, recorded_by, paid_at)
VALUES ('00000000-0000-0000-0000-000000000004', 200, 'cash', 1, now() - interval '20 minutes');
INSERT INTO refunds (id, payment_id, order_id, amount, refunded_at)
VALUES ('again', 'twice', '00000000-0000-0000-0000-000000000004', 200, now()),
       ('r', 'p', '00000000-0000-0000-0000-000000000002', 50, now()),
       ('early', 'not-received', '00000000-0000-0000-0000-000000000003', 50, now());
INSERT INTO payment_differences (order_id, differences, found_at, next_check_at)
VALUES ('00000000-0000-0000-0000-000000000003', '{unknown_closure}', now() - interval '59 minutes', now());
INSERT INTO sales (order_id, product_id, seller_id, name, quantity, amount, currency, sold_at)
VALUES ('00000000-0000-0000-0000-000000000002', 7, 7, 'Cup', 2, 200, 'USD', now()),
       ('00000000-0000-0000-0000-000000000004', 7, 7, 'Cup', 2, 200, 'USD', now());
"""
VIOLATIONS = {
    "order_total_is_its_parts": [
        "UPDATE orders SET tax_amount = 11 WHERE status = 'pending'",
        "DELETE FROM order_items",
    ],
    "confirmed_order_is_paid": [
        "DELETE FROM payments",
        "UPDATE payments SET amount = 199 WHERE id = 'p'",
        "UPDATE payments SET amount = 201 WHERE id = 'p'",
        "UPDATE manual_payments SET amount = 199",
    ],
    "manually_paid_order_is_not_paid_twice": ["DELETE FROM refunds WHERE id = 'again'"],
    "history_ends_with_status": [
        "DELETE FROM order_history WHERE status = 'confirmed'",
        "UPDATE order_history SET status = 'shipped' WHERE status = 'confirmed'",
        "DELETE FROM order_history WHERE position = 0",
    ],
    "history_follows_the_states": [
        "UPDATE order_history SET status = 'delivered' WHERE status = 'confirmed'",
        "INSERT INTO order_history SELECT order_id, 2, 'processing', now(), 'admin' FROM payments WHERE id = 'p'"
        " UNION ALL SELECT order_id, 3, 'cancelled', now(), 'buyer' FROM payments WHERE id = 'p';"
        " UPDATE orders SET status = 'cancelled', cancel_reason = 'buyer' FROM payments p"
        " WHERE p.id = 'p' AND orders.id = p.order_id",
    ],
    "cancelled_order_has_a_reason": [
        "ALTER TABLE orders DROP CONSTRAINT only_a_cancelled_order_has_a_reason;"
        " UPDATE orders SET cancel_reason = NULL",
    ],
    "pending_order_is_not_past_its_expiry": ["UPDATE orders SET expires_at = now() - interval '16 minutes'"],
    "refunds_are_within_payments": [
        "UPDATE refunds SET amount = 201 WHERE id = 'r'",
        "INSERT INTO refunds SELECT 'r2', payment_id, order_id, 151, now() FROM refunds WHERE id = 'r'",
        "UPDATE refunds SET refunded_at = now() - interval '16 minutes' WHERE id = 'early'",
    ],
    "sales_agree_with_orders": [
        "UPDATE sales SET amount = 199",
        "INSERT INTO sales SELECT order_id, 8, 7, 'Cup', 1, 1, 'USD', now() FROM sales",
        "INSERT INTO sales SELECT id, 7, 7, 'Cup', 2, 230, 'USD', now() FROM orders WHERE status = 'pending'",
        "INSERT INTO sales SELECT gen_random_uuid(), 7, 7, 'Cup', 2, 230, 'USD', now()",
    ],
    "confirmed_orders_are_in_the_sales": ["DELETE FROM sales"],
    "erased_buyer_left_no_address": [
        "INSERT INTO carts (id, owner_id, touched_at) VALUES (gen_random_uuid(), 2, now())",
        "INSERT INTO addresses (id, buyer_id, address, created_at) VALUES (gen_random_uuid(), 2, '{}', now())",
        "UPDATE orders SET shipping_address = '{}' WHERE buyer_id = 2",
    ],
    "orders_agree_with_payments": [
        "INSERT INTO payment_differences (order_id, differences, found_at, next_check_at)"
        " VALUES ('00000000-0000-0000-0000-000000000002', '{not_captured}', now() - interval '61 minutes', now())",
    ],
}


@pytest.fixture
async def settings() -> AsyncIterator[DatabaseSettings]:
    """A database with valid data."""
    async with migrated_database("order_service") as settings:
        await run(settings, VALID_DATA)
        yield settings


async def run(settings: DatabaseSettings, statements: str) -> None:
    """Executes the statements in one transaction."""
    async with connect_to(settings) as sql:
        await sql.execute(statements)


def test_every_invariant_has_a_violation_to_find() -> None:
    assert {each.name for each in load_invariants("order_service")} == set(VIOLATIONS)


async def test_valid_data_violates_no_invariant(settings: DatabaseSettings) -> None:
    assert await find_violations(settings) == {}


@pytest.mark.parametrize(
    ("invariant", "violation"), [(name, each) for name, statements in VIOLATIONS.items() for each in statements]
)
async def test_each_invariant_finds_its_violations(settings: DatabaseSettings, invariant: str, violation: str) -> None:
    await run(settings, violation)

    assert invariant in await find_violations(settings)


async def test_violations_are_exported_as_metrics(settings: DatabaseSettings) -> None:
    await run(settings, "DELETE FROM sales")
    database = Database(settings, SCHEMA)

    await InvariantMonitor(database, "order_service").check()
    await database.close()

    def violations(invariant: str) -> float | None:
        return REGISTRY.get_sample_value("business_invariant_violations", {"invariant": invariant})

    assert violations("confirmed_orders_are_in_the_sales") == 2
    assert violations("order_total_is_its_parts") == 0
