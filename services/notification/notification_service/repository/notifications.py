"""Stores notifications and their attempts.

The lock is the notification's row; only the holder of its lease writes its attempts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.database.pruning import delete_oldest
from chassis.database.statements import Command, Connection, Record, Statement, insert_rows
from chassis.types.ids import UserId
from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    Insert,
    Integer,
    ScalarSelect,
    Select,
    Text,
    Update,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import array, insert
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
class Lease:
    """The lease of a notification, with what was stored when it began."""

    id: UUID
    notification: Notification
    attempts: AttemptCounts
    """The attempts that had begun: a later one holds another lease."""
    others_are_due: bool
    """False if no other notification was due."""


def _notification(row: Record) -> Notification:
    return Notification(
        id=row["id"],
        user_id=UserId(row["user_id"]),
        channel=Channel(row["channel"]),
        template=Template(row["template"]),
        template_version=row["template_version"],
        facts=row["facts"],
        status=Status(row["status"]),
        reason=row["reason"],
        round=row["round"],
        created_at=row["created_at"],
        waiting_since=row["waiting_since"],
        due_at=row["due_at"],
        sent_at=row["sent_at"],
    )


def _are_due(templates: Iterable[Template]) -> "tuple[ColumnElement[bool], ...]":
    """Returns the conditions of rows that are due.

    Those of the partial indexes are literals, so that every plan of the prepared statement may use them.
    """
    known = array([literal_column(f"'{template}'", Text) for template in templates])
    return (
        notifications.c.status == literal_column(f"'{Status.PENDING}'"),
        notifications.c.due_at <= bindparam("at", type_=DateTime(timezone=True)),
        notifications.c.template == any_(known),
    )


def _longest_due(templates: Iterable[Template]) -> ScalarSelect[UUID]:
    """Returns the id of the row that has been due longest."""
    return (
        select(notifications.c.id)
        .where(*_are_due(templates))
        .order_by(notifications.c.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )


_ID = bindparam("notification_id", type_=Uuid)
_HAS_LEASE = (notifications.c.id == _ID, notifications.c.lease == bindparam("held", type_=Uuid))
"""Selects the notification if it has this lease. A constraint says that only pending notifications have one."""
_SAME_NAME = (
    "id",
    "user_id",
    "channel",
    "template",
    "template_version",
    "status",
    "reason",
    "created_at",
    "waiting_since",
    "due_at",
)
"""The columns of a new notification that have the names of its fields."""


def _begin_attempt() -> Insert:
    """Returns the statement that prolongs a lease and adds an attempt: it adds none if the lease is lost."""
    held = (
        update(notifications)
        .where(*_HAS_LEASE)
        .values(due_at=bindparam("until", type_=DateTime(timezone=True)))
        .returning(notifications.c.id)
        .cte("held")
    )
    last = select(func.coalesce(func.max(attempts.c.number), 0)).where(attempts.c.notification_id == _ID)
    new = select(
        held.c.id,
        last.scalar_subquery() + 1,
        bindparam("round", type_=Integer),
        bindparam("at", type_=DateTime(timezone=True)),
    )
    return insert(attempts).from_select(["notification_id", "number", "round", "at"], new)


def _release() -> Update:
    return (
        update(notifications)
        .where(*_HAS_LEASE)
        .values(
            status=bindparam("new_status", type_=Text),
            reason=bindparam("new_reason", type_=Text),
            lease=None,
            due_at=func.coalesce(bindparam("next_due_at", type_=DateTime(timezone=True)), notifications.c.due_at),
            sent_at=case(
                (bindparam("is_sent", type_=Boolean), bindparam("new_sent_at", type_=DateTime(timezone=True))),
                else_=notifications.c.sent_at,
            ),
            provider_id=case(
                (bindparam("is_sent", type_=Boolean), bindparam("new_provider_id", type_=Text)),
                else_=notifications.c.provider_id,
            ),
            facts=case(
                (bindparam("has_no_facts", type_=Boolean), literal_column("'{}'::jsonb")), else_=notifications.c.facts
            ),
        )
    )


def _end_attempt() -> Update:
    return (
        update(attempts)
        .where(attempts.c.notification_id == _ID, attempts.c.number == bindparam("number", type_=Integer))
        .values(
            outcome=bindparam("new_outcome", type_=Text),
            error=bindparam("new_error", type_=Text),
            excused=bindparam("is_excused", type_=Boolean),
        )
    )


def _conclude() -> Select[UUID]:
    """Returns the statement that ends an attempt and, if the lease is still held, stores the next state."""
    ended = _end_attempt().cte("ended")
    released = _release().returning(notifications.c.id).cte("released")
    return select(released.c.id).add_cte(ended)


def _attempts_counted(notification_id: ColumnElement[UUID], round_: ColumnElement[int]) -> Select[int, int, int]:
    return select(
        func.count().label("begun"),
        func.count().filter(_MAYBE_ACCEPTED).label("unknown"),
        func.count().filter(attempts.c.excused).label("excused"),
    ).where(attempts.c.notification_id == notification_id, attempts.c.round == round_)


def _lease_next() -> Select[Any]:
    """Returns the statement that leases a row, and says whether another one is due."""
    leased = (
        update(notifications)
        .where(notifications.c.id == func.coalesce(_longest_due(_URGENT), _longest_due(Template)))
        .values(lease=bindparam("new_lease", type_=Uuid), due_at=bindparam("until", type_=DateTime(timezone=True)))
        .returning(*notifications.c)
        .cte("leased")
    )
    counts = _attempts_counted(leased.c.id, leased.c.round).lateral("counts")
    other = (
        select(notifications.c.id)
        .where(*_are_due(Template), notifications.c.id != leased.c.id)
        .order_by(notifications.c.due_at)  # so that every plan follows notifications_due
        .limit(1)
    )
    return select(
        *leased.c,
        *counts.c,
        other.scalar_subquery().is_not(None).label("others_are_due"),
    ).join_from(leased, counts, true())


def _lease(row: Record) -> Lease:
    return Lease(
        id=row["lease"],
        notification=_notification(row),
        attempts=AttemptCounts(row["begun"], row["unknown"], row["excused"]),
        others_are_due=row["others_are_due"],
    )


_ADD_ONCE = Command(
    insert_rows(*(notifications.c[name] for name in ("cause", "facts", *_SAME_NAME))).on_conflict_do_nothing()
)
_BEGIN_ATTEMPT = Statement(_begin_attempt().returning(attempts.c.number), lambda row: int(row["number"]))
_END_ATTEMPT = Command(_end_attempt())
_RELEASE = Statement(_release().returning(notifications.c.id), lambda _: True)
_COUNT_ATTEMPTS = Statement(
    _attempts_counted(_ID, bindparam("round", type_=Integer)),
    lambda row: AttemptCounts(row["begun"], row["unknown"], row["excused"]),
)
_LEASE_NEXT = Statement(_lease_next(), _lease)
_CONCLUDE = Statement(_conclude(), lambda _: True)


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many notifications are pending and failed, and the age of the oldest pending one (0 if there is none)."""

    pending: int
    oldest_seconds: float
    failed: int


class LeaseRepository:
    """Leases notifications and records their attempts. Each method is one statement, except `end_attempt`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lease_next(self, lease: UUID, at: datetime, until: datetime) -> Lease | None:
        """Leases the notification that has been due longest until `until`; None if none is due.

        Mails that their recipients wait for come first, along notifications_urgent, then the others, along
        notifications_due. Rows that other transactions have locked are skipped, and so are templates that only a newer
        release knows: its processes send them.
        """
        return await _LEASE_NEXT.first(self._connection, new_lease=lease, at=at, until=until)

    async def begin_attempt(self, leased: Notification, lease: UUID, at: datetime, until: datetime) -> int | None:
        """Records an attempt before its message is sent. Returns its number, or None if the lease is lost."""
        return await _BEGIN_ATTEMPT.first(
            self._connection, notification_id=leased.id, held=lease, round=leased.round, at=at, until=until
        )

    async def end_attempt(self, leased: Notification, number: int, result: SendResult) -> AttemptCounts:
        """Records the result of an attempt. Returns the counts of its round, which include this result."""
        await _END_ATTEMPT.execute(self._connection, notification_id=leased.id, **_ending(number, result))
        counts = await _COUNT_ATTEMPTS.first(self._connection, notification_id=leased.id, round=leased.round)
        return counts or AttemptCounts()

    async def release(
        self, leased: Notification, lease: UUID, state: NextState, at: datetime, provider_id: str | None = None
    ) -> bool:
        """Ends the lease and stores the next state.

        Returns False and changes nothing if the lease is no longer held: a callback, an erasure or another process came
        first.
        """
        releasing = _releasing(leased, lease, state, at, provider_id)
        return await _RELEASE.first(self._connection, **releasing) is not None

    async def conclude(
        self, leased: Notification, lease: UUID, number: int, result: SendResult, state: NextState, at: datetime
    ) -> bool:
        """Records the result of an attempt, and releases as `release` does."""
        releasing = _releasing(leased, lease, state, at, result.provider_id)
        return await _CONCLUDE.first(self._connection, **_ending(number, result), **releasing) is not None


def _ending(number: int, result: SendResult) -> dict[str, object]:
    return {
        "number": number,
        "new_outcome": result.outcome,
        "new_error": result.error,
        "is_excused": result.is_excused,
    }


def _releasing(
    leased: Notification, lease: UUID, state: NextState, at: datetime, provider_id: str | None
) -> dict[str, object]:
    is_sent = state.status is Status.SENT
    return {
        "notification_id": leased.id,
        "held": lease,
        "new_status": state.status,
        "new_reason": state.reason,
        "next_due_at": state.due_at,
        "new_sent_at": at if is_sent else None,
        "is_sent": is_sent,
        "new_provider_id": provider_id,
        "has_no_facts": state.reason in (Reason.RECIPIENT_GONE, Reason.ERASED),
    }


class NotificationRepository:
    """Reads and writes notifications within one transaction."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add_once(self, new: Sequence[tuple[str, Notification]]) -> None:
        """Stores notifications with the keys of their causes.

        One is left out if there is one for its cause, channel and recipient. They are stored in the order of this key,
        so that two transactions which store the same ones wait in the same order.
        """
        rows = sorted(new, key=lambda row: (row[0], row[1].channel, row[1].user_id))
        added = [notification for _, notification in rows]
        await _ADD_ONCE.execute(
            self._transaction,
            cause=[cause for cause, _ in rows],
            facts=[dict(notification.facts) for notification in added],
            **{name: [getattr(notification, name) for notification in added] for name in _SAME_NAME},
        )

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

    async def _load(self, query: Any) -> list[Notification]:
        """Runs a query for notifications, and adds their attempts."""
        found = [_notification(row) for row in (await self._transaction.execute(query)).mappings()]
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
