"""The constraints that the database itself enforces."""

import asyncpg
import pytest
from order_harness import OrderApp

ORDER = (
    "INSERT INTO orders (id, buyer_id, status, cancel_reason, total_amount, currency, created_at, expires_at)"
    " VALUES (gen_random_uuid(), 1, {status}, {reason}, {total}, {currency}, now(), now())"
)
ITEM = (
    "INSERT INTO order_items (order_id, product_id, name, quantity, unit_amount)"
    " VALUES ((SELECT id FROM orders LIMIT 1), 77, 'Cup', {quantity}, {amount})"
)


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (ORDER.format(status="'lost'", reason="NULL", total=1, currency="'USD'"), "order_status"),
        (ORDER.format(status="'cancelled'", reason="'mood'", total=1, currency="'USD'"), "order_cancel_reason"),
        (
            ORDER.format(status="'cancelled'", reason="NULL", total=1, currency="'USD'"),
            "only_a_cancelled_order_has_a_reason",
        ),
        (
            ORDER.format(status="'pending'", reason="'buyer'", total=1, currency="'USD'"),
            "only_a_cancelled_order_has_a_reason",
        ),
        (ORDER.format(status="'pending'", reason="NULL", total=-1, currency="'USD'"), "order_total"),
        (ORDER.format(status="'pending'", reason="NULL", total=1, currency="'usd'"), "order_currency"),
        (ITEM.format(quantity=0, amount=1), "order_items_quantity_check"),
        (ITEM.format(quantity=1, amount=-1), "order_items_unit_amount_check"),
    ],
)
async def test_the_database_refuses_invalid_rows(app: OrderApp, statement: str, constraint: str) -> None:
    await app.place_order(61, (1, 1))
    async with app.sql() as sql:
        with pytest.raises(asyncpg.CheckViolationError) as refusal:
            await sql.execute(statement)

    assert refusal.value.constraint_name == constraint
