"""Applies the reports of a provider on the messages that it accepted."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from chassis.database.engine import Database

from notification_service.repository.notifications import NotificationRepository

_DELIVERED = ("delivered", "read")
_UNDELIVERED = ("failed", "undelivered")


class DeliveryReportService:
    """Stores which messages were delivered and which were not."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def apply(self, notification_id: UUID, provider_id: str, status: str) -> None:
        """Stores what a provider reports on the message `provider_id` of a notification.

        A notification may have had several messages. One delivered message is enough. That an earlier message of the
        notification was not delivered changes nothing, and neither does a repeated report, nor one with a status that
        decides nothing.
        """
        async with self._database.begin() as transaction:
            repository = NotificationRepository(transaction)
            if status in _DELIVERED:
                await repository.mark_delivered(notification_id, self._now())
            elif status in _UNDELIVERED:
                await repository.mark_undelivered(notification_id, provider_id)
