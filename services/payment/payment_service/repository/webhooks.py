"""Statements on the webhook events that were received."""

from datetime import datetime

from chassis.database.pruning import delete_oldest
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.repository.tables import webhooks


class WebhookRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def record(self, event_id: str, event_type: str, at: datetime) -> bool:
        """Records an event, and returns whether it is new."""
        new = insert(webhooks).values(event_id=event_id, type=event_type, received_at=at)
        inserted = await self._transaction.execute(new.on_conflict_do_nothing().returning(webhooks.c.event_id))
        return inserted.first() is not None

    async def prune(self, before: datetime, limit: int) -> int:
        """Deletes the `limit` oldest events that were received before `before`; returns how many.

        Along webhooks_by_age.
        """
        return (await self._transaction.execute(delete_oldest(webhooks.c.received_at, before, limit))).rowcount
