"""The invariants find violations."""

import pytest
from chassis.database import invariants
from chassis.types.ids import uuid7
from chassis_testing.databases import connect_to, migrated_database
from inventory_harness import open_use_cases, violations

VIOLATIONS = {
    "stock_is_never_oversold": "ALTER TABLE stock DROP CONSTRAINT stock_is_never_oversold; "
    "UPDATE stock SET on_hand = 4 WHERE product_id = 1",
    "reserved_is_what_open_reservations_hold": "UPDATE stock SET reserved = reserved + 1 WHERE product_id = 1",
    "committed_is_what_paid_orders_hold": "UPDATE stock SET committed = committed + 1 WHERE product_id = 1",
    "stock_is_the_sum_of_its_movements": "UPDATE stock SET on_hand = on_hand + 1 WHERE product_id = 1",
    "each_movement_follows_the_one_before": "UPDATE movements SET delta = delta + 1 WHERE product_id = 1",
    "shipped_lines_are_sold_once": "DELETE FROM movements WHERE kind = 'sale'",
    "only_fulfilled_orders_keep_units": "UPDATE reservations SET status = 'expired' WHERE status = 'fulfilled'",
    "cancelled_orders_hold_nothing": "UPDATE reservations SET is_cancelled = true WHERE status = 'committed'",
    "expired_reservations_are_released": "UPDATE reservations SET held_until = now() - interval '6 minutes'",
}


def test_each_invariant_has_a_violation_here() -> None:
    assert list(VIOLATIONS) == [invariant.name for invariant in invariants.load_invariants("inventory_service")]


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_a_violation_is_found(name: str) -> None:
    async with migrated_database("inventory_service") as settings, open_use_cases(settings) as use_cases:
        shipped, paid = uuid7(), uuid7()
        await use_cases.set_stock(1, 10)
        for order in (shipped, paid):
            await use_cases.reserve(order, (1, 3))
            await use_cases.receive_confirmed(order, (1, 3))
        await use_cases.receive_shipped(shipped)
        await use_cases.reserve(uuid7(), (1, 2))
        assert await violations(use_cases.database) == {}

        async with connect_to(settings) as connection:
            await connection.execute("SET session_replication_role = replica")  # no trigger corrects or refuses it
            await connection.execute(VIOLATIONS[name])

        assert name in await violations(use_cases.database)
