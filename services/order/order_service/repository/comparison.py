"""Statements of the comparison of orders with their payments: its position, and the differences that it found."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from chassis.types.ids import OrderId
from sqlalchemy import Column, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.comparison import Difference, PaymentRecord, Position
from order_service.domain.orders import OrderStatus
from order_service.repository.tables import (
    manual_payments,
    orders,
    payment_comparison,
    payment_differences,
    payments,
    refunds,
)


class ComparisonRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def claim(self, now: datetime, next_at: datetime) -> bool:
        """Claims a round if one is due, and makes the next one due at `next_at`; returns whether one was due."""
        claimed = update(payment_comparison).where(payment_comparison.c.next_at <= now).values(next_at=next_at)
        return (await self._transaction.execute(claimed)).rowcount == 1

    async def position(self) -> Position | None:
        row = (await self._transaction.execute(select(payment_comparison))).one()
        return None if row.placed_at is None else Position(row.placed_at, OrderId(row.order_id))

    async def store_position(self, position: Position | None) -> None:
        """Stores where the next batch begins; None for the oldest order that is compared."""
        placed_at, order_id = (None, None) if position is None else (position.placed_at, position.order_id)
        await self._transaction.execute(update(payment_comparison).values(placed_at=placed_at, order_id=order_id))

    async def next_batch(self, after: Position | None, placed_from: datetime, limit: int) -> list[Position]:
        """Returns the next orders that are not pending, in the order of their placement; uses orders_by_time."""
        query = select(orders.c.created_at, orders.c.id).where(
            orders.c.created_at >= placed_from, orders.c.status != OrderStatus.PENDING
        )
        if after is not None:
            query = query.where(tuple_(orders.c.created_at, orders.c.id) > (after.placed_at, after.order_id))
        rows = await self._transaction.execute(query.order_by(orders.c.created_at, orders.c.id).limit(limit))
        return [Position(row.created_at, OrderId(row.id)) for row in rows]

    async def records(self, order_ids: Sequence[OrderId]) -> list[PaymentRecord]:
        """Returns what is recorded of these orders.

        By primary key, and along payments_of_an_order and refunds_of_an_order.
        """
        query = select(orders.c.id, orders.c.status).where(orders.c.id.in_(order_ids))
        statuses = (await self._transaction.execute(query)).all()
        paid = await self._ids_by_order(payments.c.id, payments.c.order_id, order_ids)
        refunded = await self._ids_by_order(refunds.c.id, refunds.c.order_id, order_ids)
        manually = await self._ids_by_order(manual_payments.c.order_id, manual_payments.c.order_id, order_ids)
        return [
            PaymentRecord(
                OrderId(row.id),
                OrderStatus(row.status),
                row.id in manually,
                frozenset(paid.get(row.id, ())),
                frozenset(refunded.get(row.id, ())),
            )
            for row in statuses
        ]

    async def list_due(self, now: datetime, limit: int) -> list[OrderId]:
        """Returns the orders with a difference that is to be checked again; uses payment_differences_due."""
        due = select(payment_differences.c.order_id).where(payment_differences.c.next_check_at <= now)
        rows = await self._transaction.execute(due.order_by(payment_differences.c.next_check_at).limit(limit))
        return [OrderId(row.order_id) for row in rows]

    async def different_among(self, order_ids: Sequence[OrderId]) -> frozenset[OrderId]:
        """Returns those of these orders of which a difference is stored, by primary key."""
        found = select(payment_differences.c.order_id).where(payment_differences.c.order_id.in_(order_ids))
        return frozenset(OrderId(row.order_id) for row in await self._transaction.execute(found))

    async def is_due(self, order_id: OrderId, now: datetime) -> bool:
        """Returns whether a difference of the order is stored that is to be checked again, by primary key."""
        due = select(payment_differences.c.order_id).where(
            payment_differences.c.order_id == order_id, payment_differences.c.next_check_at <= now
        )
        return (await self._transaction.execute(due)).first() is not None

    async def store_differences(
        self, order_id: OrderId, found: Collection[Difference], now: datetime, next_check_at: datetime
    ) -> None:
        """Stores in what an order and its payment differ; the time when that was found first stays."""
        values = {"differences": sorted(found), "next_check_at": next_check_at}
        new = insert(payment_differences).values(order_id=order_id, found_at=now, **values)
        await self._transaction.execute(new.on_conflict_do_update(index_elements=["order_id"], set_=values))

    async def delete_differences(self, order_id: OrderId) -> None:
        await self._transaction.execute(delete(payment_differences).where(payment_differences.c.order_id == order_id))

    async def _ids_by_order(
        self, id_column: "Column[Any]", order_column: "Column[Any]", order_ids: Sequence[OrderId]
    ) -> dict[OrderId, set[str]]:
        ids: dict[OrderId, set[str]] = defaultdict(set)
        query = select(id_column.label("id"), order_column.label("order_id")).where(order_column.in_(order_ids))
        for row in await self._transaction.execute(query):
            ids[OrderId(row.order_id)].add(str(row.id))
        return ids
