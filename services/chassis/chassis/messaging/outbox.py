"""The transactional outbox: an event is stored in the transaction that caused it, then published at least once.

The relay publishes a batch of events at once, and the events of one aggregate one after the other. An event that the
broker refuses stays, with the later ones of its aggregate; all others pass it (docs/adr/0037). A published event is
kept for a time in a second table, from which chassis.messaging.resend takes it again.
"""

import asyncio
import math
import time
from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from google.protobuf.message import Message
from prometheus_client import Counter, Gauge
from sqlalchemy import ARRAY, BigInteger, Insert, MetaData, any_, bindparam, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import pruning, tables
from chassis.database.engine import Database
from chassis.database.statements import Record, Statement
from chassis.errors import BrokerUnavailable, DatabaseUnavailable, PublishRefused
from chassis.messaging import events
from chassis.messaging.broker import Broker
from chassis.observability import logs, tracing

BACKLOG = Gauge("outbox_backlog", "Events that are written and not yet published, counted up to 10000")
LAG = Gauge("outbox_lag_seconds", "Age of the oldest event that is not yet published")
PUBLISHED = Counter("outbox_published_total", "Events published and confirmed by the broker", ["type"])

_BATCH = 200
_POLL_SECONDS = 1.0
"""How often the relay reads the table without a wake-up, measures it, and retries what the broker refused.

Events of a process that has crashed wait at most this long.
"""

_BACKLOG_LIMIT = 10_000
PRUNE_INTERVAL_SECONDS = 3600.0

_outbox = tables.outbox(MetaData())
_published = tables.outbox_published(MetaData())


@dataclass(frozen=True, slots=True)
class _Row:
    """An event in the outbox, with the aggregate that it is about, and its trace."""

    sequence: int
    id: UUID
    type: str
    body: bytes
    subject: str
    trace: dict[str, str]


def _row(record: Record) -> _Row:
    subject, trace = events.subject_and_trace_of(record["body"])
    return _Row(record["sequence"], record["id"], record["type"], record["body"], subject, trace)


def _move_to_published() -> Insert:
    """Returns the statement that moves the rows `sequences`: each event is in exactly one of the two tables."""
    columns = ("sequence", "id", "type", "body", "recorded_at")
    sequences = bindparam("sequences", type_=ARRAY(BigInteger))
    moved = (
        delete(_outbox)
        .where(_outbox.c.sequence == any_(sequences))
        .returning(*(_outbox.c[name] for name in columns))
        .cte("moved")
    )
    return insert(_published).from_select(
        [*columns, "published_at"], select(*(moved.c[name] for name in columns), func.now())
    )


_RECORD = Statement(
    insert(_outbox)
    .values(id=bindparam("id"), type=bindparam("type"), body=bindparam("body"))
    .returning(_outbox.c.sequence),
    lambda row: int(row["sequence"]),
)
_OLDEST = Statement(
    select(_outbox.c.sequence, _outbox.c.id, _outbox.c.type, _outbox.c.body)
    .where(_outbox.c.sequence > bindparam("after"))
    .order_by(_outbox.c.sequence)
    .limit(_BATCH)
    .with_for_update(skip_locked=True),
    _row,
)
_MOVE = Statement(_move_to_published().returning(_published.c.sequence), lambda row: int(row["sequence"]))
_BACKLOG = select(func.count()).select_from(select(_outbox.c.sequence).limit(_BACKLOG_LIMIT).subquery())
_LAG = (
    select(func.extract("epoch", func.now() - func.coalesce(_outbox.c.resent_at, _outbox.c.recorded_at)))
    .order_by(_outbox.c.sequence)
    .limit(1)
)
"""The age of the oldest row, locked or not. A resent event waits since it was marked, not since it was recorded."""
_BACKLOG_AND_LAG = Statement(
    select(_BACKLOG.scalar_subquery().label("backlog"), func.coalesce(_LAG.scalar_subquery(), 0).label("lag_seconds")),
    lambda row: (int(row["backlog"]), float(row["lag_seconds"])),
)

_HAS_RECORDED: ContextVar[bool] = ContextVar("has_recorded", default=False)
"""True in a task that has recorded an event and has not woken the relay for it."""

log = logs.get_logger(__name__)


@dataclass(slots=True)
class _Refusals:
    """The aggregates of which the broker refused an event, and the row up to which the outbox was read since then."""

    subjects: set[str] = field(default_factory=set)
    after: int = 0
    retry_at: float = math.inf

    def pass_over(self, rows: Sequence[_Row], refused: Iterable[str]) -> None:
        """Makes the next batch begin behind these rows, if any of them stays."""
        self.subjects.update(refused)
        if self.subjects:
            self.after = rows[-1].sequence


@dataclass(slots=True)
class _Batch:
    """What the broker did with the rows of a batch."""

    confirmed: list[_Row] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    outage: BrokerUnavailable | None = None


class Outbox:
    """Records events in the caller's transaction, and relays them to the broker."""

    def __init__(self, database: Database, broker: Broker) -> None:
        self._database = database
        self._broker = broker
        self._woken = asyncio.Event()
        self._refusals = _Refusals()
        self._backlog = 0
        self._measured_at = -math.inf

    async def record(
        self, transaction: AsyncConnection, event_id: UUID, subject: str, payload: Message, at: datetime
    ) -> None:
        """Stores an event in the caller's transaction: it is published if and only if that commits."""
        event = events.Event(event_id, subject, at, payload, tracing.inject())
        await _RECORD.first(transaction, id=event.id, type=event.type.name, body=events.encode(event))
        _HAS_RECORDED.set(True)

    def wake(self) -> None:
        """Makes the relay publish at once. Called after the commit of a transaction with events."""
        self._woken.set()

    def wake_if_recorded(self) -> None:
        """Does what `wake` does, if this task has recorded an event since it was called last.

        Most events have no effect that records another one. The relay would read an empty outbox for each of them.
        """
        if _HAS_RECORDED.get():
            _HAS_RECORDED.set(False)
            self.wake()

    async def relay(self) -> None:
        """Publishes for ever. Several processes may relay one table: each takes the rows that no other has locked."""
        while True:
            self._woken.clear()
            try:
                await self._publish_waiting()
            except (BrokerUnavailable, DatabaseUnavailable) as error:
                log.warning("events wait in the outbox", reason=str(error))
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def prune(self, retention: timedelta) -> None:
        """Deletes the events that were published longer ago than `retention`, along outbox_published_by_age."""

        async def prune_batch(transaction: AsyncConnection, limit: int) -> int:
            published_at = _published.c.published_at
            oldest = pruning.delete_oldest(published_at, func.now() - retention, limit)
            return (await transaction.execute(oldest)).rowcount

        await pruning.prune_in_batches(self._database, prune_batch)

    async def _publish_waiting(self) -> None:
        """Publishes the rows that wait now. Those that the broker refused are retried once in _POLL_SECONDS.

        A row may become visible behind a later one: while rows are refused, it is read with their next retry.
        """
        if time.monotonic() >= self._refusals.retry_at:
            self._refusals = _Refusals()
        try:
            while await self._publish_batch() == _BATCH:
                pass
        finally:
            if self._refusals.subjects and self._refusals.retry_at == math.inf:
                self._refusals.retry_at = time.monotonic() + _POLL_SECONDS

    async def _publish_batch(self) -> int:
        """Publishes the oldest rows and returns how many were read, in one transaction.

        The rows are locked, published, and those that the broker has confirmed are moved to outbox_published. After a
        crash they are published again.
        """
        async with self._database.begin() as transaction:
            rows = await _OLDEST.all(transaction, after=self._refusals.after)
            await self._measure(transaction)  # before publishing, which fails while the broker is unavailable
            batch = await self._publish_all(rows)
            if batch.confirmed:
                await _MOVE.all(transaction, sequences=[row.sequence for row in batch.confirmed])
        self._count(batch.confirmed)
        if batch.outage is not None:
            raise batch.outage
        if rows:
            self._refusals.pass_over(rows, batch.refused)
        return len(rows)

    async def _publish_all(self, rows: Sequence[_Row]) -> _Batch:
        """Publishes rows, those of different aggregates at the same time.

        An outage cancels what is not confirmed, so that no row is published once it is unlocked again.
        """
        batch, aggregates = _Batch(), dict[str, list[_Row]]()
        for row in rows:
            if row.subject not in self._refusals.subjects:
                aggregates.setdefault(row.subject, []).append(row)
        try:
            async with asyncio.TaskGroup() as group:
                for of_aggregate in aggregates.values():
                    group.create_task(self._publish_in_turn(of_aggregate, batch))
        except* BrokerUnavailable as outage:
            batch.outage = BrokerUnavailable(str(outage.exceptions[0]))
        return batch

    async def _publish_in_turn(self, rows: Sequence[_Row], batch: _Batch) -> None:
        """Publishes the rows of one aggregate, each after the one before was confirmed, up to a refused one."""
        for row in rows:
            try:
                with tracing.continue_trace(f"{row.type} publish", tracing.SpanKind.PRODUCER, row.trace):
                    await self._broker.publish(row.type, row.id, row.body)
            except PublishRefused as error:
                log.warning(
                    "an event stays in the outbox", event_type=row.type, event_id=str(row.id), reason=str(error)
                )
                batch.refused.add(row.subject)
                return
            batch.confirmed.append(row)

    async def _measure(self, transaction: AsyncConnection) -> None:
        """Exports the backlog and its lag, once in _POLL_SECONDS: counting a long backlog takes long."""
        if time.monotonic() < self._measured_at + _POLL_SECONDS:
            return
        measured = await _BACKLOG_AND_LAG.first(transaction)
        self._measured_at = time.monotonic()
        if measured is not None:
            self._backlog, lag_seconds = measured
            BACKLOG.set(self._backlog)
            LAG.set(lag_seconds)

    def _count(self, confirmed: Sequence[_Row]) -> None:
        """Exports what was published, and what is left of the backlog since it was measured."""
        for event_type, count in Tally(row.type for row in confirmed).items():
            PUBLISHED.labels(event_type).inc(count)
        self._backlog = max(0, self._backlog - len(confirmed))
        BACKLOG.set(self._backlog)
        if self._backlog == 0:
            LAG.set(0)
