"""Stores notifications and their attempts.

The lock is the notification's row; only the holder of its lease writes its attempts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.database.pruning import delete_oldest
from chassis.types.ids import UserId
from sqlalchemy import ColumnElement, Row, ScalarSelect, and_, exists, func, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from notification_service.domain.delivery import AttemptCounts, NextState, Outcome, SendResult
from notification_service.domain.notifications import (
    Attempt,
    Channel,
    Notification,
    NotificationPosition,
    NotificationQuery,
    Reason,
    Status,
    Template,
)
from notification_service.repository.tables import attempts, notifications

_NO_FACTS: dict[str, object] = {}
_MAYBE_ACCEPTED = or_(attempts.c.outcome.is_(None), attempts.c.outcome == Outcome.UNKNOWN)
_URGENT = [template for template in Template if template.is_awaited]
"""The templates of the index notifications_urgent."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many notifications are pending and failed, and the age of the oldest pending one (0 if there is none)."""

    pending: int
    oldest_seconds: float
    failed: int


class NotificationRepository:
    """Reads and writes notifications within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add_once(self, notification: Notification, cause: str) -> bool:
        """Stores a notification unless one exists for this cause, channel and recipient.

        Returns whether it was stored.
        """
        new = insert(notifications).values(
            id=notification.id,
            cause=cause,
            user_id=notification.user_id,
            channel=notification.channel,
            template=notification.template,
            template_version=notification.template_version,
            facts=dict(notification.facts),
            status=notification.status,
            reason=notification.reason,
            created_at=notification.created_at,
            waiting_since=notification.waiting_since,
            due_at=notification.due_at,
        )
        stored = await self._transaction.execute(new.on_conflict_do_nothing().returning(notifications.c.id))
        return stored.first() is not None

    async def lease_next(self, lease: UUID, at: datetime, until: datetime) -> tuple[Notification, AttemptCounts] | None:
        """Leases the notification that has been due longest until `until`, and returns it; None if none is due.

        Mails that their recipients wait for come first, along notifications_urgent, then the others, along
        notifications_due. Rows that other transactions have locked are skipped, and so are templates that only a newer
        release knows: its processes send them.
        """
        due = func.coalesce(_longest_due(_URGENT, at), _longest_due(list(Template), at))
        leased = update(notifications).where(notifications.c.id == due).values(lease=lease, due_at=until)
        row = (await self._transaction.execute(leased.returning(*notifications.c))).one_or_none()
        if row is None:
            return None
        return _notification(row), await self._attempt_counts(row.id, row.round)

    async def begin_attempt(self, leased: Notification, lease: UUID, at: datetime, until: datetime) -> int | None:
        """Records an attempt before its message is sent. Returns its number, or None if the lease is lost."""
        held = (
            update(notifications).where(*_has_lease(leased, lease)).values(due_at=until).returning(notifications.c.id)
        )
        if (await self._transaction.execute(held)).first() is None:
            return None
        last = select(func.coalesce(func.max(attempts.c.number), 0)).where(attempts.c.notification_id == leased.id)
        new = insert(attempts).values(
            notification_id=leased.id, number=last.scalar_subquery() + 1, round=leased.round, at=at
        )
        number: int = (await self._transaction.execute(new.returning(attempts.c.number))).scalar_one()
        return number

    async def end_attempt(self, leased: Notification, number: int, result: SendResult) -> AttemptCounts:
        """Records the result of an attempt. Returns the counts of its round, which include this result."""
        this = (attempts.c.notification_id == leased.id, attempts.c.number == number)
        ended = (
            update(attempts).where(*this).values(outcome=result.outcome, error=result.error, excused=result.is_excused)
        )
        await self._transaction.execute(ended)
        return await self._attempt_counts(leased.id, leased.round)

    async def release(
        self, leased: Notification, lease: UUID, state: NextState, at: datetime, provider_id: str | None = None
    ) -> bool:
        """Ends the lease and stores the next state.

        Returns False and changes nothing if the lease is no longer held: a callback, an erasure or another process came
        first.
        """
        values: dict[str, Any] = {"status": state.status, "reason": state.reason, "lease": None}
        if state.due_at is not None:
            values["due_at"] = state.due_at
        if state.status is Status.SENT:
            values |= {"sent_at": at, "provider_id": provider_id}
        if state.reason in (Reason.RECIPIENT_GONE, Reason.ERASED):
            values["facts"] = _NO_FACTS
        released = update(notifications).where(*_has_lease(leased, lease)).values(**values)
        return (await self._transaction.execute(released.returning(notifications.c.id))).first() is not None

    async def redact_user(self, user_id: UserId) -> None:
        """Clears the facts of a user's notifications, and cancels the pending ones. Along notifications_of_a_user.

        The provider's ids are cleared too, since they lead to the number and the text of an SMS at the provider.
        """
        of_user = notifications.c.user_id == user_id
        await self._transaction.execute(update(notifications).where(of_user).values(facts=_NO_FACTS, provider_id=None))
        cancelled = {"status": Status.CANCELLED, "reason": Reason.ERASED, "lease": None}
        await self._transaction.execute(
            update(notifications).where(of_user, notifications.c.status == Status.PENDING).values(**cancelled)
        )

    async def mark_delivered(self, notification_id: UUID, at: datetime) -> None:
        """Stores that the provider has delivered a message.

        This also holds for a notification that is still pending here, and for one that was reported undelivered. One
        that is cancelled, or that failed for another reason, stays as it is.
        """
        is_deliverable = or_(
            notifications.c.status.in_([Status.PENDING, Status.SENT]), notifications.c.reason == Reason.UNDELIVERED
        )
        sent_at = func.coalesce(notifications.c.sent_at, at)
        delivered = {"status": Status.DELIVERED, "reason": None, "lease": None, "sent_at": sent_at}
        await self._transaction.execute(
            update(notifications).where(notifications.c.id == notification_id, is_deliverable).values(**delivered)
        )

    async def mark_undelivered(self, notification_id: UUID, provider_id: str) -> None:
        """Stores that the provider will not deliver a message.

        The message must be the one whose id is stored or, if no id is stored yet, one that an attempt of this round may
        have sent.
        """
        may_be_sent = exists().where(
            attempts.c.notification_id == notifications.c.id, attempts.c.round == notifications.c.round, _MAYBE_ACCEPTED
        )
        is_last = or_(notifications.c.provider_id.is_(None), notifications.c.provider_id == provider_id)
        is_sent = or_(
            notifications.c.status == Status.SENT, and_(notifications.c.status == Status.PENDING, may_be_sent)
        )
        failed = {"status": Status.FAILED, "reason": Reason.UNDELIVERED, "lease": None}
        await self._transaction.execute(
            update(notifications).where(notifications.c.id == notification_id, is_last, is_sent).values(**failed)
        )

    async def lock(self, notification_id: UUID) -> Notification | None:
        """Returns a notification by its primary key and locks its row; None if it does not exist."""
        found = await self._load(select(notifications).where(notifications.c.id == notification_id).with_for_update())
        return found[0] if found else None

    async def start_round(self, notification_id: UUID, at: datetime) -> None:
        """Makes a notification pending again, in a new round that is due at `at`. The row must be locked."""
        pending = {"status": Status.PENDING, "reason": None, "sent_at": None, "provider_id": None}
        new_round = {"round": notifications.c.round + 1, "waiting_since": at, "due_at": at}
        await self._transaction.execute(
            update(notifications).where(notifications.c.id == notification_id).values(**pending, **new_round)
        )

    async def page(
        self, query: NotificationQuery, offset: int, limit: int, after: NotificationPosition | None = None
    ) -> list[Notification]:
        """Returns one page of notifications, newest first, along notifications_of_a_user or notifications_dead.

        The page begins after the notification at `after`, or else after `offset` notifications.
        """
        is_older = true() if after is None else notifications.c.id < after.id
        page = select(notifications).where(_matches(query), is_older).order_by(notifications.c.id.desc())
        return await self._load(page.offset(offset).limit(limit))

    async def count(self, query: NotificationQuery) -> int:
        """Counts with the same indexes as `page`."""
        count = select(func.count()).select_from(notifications).where(_matches(query))
        return await self._transaction.scalar(count) or 0

    async def backlog(self, at: datetime) -> Backlog:
        """Counts what is pending and failed. Along notifications_due and notifications_dead."""
        pending_and_oldest = select(func.count(), func.min(notifications.c.waiting_since)).where(
            notifications.c.status == Status.PENDING
        )
        pending, oldest = (await self._transaction.execute(pending_and_oldest)).one()
        failed = select(func.count()).where(notifications.c.status == Status.FAILED).select_from(notifications)
        age = 0.0 if oldest is None else max(0.0, (at - oldest).total_seconds())
        return Backlog(pending, age, await self._transaction.scalar(failed) or 0)

    async def prune(self, before: datetime, limit: int) -> int:
        """Deletes notifications that are not pending and older than `before`, with their attempts; `limit` at most.

        Returns how many it deleted. Along notifications_by_age.
        """
        is_done = notifications.c.status != Status.PENDING
        oldest = delete_oldest(notifications.c.created_at, before, limit, is_done)
        return (await self._transaction.execute(oldest)).rowcount

    async def _attempt_counts(self, notification_id: UUID, round_: int) -> AttemptCounts:
        counts = select(
            func.count(), func.count().filter(_MAYBE_ACCEPTED), func.count().filter(attempts.c.excused)
        ).where(attempts.c.notification_id == notification_id, attempts.c.round == round_)
        return AttemptCounts(*(await self._transaction.execute(counts)).one())

    async def _load(self, query: Any) -> list[Notification]:
        """Runs a query for notifications, and adds their attempts."""
        found = [_notification(row) for row in await self._transaction.execute(query)]
        by_id: dict[UUID, list[Attempt]] = {notification.id: [] for notification in found}
        of_found = select(attempts).where(attempts.c.notification_id.in_(list(by_id))).order_by(attempts.c.number)
        for row in await self._transaction.execute(of_found):
            by_id[row.notification_id].append(Attempt(row.number, row.at, row.outcome, row.error))
        return [replace(notification, attempts=tuple(by_id[notification.id])) for notification in found]


def _matches(query: NotificationQuery) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = []
    if query.user_id is not None:
        conditions.append(notifications.c.user_id == query.user_id)
    if query.status is not None:
        conditions.append(notifications.c.status == query.status)
    return and_(true(), *conditions)


def _longest_due(templates: Sequence[Template], at: datetime) -> ScalarSelect[UUID]:
    return (
        select(notifications.c.id)
        .where(
            notifications.c.status == Status.PENDING,
            notifications.c.due_at <= at,
            notifications.c.template.in_(templates),
        )
        .order_by(notifications.c.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )


def _has_lease(leased: Notification, lease: UUID) -> tuple[ColumnElement[bool], ...]:
    """Selects the notification if it has this lease.

    A constraint of the database says that only pending notifications have one.
    """
    return (notifications.c.id == leased.id, notifications.c.lease == lease)


def _notification(row: Row[Any]) -> Notification:
    return Notification(
        id=row.id,
        user_id=UserId(row.user_id),
        channel=Channel(row.channel),
        template=Template(row.template),
        template_version=row.template_version,
        facts=row.facts,
        status=Status(row.status),
        reason=row.reason,
        round=row.round,
        created_at=row.created_at,
        waiting_since=row.waiting_since,
        due_at=row.due_at,
        sent_at=row.sent_at,
    )
