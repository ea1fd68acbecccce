"""Statements on refunds. Locks: the payment's row first, then the refund's."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chassis.types.ids import UserId
from chassis.types.money import Money
from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.domain.payments import PaymentId, Refund, RefundId, RefundStatus
from payment_service.repository.tables import payments, refunds


class RefundRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add(self, refund: Refund, next_check_at: datetime) -> None:
        """Inserts a refund. The payment's row must be locked."""
        await self._transaction.execute(
            insert(refunds).values(
                id=refund.id,
                payment_id=refund.payment_id,
                amount=refund.amount.amount,
                currency=refund.amount.currency,
                status=refund.status,
                reason=refund.reason,
                requested_by=refund.requested_by,
                provider_ref=refund.provider_ref,
                created_at=refund.created_at,
                next_check_at=next_check_at,
            )
        )

    async def find(self, refund_id: RefundId) -> Refund | None:
        """Finds a refund by primary key, without a lock."""
        row = (await self._transaction.execute(select(refunds).where(refunds.c.id == refund_id))).first()
        return None if row is None else _refund(row)

    async def lock(self, refund_id: RefundId) -> Refund:
        """Locks and returns a refund that exists, by primary key."""
        locked = select(refunds).where(refunds.c.id == refund_id).with_for_update()
        return _refund((await self._transaction.execute(locked)).one())

    async def list_of_payment(self, payment_id: PaymentId) -> list[Refund]:
        """Lists the refunds of a payment, newest first. Along refunds_of_a_payment."""
        of_payment = (
            select(refunds)
            .where(refunds.c.payment_id == payment_id)
            .order_by(refunds.c.created_at.desc(), refunds.c.id.desc())
        )
        return [_refund(row) for row in await self._transaction.execute(of_payment)]

    async def list_succeeded(self, payment_ids: Sequence[PaymentId]) -> Mapping[PaymentId, Sequence[Refund]]:
        """Lists the refunds of these payments that succeeded, by payment. Along refunds_of_a_payment."""
        succeeded = select(refunds).where(
            refunds.c.payment_id.in_(payment_ids), refunds.c.status == RefundStatus.SUCCEEDED
        )
        by_payment: dict[PaymentId, list[Refund]] = defaultdict(list)
        for row in await self._transaction.execute(succeeded) if payment_ids else ():
            by_payment[PaymentId(row.payment_id)].append(_refund(row))
        return by_payment

    async def count_refused(self, payment_id: PaymentId) -> int:
        """Counts the refunds of a payment that the provider refused. Along refunds_of_a_payment."""
        refused = select(func.count()).where(
            refunds.c.payment_id == payment_id, refunds.c.status == RefundStatus.FAILED
        )
        return (await self._transaction.execute(refused)).scalar_one()

    async def store(self, refund: Refund) -> None:
        """Stores the columns that change. The row must be locked."""
        changed = update(refunds).where(refunds.c.id == refund.id)
        await self._transaction.execute(
            changed.values(
                status=refund.status,
                amount=refund.amount.amount,
                provider_ref=refund.provider_ref,
                failure_reason=refund.failure_reason,
                settled_at=refund.settled_at,
            )
        )

    async def erase_reasons_of_buyer(self, buyer_id: UserId) -> None:
        """Erases the reasons that admins wrote for a buyer's refunds. Along payments_of_a_buyer."""
        of_buyer = select(payments.c.id).where(payments.c.buyer_id == buyer_id)
        by_admins = update(refunds).where(refunds.c.payment_id.in_(of_buyer), refunds.c.requested_by.is_not(None))
        await self._transaction.execute(by_admins.values(reason=None))

    async def find_id_by_provider_ref(self, provider_ref: str) -> RefundId | None:
        """Finds a refund's id by the provider's reference, along its unique index."""
        return await self._transaction.scalar(select(refunds.c.id).where(refunds.c.provider_ref == provider_ref))


def _refund(row: Row[Any]) -> Refund:
    return Refund(
        id=RefundId(row.id),
        payment_id=PaymentId(row.payment_id),
        amount=Money(row.amount, row.currency),
        created_at=row.created_at,
        reason=row.reason,
        requested_by=None if row.requested_by is None else UserId(row.requested_by),
        status=RefundStatus(row.status),
        provider_ref=row.provider_ref,
        failure_reason=row.failure_reason,
        settled_at=row.settled_at,
    )
