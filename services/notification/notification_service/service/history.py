"""The history of notifications: for users, for admins who retry failed ones, and for metrics."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from chassis.database.engine import Database
from chassis.database.pruning import prune_in_batches
from chassis.http.authentication import Principal
from chassis.http.cursors import CursorPaging
from chassis.types.ids import UserId
from prometheus_client import Gauge

from notification_service.domain.errors import HistoryForbidden, NotificationNotFailed, UnknownNotification
from notification_service.domain.notifications import Notification, NotificationPosition, NotificationQuery, Status
from notification_service.repository.notifications import NotificationRepository

BACKLOG = Gauge("notifications_backlog", "Notifications that are pending")
OLDEST = Gauge("notifications_oldest_pending_seconds", "Age of the oldest notification that is pending")
FAILED = Gauge("notifications_dead", "Notifications that failed permanently and were not retried")


class NotificationHistory:
    """Lists, retries, measures and prunes notifications."""

    def __init__(self, database: Database, retention: timedelta, now: Callable[[], datetime]) -> None:
        """`retention` is how long notifications are kept after they were created."""
        self._database = database
        self._retention = retention
        self._now = now

    async def list_for_user(
        self, caller: Principal, user_id: UserId | None, paging: CursorPaging[NotificationPosition]
    ) -> tuple[Sequence[Notification], int]:
        """Returns a page of a user's notifications, newest first, and how many they are.

        Without `user_id` they are the caller's own. Raises HistoryForbidden if a caller who is not an admin asks for
        those of another user.
        """
        if user_id is not None and user_id != caller.user_id and not caller.is_admin:
            raise HistoryForbidden
        recipient = caller.user_id if user_id is None else user_id
        return await self._list(NotificationQuery(user_id=recipient), paging)

    async def list_failed(self, paging: CursorPaging[NotificationPosition]) -> tuple[Sequence[Notification], int]:
        """Returns a page of the failed notifications, newest first, and how many they are."""
        return await self._list(NotificationQuery(status=Status.FAILED), paging)

    async def _list(
        self, query: NotificationQuery, paging: CursorPaging[NotificationPosition]
    ) -> tuple[Sequence[Notification], int]:
        async with self._database.begin() as transaction:
            repository = NotificationRepository(transaction)
            page = await repository.page(query, paging.offset, paging.limit, paging.after)
            return page, await repository.count(query) if paging.counted is None else paging.counted

    async def retry(self, notification_id: UUID) -> Notification:
        """Starts a new round of attempts for a failed notification.

        Raises UnknownNotification, NotificationNotFailed.
        """
        async with self._database.begin() as transaction:
            repository = NotificationRepository(transaction)
            notification = await repository.lock(notification_id)
            if notification is None:
                raise UnknownNotification(notification_id)
            if notification.status is not Status.FAILED:
                raise NotificationNotFailed(notification_id, notification.status)
            await repository.start_round(notification_id, self._now())
            restarted = await repository.lock(notification_id)
        if restarted is None:
            raise UnknownNotification(notification_id)
        return restarted

    async def update_metrics(self) -> None:
        async with self._database.begin() as transaction:
            backlog = await NotificationRepository(transaction).backlog(self._now())
        BACKLOG.set(backlog.pending)
        OLDEST.set(backlog.oldest_seconds)
        FAILED.set(backlog.failed)

    async def prune(self) -> None:
        """Deletes notifications that are older than the retention and not pending, a batch per transaction."""
        before = self._now() - self._retention
        await prune_in_batches(
            self._database, lambda transaction, limit: NotificationRepository(transaction).prune(before, limit)
        )
