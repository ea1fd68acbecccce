"""Statements on idempotency keys."""

from datetime import datetime

from chassis.kernel.ids import OrderId, UserId
from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service.domain.idempotency import Claim, IdempotencyKey
from order_service.repository.tables import idempotency_keys


class KeyRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def hold(self, buyer_id: UserId, key: IdempotencyKey, claim: Claim, at: datetime) -> Claim:
        """The claim that the key stands for: this one, or the one that came first. Its row is locked.

        The update changes nothing: it makes PostgreSQL return the row that was there, whoever has put it there meanwhile.
        """
        new = insert(idempotency_keys).values(
            buyer_id=buyer_id, key=key, fingerprint=claim.fingerprint, order_id=claim.order_id, created_at=at
        )
        held = new.on_conflict_do_update(
            index_elements=[idempotency_keys.c.buyer_id, idempotency_keys.c.key], set_={"key": key}
        ).returning(idempotency_keys.c.order_id, idempotency_keys.c.fingerprint)
        row = (await self._transaction.execute(held)).one()
        return Claim(OrderId(row.order_id), row.fingerprint)

    async def forget(self, before: datetime) -> None:
        """Along idempotency_keys_by_age."""
        await self._transaction.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at < before))
