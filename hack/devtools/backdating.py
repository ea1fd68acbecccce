"""Backdates what the seed has just created: writes historical times into the databases of a stack, since no API can.

Nothing but times is written: what was ordered, paid, kept and counted is what the services recorded. The stock ledger
is append-only and keeps its own times. A second run changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from devtools.stack import Stack

Columns = Sequence[int] | Sequence[UUID] | Sequence[datetime]


@dataclass(frozen=True, slots=True)
class History:
    """The historical time of each seeded object."""

    orders: Mapping[UUID, datetime]
    """When each order was placed. It was paid two minutes later, or cancelled within a day."""
    reviews: Mapping[tuple[int, int], datetime]
    """Review times, by product id and author id."""
    products: Mapping[int, datetime]
    users: Mapping[int, datetime]


async def backdate(stack: Stack, history: History) -> None:
    """Writes the times in one transaction per database. Objects that `past` does not name stay as they are."""
    orders = (_BY_ORDER, (list(history.orders), list(history.orders.values())))
    reviewed, authors = [product for product, _ in history.reviews], [author for _, author in history.reviews]
    await _write(stack, "order", *orders, _ORDERS)
    await _write(stack, "payment", *orders, _PAYMENTS)
    await _write(stack, "review", _BY_AUTHOR, (reviewed, authors, list(history.reviews.values())), _REVIEWS)
    await _write(stack, "product", _BY_NUMBER, (list(history.products), list(history.products.values())), _PRODUCTS)
    await _write(stack, "user", _BY_NUMBER, (list(history.users), list(history.users.values())), _USERS)


async def _write(stack: Stack, service: str, keys: str, columns: Sequence[Columns], statements: Sequence[str]) -> None:
    """Runs the statements in one transaction; they read `moved`, a temporary table of the columns."""
    connection = await asyncpg.connect(stack.database_of(service))
    try:
        async with connection.transaction():
            await connection.execute(f"CREATE TEMPORARY TABLE moved ({keys}, at timestamptz) ON COMMIT DROP")
            await connection.copy_records_to_table("moved", records=list(zip(*columns, strict=True)))
            for statement in statements:
                await connection.execute(statement)
    finally:
        await connection.close()


_BY_ORDER, _BY_NUMBER, _BY_AUTHOR = "order_id uuid", "id bigint", "product_id bigint, author_id bigint"
_ORDERS = (
    """
    UPDATE orders SET expires_at = moved.at + (expires_at - created_at), created_at = moved.at
    FROM moved WHERE orders.id = moved.order_id
    """,
    """
    UPDATE order_history SET at = moved.at + CASE order_history.status
        WHEN 'pending' THEN interval '0'
        WHEN 'confirmed' THEN interval '2 minutes'
        WHEN 'processing' THEN interval '6 hours'
        WHEN 'shipped' THEN interval '2 days'
        WHEN 'delivered' THEN interval '5 days'
        WHEN 'cancelled' THEN interval '20 hours' END
    FROM moved WHERE order_history.order_id = moved.order_id
    """,
    """
    UPDATE payments SET completed_at = moved.at + interval '2 minutes'
    FROM moved WHERE payments.order_id = moved.order_id
    """,
    """
    UPDATE refunds SET refunded_at = moved.at + interval '20 hours'
    FROM moved WHERE refunds.order_id = moved.order_id
    """,
    """
    UPDATE sales SET sold_at = moved.at + interval '2 minutes'
    FROM moved WHERE sales.order_id = moved.order_id
    """,
)
_PAYMENTS = (
    """
    UPDATE payments SET
        created_at = moved.at + interval '1 minute' + (payments.created_at - first.created_at),
        updated_at = moved.at + CASE WHEN refunded > 0 THEN interval '20 hours' ELSE interval '2 minutes' END
    FROM moved JOIN (SELECT order_id, min(created_at) AS created_at FROM payments GROUP BY order_id) AS first
        ON first.order_id = moved.order_id
    WHERE payments.order_id = moved.order_id
    """,
    """
    UPDATE refunds SET created_at = moved.at + interval '20 hours', settled_at = moved.at + interval '20 hours'
    FROM payments JOIN moved ON moved.order_id = payments.order_id
    WHERE refunds.payment_id = payments.id AND refunds.settled_at IS NOT NULL
    """,
    """
    UPDATE orders SET cancelled_at = moved.at + interval '20 hours'
    FROM moved WHERE orders.id = moved.order_id AND cancelled_at IS NOT NULL
    """,
)
_REVIEWS = (
    """
    UPDATE reviews SET created_at = moved.at, updated_at = moved.at
    FROM moved WHERE reviews.product_id = moved.product_id AND reviews.author_id = moved.author_id
    """,
)
_PRODUCTS = (
    "UPDATE products SET created_at = moved.at, updated_at = moved.at FROM moved WHERE products.id = moved.id",
)
_USERS = ("UPDATE users SET created_at = moved.at FROM moved WHERE users.id = moved.id",)
