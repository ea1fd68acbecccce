"""Statements of the comparison of payments with their orders: its position, and the payments without an order."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from chassis.types.ids import OrderId
from sqlalchemy import Select, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.domain.orphans import ComparedPayment
from payment_service.domain.payments import PaymentId, PaymentStatus
from payment_service.repository.tables import order_comparison, orphaned_payments, payments

_KEPT = (PaymentStatus.COMPLETED, PaymentStatus.PARTIALLY_REFUNDED)
_COMPARED = select(payments.c.created_at, payments.c.id, payments.c.order_id)


class OrphanRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def claim(self, now: datetime, next_at: datetime) -> bool:
        """Claims a round if one is due, and makes the next one due at `next_at`; returns whether one was due."""
        claimed = update(order_comparison).where(order_comparison.c.next_at <= now).values(next_at=next_at)
        return (await self._transaction.execute(claimed)).rowcount == 1

    async def next_batch(self, begun_from: datetime, limit: int) -> list[ComparedPayment]:
        """Returns the next payments of which money is kept, in the order of their beginning; uses payments_by_time."""
        position = (await self._transaction.execute(select(order_comparison))).one()
        query = _COMPARED.where(payments.c.created_at >= begun_from, payments.c.status.in_(_KEPT))
        if position.created_at is not None:
            after = position.created_at, position.payment_id
            query = query.where(tuple_(payments.c.created_at, payments.c.id) > after)
        return await self._compared(query.order_by(payments.c.created_at, payments.c.id).limit(limit))

    async def store_position(self, last: ComparedPayment | None) -> None:
        """Stores after which payment the next batch begins; None for the oldest one that is compared."""
        created_at, payment_id = (None, None) if last is None else (last.created_at, last.id)
        await self._transaction.execute(update(order_comparison).values(created_at=created_at, payment_id=payment_id))

    async def list_due(self, now: datetime, limit: int) -> list[ComparedPayment]:
        """Returns the orphaned payments that are to be checked again; uses orphaned_payments_due."""
        due = _COMPARED.join(orphaned_payments, orphaned_payments.c.payment_id == payments.c.id)
        due = due.where(orphaned_payments.c.next_check_at <= now).order_by(orphaned_payments.c.next_check_at)
        return await self._compared(due.limit(limit))

    async def found_among(self, payment_ids: Sequence[PaymentId]) -> frozenset[PaymentId]:
        """Returns those of these payments that are orphaned, by primary key."""
        found = select(orphaned_payments.c.payment_id).where(orphaned_payments.c.payment_id.in_(payment_ids))
        return frozenset(PaymentId(row.payment_id) for row in await self._transaction.execute(found))

    async def found_at(self, payment_id: PaymentId) -> datetime | None:
        """Returns when a payment was found to be orphaned; None if it is not."""
        found = select(orphaned_payments.c.found_at).where(orphaned_payments.c.payment_id == payment_id)
        return await self._transaction.scalar(found)

    async def hold(self, payment_id: PaymentId, now: datetime, next_check_at: datetime) -> None:
        """Stores that a payment is orphaned; the time when that was found first stays."""
        new = insert(orphaned_payments).values(payment_id=payment_id, found_at=now, next_check_at=next_check_at)
        values = {"next_check_at": next_check_at}
        await self._transaction.execute(new.on_conflict_do_update(index_elements=["payment_id"], set_=values))

    async def delete(self, payment_id: PaymentId) -> None:
        await self._transaction.execute(delete(orphaned_payments).where(orphaned_payments.c.payment_id == payment_id))

    async def _compared(self, query: "Select[Any]") -> list[ComparedPayment]:
        rows = await self._transaction.execute(query)
        return [ComparedPayment(row.created_at, PaymentId(row.id), OrderId(row.order_id)) for row in rows]
