"""What was told to whom and what became of it: for the people themselves, for admins, for carriers that report back."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database.engine import Database
from chassis.http.authentication import Principal
from chassis.http.schemas import Paging
from chassis.types.ids import UserId
from prometheus_client import Gauge

from notification_service.domain.errors import AccountErased, HistoryOfAnother, NotDead, UnknownNotification
from notification_service.domain.notifications import Channel, Kind, Notification, Status
from notification_service.domain.preferences import Preferences
from notification_service.repository.notifications import NotificationRepository
from notification_service.repository.recipients import RecipientRepository

BACKLOG = Gauge("notifications_backlog", "Notifications that are pending")
OLDEST = Gauge("notifications_oldest_pending_seconds", "Age of the oldest notification that is pending")
DEAD = Gauge("notifications_dead", "Notifications that failed for good and that nobody has retried")
_PRUNED_AT_ONCE = 1000
_ARRIVED = ("delivered", "read")
_LOST = ("failed", "undelivered")


class History:
    def __init__(self, database: Database, retention: timedelta, now: Callable[[], datetime]) -> None:
        self._database = database
        self._retention = retention
        self._now = now

    async def told_to(
        self, caller: Principal, user_id: UserId | None, paging: Paging
    ) -> tuple[Sequence[Notification], int]:
        """Newest first; one's own unless an admin asks for another's. Raises HistoryOfAnother."""
        if user_id is not None and user_id != caller.user_id and not caller.is_admin:
            raise HistoryOfAnother
        whose = caller.user_id if user_id is None else user_id
        async with self._database.begin() as transaction:
            return await NotificationRepository(transaction).page_of(whose, paging.offset, paging.limit)

    async def dead(self, paging: Paging) -> tuple[Sequence[Notification], int]:
        """What failed for good, newest first."""
        async with self._database.begin() as transaction:
            return await NotificationRepository(transaction).page_of_dead(paging.offset, paging.limit)

    async def retry(self, notification_id: UUID) -> Notification:
        """Everything anew for one that failed. Raises UnknownNotification, NotDead."""
        async with self._database.begin() as transaction:
            repository = NotificationRepository(transaction)
            notification = await repository.lock(notification_id)
            if notification is None:
                raise UnknownNotification(notification_id)
            if notification.status is not Status.FAILED:
                raise NotDead(notification_id, notification.status)
            await repository.revive(notification_id, self._now())
            revived = await repository.lock(notification_id)
        if revived is None:
            raise UnknownNotification(notification_id)
        return revived

    async def carrier_says(self, notification_id: UUID, provider_id: str, status: str) -> None:
        """A carrier reports what became of a message, of which a notification may have had several. One that arrived is enough;
        what became of one that is not its last changes nothing else, and nor do repeated reports.
        """
        async with self._database.begin() as transaction:
            repository = NotificationRepository(transaction)
            if status in _ARRIVED:
                await repository.confirm(notification_id, self._now())
            elif status in _LOST:
                await repository.give_up(notification_id, provider_id)

    async def preferences(self, user_id: UserId) -> Preferences:
        async with self._database.begin() as transaction:
            return await RecipientRepository(transaction).preferences(user_id)

    async def choose(self, user_id: UserId, chosen: Mapping[tuple[Kind, Channel], bool]) -> Preferences:
        """Raises AccountErased."""
        async with self._database.begin() as transaction:
            recipients = RecipientRepository(transaction)
            if not await recipients.hold(user_id):
                raise AccountErased
            await recipients.choose(user_id, chosen)
            return await recipients.preferences(user_id)

    async def measure(self) -> None:
        async with self._database.begin() as transaction:
            backlog = await NotificationRepository(transaction).backlog(self._now())
        BACKLOG.set(backlog.pending)
        OLDEST.set(backlog.oldest_seconds)
        DEAD.set(backlog.dead)

    async def prune(self) -> None:
        """Forgets what is over and older than the retention."""
        pruned = _PRUNED_AT_ONCE
        while pruned == _PRUNED_AT_ONCE:
            async with self._database.begin() as transaction:
                before = self._now() - self._retention
                pruned = await NotificationRepository(transaction).prune(before, _PRUNED_AT_ONCE)
