"""The transactional outbox: an event is stored in the transaction that caused it, then published at least once.

The relay publishes what its process has committed, without reading it again, and reads the table for what is left: by a
process that has crashed, by an outage of the broker, or by the command that resends events (docs/adr/0073). It
publishes a batch of events at once, and the events of one aggregate one after the other. An event that the broker
refuses stays, with the later ones of its aggregate; all others pass it (docs/adr/0037). A published event is kept for a
time in a second table, from which chassis.messaging.resend takes it again.
"""

import asyncio
import math
import time
from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from google.protobuf.message import Message
from prometheus_client import Counter, Gauge
from sqlalchemy import ARRAY, BigInteger, Insert, Interval, MetaData, any_, bindparam, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import pruning, tables
from chassis.database.engine import Database
from chassis.database.statements import Command, Record, Statement
from chassis.database.transactions import call_after_commit
from chassis.errors import BrokerUnavailable, DatabaseUnavailable, PublishRefused
from chassis.messaging import events
from chassis.messaging.broker import Broker
from chassis.observability import logs, tracing

BACKLOG = Gauge("outbox_backlog", "Events that are written and not yet published, counted up to 10000")
LAG = Gauge("outbox_lag_seconds", "Age of the oldest event that is not yet published")
PUBLISHED = Counter("outbox_published_total", "Events published and confirmed by the broker", ["type"])

_BATCH = 200
_POLL_SECONDS = 1.0
"""How often the relay measures the table, reads what waits in it, and retries what the broker refused.

It leaves younger events to the process that has recorded them, except in a retry: those of a process that has crashed
wait for twice as long at most.
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
    trace: Mapping[str, str]


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
    .where(
        _outbox.c.sequence > bindparam("after"),
        _outbox.c.recorded_at <= func.now() - bindparam("min_age", type_=Interval),
    )
    .order_by(_outbox.c.sequence)
    .limit(_BATCH)
    .with_for_update(skip_locked=True),
    _row,
)
_MOVE = Command(_move_to_published())
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

log = logs.get_logger(__name__)


@dataclass(slots=True)
class _Refusals:
    """The aggregates of which the broker refused an event, and the row up to which the outbox was read since then."""

    subjects: set[str] = field(default_factory=set)
    after: int = 0
    retry_at: float = math.inf

    def add(self, subjects: Iterable[str]) -> None:
        self.subjects.update(subjects)
        if self.subjects and self.retry_at == math.inf:
            self.retry_at = time.monotonic() + _POLL_SECONDS

    def pass_over(self, rows: Sequence[_Row]) -> None:
        """Makes the next batch begin behind these rows, if any of them stays."""
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
        self._is_relaying = False
        self._committed: dict[int, _Row] = {}
        """What this process has committed and not published, by sequence; empty if it does not relay."""
        self._is_behind = True
        """True while the table may have events that must be published before those that are committed next."""
        self._read_at = -math.inf
        self._refusals = _Refusals()

    async def record(
        self, transaction: AsyncConnection, event_id: UUID, subject: str, payload: Message, at: datetime
    ) -> None:
        """Stores an event in the caller's transaction: it is published if and only if that commits.

        The commit wakes the relay.
        """
        trace = tracing.inject()
        event = events.Event(event_id, subject, at, payload, trace)
        body = events.encode(event)
        sequence = await _RECORD.one(transaction, id=event.id, type=event.type.name, body=body)
        row = _Row(sequence, event.id, event.type.name, body, subject, trace)
        call_after_commit(transaction, partial(self._publish_soon, row))

    def _publish_soon(self, row: _Row) -> None:
        if self._is_relaying:
            self._committed[row.sequence] = row
            self._woken.set()

    async def relay(self) -> None:
        """Publishes for ever.

        Several processes may relay one table. Each publishes what it has committed, and of the rest the rows that no
        other has locked.
        """
        self._is_relaying = True
        try:
            while True:
                await self._publish_due()
                await self._wait()
        finally:
            self._is_relaying = False
            self._is_behind = True  # until the next relay has read what is recorded before it starts
            self._committed.clear()

    async def _publish_due(self) -> None:
        self._woken.clear()
        try:
            await self._publish_committed()
            if time.monotonic() >= self._read_at:
                self._read_at = time.monotonic() + _POLL_SECONDS
                await self._publish_waiting()
        except (BrokerUnavailable, DatabaseUnavailable) as error:
            log.warning("events wait in the outbox", reason=str(error))

    async def _wait(self) -> None:
        """Waits for a commit, or until the table is read again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._read_at - time.monotonic())):
                await self._woken.wait()

    async def prune(self, retention: timedelta) -> None:
        """Deletes the events that were published longer ago than `retention`, along outbox_published_by_age."""

        async def prune_batch(transaction: AsyncConnection, limit: int) -> int:
            published_at = _published.c.published_at
            oldest = pruning.delete_oldest(published_at, func.now() - retention, limit)
            return (await transaction.execute(oldest)).rowcount

        await pruning.prune_in_batches(self._database, prune_batch)

    async def _publish_committed(self) -> None:
        """Publishes what this process has committed since the last time, and moves what the broker has confirmed.

        Nothing is locked: a relay of another process leaves events alone that are so young, unless it retries a refused
        one. After an outage all events are read from the table, until no older one waits there.
        """
        if self._is_behind:
            self._committed.clear()
        rows = [self._committed.pop(sequence) for sequence in sorted(self._committed)[:_BATCH]]
        if not rows:
            return
        self._is_behind = True  # until it is certain that nothing has failed
        batch = await self._publish_all(rows)
        if batch.confirmed:
            async with self._database.autocommit() as connection:
                await _MOVE.execute(connection, sequences=[row.sequence for row in batch.confirmed])
        self._conclude(batch)
        self._is_behind = False
        if self._committed:
            self._woken.set()

    async def _publish_waiting(self) -> None:
        """Publishes the rows that wait in the table. Those that the broker refused are retried once in _POLL_SECONDS.

        While rows are refused, each batch begins behind the one before. A row that is committed late may have a lower
        sequence: the next retry reads it, because it begins with the oldest row. A retry also reads rows that are
        younger than _POLL_SECONDS, because they may follow a refused row of their aggregate. The process that has
        committed such a row may publish it as well, so that it is published twice.
        """
        if time.monotonic() >= self._refusals.retry_at:
            self._refusals = _Refusals()
            self._is_behind = True
        waits = await self._measure() > 0  # before publishing, which fails while the broker is unavailable
        while waits:
            waits = await self._publish_batch() == _BATCH
            await self._measure()
        self._is_behind = False

    async def _publish_batch(self) -> int:
        """Publishes the oldest rows and returns how many were read, in one transaction.

        The rows are locked, published, and those that the broker has confirmed are moved to outbox_published. After a
        crash they are published again.
        """
        min_age = timedelta() if self._is_behind else timedelta(seconds=_POLL_SECONDS)
        async with self._database.begin() as transaction:
            rows = await _OLDEST.all(transaction, after=self._refusals.after, min_age=min_age)
            batch = await self._publish_all(rows)
            if batch.confirmed:
                await _MOVE.execute(transaction, sequences=[row.sequence for row in batch.confirmed])
        for row in batch.confirmed:
            self._committed.pop(row.sequence, None)
        self._conclude(batch)
        if rows:
            self._refusals.pass_over(rows)
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

    async def _measure(self) -> int:
        """Exports the backlog and its lag, and returns the backlog."""
        async with self._database.read() as connection:
            backlog, lag_seconds = await _BACKLOG_AND_LAG.one(connection)
        BACKLOG.set(backlog)
        LAG.set(lag_seconds)
        return backlog

    def _conclude(self, batch: _Batch) -> None:
        """Exports what was published, and remembers what was refused.

        Raises BrokerUnavailable if an outage ended the batch.
        """
        for event_type, count in Tally(row.type for row in batch.confirmed).items():
            PUBLISHED.labels(event_type).inc(count)
        self._refusals.add(batch.refused)
        if batch.outage is not None:
            self._is_behind = True
            raise batch.outage
