"""Stores notifications in the transaction that consumes their event. Nothing is sent here."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from chassis.types.ids import UserId
from sqlalchemy.ext.asyncio import AsyncConnection

from notification_service.domain.notifications import Cause, Channel, Notification, Reason, Status
from notification_service.repository.notifications import NotificationRepository
from notification_service.repository.recipients import RecipientRepository
from notification_service.service.templates import TemplateLibrary


class NotificationRecorder:
    """Records what the events of the shop mean for this service."""

    def __init__(self, templates: TemplateLibrary, now: Callable[[], datetime], new_id: Callable[[], UUID]) -> None:
        self._templates = templates
        self._now = now
        self._new_id = new_id

    async def record(self, transaction: AsyncConnection, causes: Sequence[Cause]) -> None:
        """Stores one notification per cause and channel that the preferences allow, unless one exists for the cause.

        For an erased account it is stored cancelled and without facts, as if the erasure had come after it.
        """
        recipients = await RecipientRepository(transaction).lock({cause.user_id for cause in causes})
        new = [
            (cause.key, self._notification(cause, channel, not recipients[cause.user_id].is_erased))
            for cause in causes
            for channel in cause.template.channels
            if recipients[cause.user_id].preferences.allow(cause.template.kind, channel)
        ]
        if new:
            await NotificationRepository(transaction).add_once(new)

    async def erase_account(self, transaction: AsyncConnection, user_id: UserId) -> None:
        """Deletes the data of an account, and cancels the notifications that are still to be sent to it."""
        await RecipientRepository(transaction).erase(user_id, self._now())
        await NotificationRepository(transaction).redact_user(user_id)

    def _notification(self, cause: Cause, channel: Channel, recipient_exists: bool) -> Notification:
        now = self._now()
        return Notification(
            id=self._new_id(),
            user_id=cause.user_id,
            channel=channel,
            template=cause.template,
            template_version=self._templates.latest_version(cause.template),
            facts=cause.facts if recipient_exists else {},
            status=Status.PENDING if recipient_exists else Status.CANCELLED,
            reason=None if recipient_exists else Reason.ERASED,
            round=1,
            created_at=now,
            waiting_since=now,
            due_at=now,
            sent_at=None,
        )
