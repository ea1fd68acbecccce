"""Statements on notifications and their attempts. Locks: a notification's row; its attempts belong to whoever has its lease."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.types.ids import UserId
from sqlalchemy import ColumnElement, Row, ScalarSelect, and_, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from notification_service.domain.delivery import Outcome, Result, Tries, Verdict
from notification_service.domain.notifications import (
    Attempt,
    Channel,
    Kind,
    Notification,
    Reason,
    Status,
    Template,
)
from notification_service.repository.tables import attempts, notifications

_NO_FACTS: dict[str, object] = {}
_MAY_BE_TAKEN = or_(attempts.c.outcome.is_(None), attempts.c.outcome == Result.UNKNOWN)
_URGENT = [template for template in Template if template.kind is Kind.SECURITY]


@dataclass(frozen=True, slots=True)
class Backlog:
    pending: int
    oldest_seconds: float
    dead: int


class NotificationRepository:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add_once(self, notification: Notification, cause: str) -> bool:
        """Whether it is new: one that is there already for this cause, channel and recipient stays as it is."""
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

    async def lease(self, lease: UUID, at: datetime, until: datetime) -> tuple[Notification, Tries] | None:
        """What protects an account first, along notifications_urgent, then the others, along notifications_due; of each the one
        that is due longest. Nobody else gets it before `until`. What others have locked is passed by, and so are templates that
        only a newer release knows: its processes send them.
        """
        due = func.coalesce(_due_longest(_URGENT, at), _due_longest(list(Template), at))
        taken = update(notifications).where(notifications.c.id == due).values(lease=lease, due_at=until)
        row = (await self._transaction.execute(taken.returning(*notifications.c))).one_or_none()
        if row is None:
            return None
        return _notification(row), await self._tries(row.id, row.round)

    async def begin_attempt(self, leased: Notification, lease: UUID, at: datetime, until: datetime) -> int | None:
        """Writes down that a message is about to be handed over, before it is. None where the lease is no longer ours."""
        ours = update(notifications).where(*_ours(leased, lease)).values(due_at=until).returning(notifications.c.id)
        if (await self._transaction.execute(ours)).first() is None:
            return None
        last = select(func.coalesce(func.max(attempts.c.number), 0)).where(attempts.c.notification_id == leased.id)
        new = insert(attempts).values(
            notification_id=leased.id, number=last.scalar_subquery() + 1, round=leased.round, at=at
        )
        number: int = (await self._transaction.execute(new.returning(attempts.c.number))).scalar_one()
        return number

    async def end_attempt(self, leased: Notification, number: int, outcome: Outcome) -> Tries:
        """Writes down how an attempt ended; gives the tries of its round, this one counted as what it was."""
        this = (attempts.c.notification_id == leased.id, attempts.c.number == number)
        ended = (
            update(attempts)
            .where(*this)
            .values(outcome=outcome.result, error=outcome.error, excused=outcome.is_excused)
        )
        await self._transaction.execute(ended)
        return await self._tries(leased.id, leased.round)

    async def settle(
        self, leased: Notification, lease: UUID, verdict: Verdict, at: datetime, provider_id: str | None = None
    ) -> bool:
        """Ends the lease. False where it was no longer ours: a callback, an erasure or another process came first."""
        values: dict[str, Any] = {"status": verdict.status, "reason": verdict.reason, "lease": None}
        if verdict.due_at is not None:
            values["due_at"] = verdict.due_at
        if verdict.status is Status.SENT:
            values |= {"sent_at": at, "provider_id": provider_id}
        if verdict.reason in (Reason.RECIPIENT_GONE, Reason.ERASED):
            values["facts"] = _NO_FACTS
        settled = update(notifications).where(*_ours(leased, lease)).values(**values).returning(notifications.c.id)
        return (await self._transaction.execute(settled)).first() is not None

    async def erase(self, user_id: UserId) -> None:
        """Blanks what was told to a user, with the ids that lead back to number and text at a provider, and calls off what was
        not told yet. Along notifications_of_a_user.
        """
        theirs = notifications.c.user_id == user_id
        await self._transaction.execute(update(notifications).where(theirs).values(facts=_NO_FACTS, provider_id=None))
        called_off = {"status": Status.CANCELLED, "reason": Reason.ERASED, "lease": None}
        await self._transaction.execute(
            update(notifications).where(theirs, notifications.c.status == Status.PENDING).values(**called_off)
        )

    async def confirm(self, notification_id: UUID, at: datetime) -> None:
        """The carrier says that it arrived. One that is not yet known to be sent was, and what was lost is found; what is over
        for another reason stays as it is.
        """
        may_arrive = or_(
            notifications.c.status.in_([Status.PENDING, Status.SENT]), notifications.c.reason == Reason.UNDELIVERED
        )
        sent_at = func.coalesce(notifications.c.sent_at, at)
        arrived = {"status": Status.DELIVERED, "reason": None, "lease": None, "sent_at": sent_at}
        await self._transaction.execute(
            update(notifications).where(notifications.c.id == notification_id, may_arrive).values(**arrived)
        )

    async def give_up(self, notification_id: UUID, provider_id: str) -> None:
        """The carrier says that this message will not arrive. It must be the one that we know to be sent or, where we know none
        yet, one that this round may have handed over.
        """
        in_hand = exists().where(
            attempts.c.notification_id == notifications.c.id, attempts.c.round == notifications.c.round, _MAY_BE_TAKEN
        )
        is_last = or_(notifications.c.provider_id.is_(None), notifications.c.provider_id == provider_id)
        may_be_lost = or_(
            notifications.c.status == Status.SENT, and_(notifications.c.status == Status.PENDING, in_hand)
        )
        failed = {"status": Status.FAILED, "reason": Reason.UNDELIVERED, "lease": None}
        await self._transaction.execute(
            update(notifications).where(notifications.c.id == notification_id, is_last, may_be_lost).values(**failed)
        )

    async def lock(self, notification_id: UUID) -> Notification | None:
        """By primary key, its row locked."""
        found = await self._all(select(notifications).where(notifications.c.id == notification_id).with_for_update())
        return found[0] if found else None

    async def revive(self, notification_id: UUID, at: datetime) -> None:
        """A new round, due now. The row must be locked."""
        changed = {"status": Status.PENDING, "reason": None, "sent_at": None, "provider_id": None}
        new_round = {"round": notifications.c.round + 1, "waiting_since": at, "due_at": at}
        await self._transaction.execute(
            update(notifications).where(notifications.c.id == notification_id).values(**changed, **new_round)
        )

    async def page_of(self, user_id: UserId, offset: int, limit: int) -> tuple[list[Notification], int]:
        """What one user was told, newest first, along notifications_of_a_user; and how much that is."""
        return await self._page(notifications.c.user_id == user_id, offset, limit)

    async def page_of_dead(self, offset: int, limit: int) -> tuple[list[Notification], int]:
        """What failed for good, newest first, along notifications_dead; and how much that is."""
        return await self._page(notifications.c.status == Status.FAILED, offset, limit)

    async def backlog(self, at: datetime) -> Backlog:
        """Along notifications_due and notifications_dead."""
        waiting = select(func.count(), func.min(notifications.c.waiting_since)).where(
            notifications.c.status == Status.PENDING
        )
        pending, oldest = (await self._transaction.execute(waiting)).one()
        dead = select(func.count()).where(notifications.c.status == Status.FAILED).select_from(notifications)
        age = 0.0 if oldest is None else max(0.0, (at - oldest).total_seconds())
        return Backlog(pending, age, await self._transaction.scalar(dead) or 0)

    async def prune(self, before: datetime, limit: int) -> int:
        """Deletes what is over and older, with its attempts, along notifications_by_age; says how many."""
        old = (
            select(notifications.c.id)
            .where(notifications.c.status != Status.PENDING, notifications.c.created_at < before)
            .order_by(notifications.c.created_at)
            .limit(limit)
        )
        deleted = delete(notifications).where(notifications.c.id.in_(old)).returning(notifications.c.id)
        return len((await self._transaction.execute(deleted)).all())

    async def _tries(self, notification_id: UUID, round_: int) -> Tries:
        wanted = select(
            func.count(), func.count().filter(_MAY_BE_TAKEN), func.count().filter(attempts.c.excused)
        ).where(attempts.c.notification_id == notification_id, attempts.c.round == round_)
        return Tries(*(await self._transaction.execute(wanted)).one())

    async def _page(self, which: ColumnElement[bool], offset: int, limit: int) -> tuple[list[Notification], int]:
        total = await self._transaction.scalar(select(func.count()).select_from(notifications).where(which))
        wanted = select(notifications).where(which).order_by(notifications.c.id.desc()).offset(offset).limit(limit)
        return await self._all(wanted), total or 0

    async def _all(self, wanted: Any) -> list[Notification]:
        found = [_notification(row) for row in await self._transaction.execute(wanted)]
        tried: dict[UUID, list[Attempt]] = {notification.id: [] for notification in found}
        theirs = select(attempts).where(attempts.c.notification_id.in_(list(tried))).order_by(attempts.c.number)
        for row in await self._transaction.execute(theirs):
            tried[row.notification_id].append(Attempt(row.number, row.at, row.outcome, row.error))
        return [replace(notification, attempts=tuple(tried[notification.id])) for notification in found]


def _due_longest(templates: Sequence[Template], at: datetime) -> ScalarSelect[UUID]:
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


def _ours(leased: Notification, lease: UUID) -> tuple[ColumnElement[bool], ...]:
    """Only what is pending has a lease (the database holds that): whoever ends the one ends the other."""
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
