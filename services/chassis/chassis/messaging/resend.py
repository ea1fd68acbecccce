"""Publishes events again that the broker had confirmed and then lost: `python -m <package> resend`.

The events keep their ids, so a consumer that has received one ignores it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, MetaData, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import tables
from chassis.database.engine import Database
from chassis.errors import ResendRefused
from chassis.messaging.inbox import RETENTION as INBOX_RETENTION
from chassis.messaging.topology import load_topology

MAX_AGE = INBOX_RETENTION - timedelta(days=1)
"""The greatest age of an event that is resent.

A day less than consumers remember it: enough for it to wait in the outbox and in a queue, and to be retried.
"""
_BATCH = 1000

_outbox = tables.outbox(MetaData())
_published = tables.outbox_published(MetaData())


@dataclass(frozen=True, slots=True)
class Selection:
    """The events that are resent: confirmed by the broker from `since` until before `until`, of one type or of all."""

    since: datetime
    until: datetime
    event_type: str | None = None

    def validate(self, service: str, now: datetime) -> None:
        """Raises ResendRefused unless the events are the service's own and every consumer still knows their ids."""
        produced = load_topology().produced_by(service)
        if not produced:
            raise ResendRefused(f"{service} publishes no events")
        if self.event_type is not None and self.event_type not in produced:
            raise ResendRefused(f"{service} does not publish {self.event_type}: choose from {', '.join(produced)}")
        if self.since >= self.until:
            raise ResendRefused(f"--since {self.since.isoformat()} is not before --until {self.until.isoformat()}")
        oldest = now - MAX_AGE
        if self.since < oldest:
            raise ResendRefused(
                f"--since {self.since.isoformat()} is too long ago: consumers forget events after "
                f"{INBOX_RETENTION.days} days and would apply them twice; choose a time after "
                f"{oldest.isoformat(timespec='seconds')}"
            )


async def resend(database: Database, selection: Selection) -> AsyncIterator[int]:
    """Moves the selected events back into the outbox, from which the relay publishes them, the oldest first.

    Yields the number of events after each transaction. Idempotent: it can be stopped anywhere and run again. Raises
    DatabaseUnavailable.
    """
    moved = _BATCH
    while moved == _BATCH:
        async with database.begin() as transaction:
            moved = await _move_back(transaction, selection)
        yield moved


async def _move_back(transaction: AsyncConnection, selection: Selection) -> int:
    """Moves the next events in one statement, along outbox_published_by_age, and returns how many.

    It leaves an event that was recorded longer ago than MAX_AGE, whenever it was published last.
    """
    published_at, sequence = _published.c.published_at, _published.c.sequence
    chosen = select(sequence).where(*_conditions(selection)).order_by(published_at, sequence).limit(_BATCH)
    taken = (
        delete(_published)
        .where(sequence == func.any(func.array(chosen.with_for_update(skip_locked=True).scalar_subquery())))
        .returning(sequence, *(_published.c[name] for name in ("id", "type", "body", "recorded_at")))
        .cte("taken")
    )
    again = select(taken.c.id, taken.c.type, taken.c.body, taken.c.recorded_at, func.now()).order_by(taken.c.sequence)
    columns = ["id", "type", "body", "recorded_at", "resent_at"]
    return (await transaction.execute(insert(_outbox).from_select(columns, again))).rowcount


def _conditions(selection: Selection) -> list[ColumnElement[bool]]:
    published_at = _published.c.published_at
    conditions = [
        published_at >= selection.since,
        published_at < selection.until,
        _published.c.recorded_at > func.now() - MAX_AGE,
    ]
    if selection.event_type is not None:
        conditions.append(_published.c.type == selection.event_type)
    return conditions
