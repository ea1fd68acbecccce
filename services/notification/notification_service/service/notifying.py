"""What happened becomes a notification, in the transaction that remembers the event. Nothing is sent here."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from chassis.types.ids import UserId
from sqlalchemy.ext.asyncio import AsyncConnection

from notification_service.domain.notifications import Cause, Channel, Notification, Reason, Status
from notification_service.repository.notifications import NotificationRepository
from notification_service.repository.recipients import RecipientRepository
from notification_service.service.templates import Catalogue


class Notifying:
    def __init__(self, catalogue: Catalogue, now: Callable[[], datetime], new_id: Callable[[], UUID]) -> None:
        self._catalogue = catalogue
        self._now = now
        self._new_id = new_id

    async def store_within(self, transaction: AsyncConnection, cause: Cause) -> None:
        """One notification on each channel that the recipient wants, unless there is one for this cause already. For an erased
        account it is stored blank and called off: as if the erasure had come second.
        """
        recipients = RecipientRepository(transaction)
        exists = await recipients.hold(cause.user_id)
        preferences = await recipients.preferences(cause.user_id)
        for channel in cause.template.channels:
            if preferences.wants(cause.template.kind, channel):
                notification = self._notification(cause, channel, exists)
                await NotificationRepository(transaction).add_once(notification, cause.key)

    async def erase_within(self, transaction: AsyncConnection, user_id: UserId) -> None:
        """Nothing that was told to this account is kept, nothing more is told to it."""
        await RecipientRepository(transaction).erase(user_id, self._now())
        await NotificationRepository(transaction).erase(user_id)

    def _notification(self, cause: Cause, channel: Channel, recipient_exists: bool) -> Notification:
        now = self._now()
        return Notification(
            id=self._new_id(),
            user_id=cause.user_id,
            channel=channel,
            template=cause.template,
            template_version=self._catalogue.newest(cause.template),
            facts=cause.facts if recipient_exists else {},
            status=Status.PENDING if recipient_exists else Status.CANCELLED,
            reason=None if recipient_exists else Reason.ERASED,
            round=1,
            created_at=now,
            waiting_since=now,
            due_at=now,
            sent_at=None,
        )
