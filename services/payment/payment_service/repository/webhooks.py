"""Statements on the webhook events that were received."""

from datetime import datetime

from chassis.database.pruning import delete_oldest
from chassis.database.statements import Statement
from sqlalchemy import bindparam
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from payment_service.repository.tables import webhooks

_RECORD = Statement(
    insert(webhooks)
    .values({column: bindparam(column.key) for column in webhooks.c})
    .on_conflict_do_nothing()
    .returning(webhooks.c.event_id),
    lambda row: str(row["event_id"]),
)


class WebhookRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def record(self, event_id: str, event_type: str, at: datetime) -> bool:
        """Records an event, and returns whether it is new."""
        recorded = await _RECORD.first(self._transaction, event_id=event_id, type=event_type, received_at=at)
        return recorded is not None

    async def prune(self, before: datetime, limit: int) -> int:
        """Deletes the `limit` oldest events that were received before `before`; returns how many.

        Along webhooks_by_age.
        """
        return (await self._transaction.execute(delete_oldest(webhooks.c.received_at, before, limit))).rowcount
