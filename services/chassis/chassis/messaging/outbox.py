"""The transactional outbox: an event is stored in the transaction that caused it, then published at least once.

A published event is kept for a time in a second table, from which chassis.messaging.resend takes it again.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from datetime import datetime, timedelta
from uuid import UUID

from google.protobuf.message import Message
from prometheus_client import Counter, Gauge
from sqlalchemy import Insert, MetaData, bindparam, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import pruning, tables
from chassis.database.engine import Database
from chassis.errors import BrokerUnavailable, DatabaseUnavailable
from chassis.messaging import events
from chassis.messaging.broker import Broker
from chassis.observability import logs, tracing

BACKLOG = Gauge("outbox_backlog", "Events that are written and not yet published, counted up to 10000")
LAG = Gauge("outbox_lag_seconds", "Age of the oldest event that is not yet published")
PUBLISHED = Counter("outbox_published_total", "Events published and confirmed by the broker", ["type"])

_BATCH = 100
_POLL_SECONDS = 1.0
"""How often the relay reads the table without a wake-up.

Events of a process that has crashed wait at most this long.
"""

_BACKLOG_LIMIT = 10_000
PRUNE_INTERVAL_SECONDS = 3600.0

_outbox = tables.outbox(MetaData())
_published = tables.outbox_published(MetaData())
_OLDEST = select(_outbox).order_by(_outbox.c.sequence).limit(_BATCH).with_for_update(skip_locked=True)
_BACKLOG = select(func.count()).select_from(select(_outbox.c.sequence).limit(_BACKLOG_LIMIT).subquery())
_LAG = (
    select(func.extract("epoch", func.now() - func.coalesce(_outbox.c.resent_at, _outbox.c.recorded_at)))
    .order_by(_outbox.c.sequence)
    .limit(1)
)
"""The age of the oldest row, locked or not. A resent event waits since it was marked, not since it was recorded."""
_BACKLOG_AND_LAG = select(_BACKLOG.scalar_subquery(), func.coalesce(_LAG.scalar_subquery(), 0))


def _move_to_published() -> Insert:
    """Returns the statement that moves the rows `sequences`: each event is in exactly one of the two tables."""
    columns = ("sequence", "id", "type", "body", "recorded_at")
    moved = (
        delete(_outbox)
        .where(_outbox.c.sequence.in_(bindparam("sequences", expanding=True)))
        .returning(*(_outbox.c[name] for name in columns))
        .cte("moved")
    )
    return insert(_published).from_select(
        [*columns, "published_at"], select(*(moved.c[name] for name in columns), func.now())
    )


_MOVE = _move_to_published()

log = logs.get_logger(__name__)


class Outbox:
    """Records events in the caller's transaction, and relays them to the broker."""

    def __init__(self, database: Database, broker: Broker) -> None:
        self._database = database
        self._broker = broker
        self._woken = asyncio.Event()

    async def record(
        self, transaction: AsyncConnection, event_id: UUID, subject: str, payload: Message, at: datetime
    ) -> None:
        """Stores an event in the caller's transaction: it is published if and only if that commits."""
        event = events.Event(event_id, subject, at, payload, tracing.inject())
        await transaction.execute(insert(_outbox).values(id=event.id, type=event.type.name, body=events.encode(event)))

    def wake(self) -> None:
        """Makes the relay publish at once. Called after the commit of a transaction with events."""
        self._woken.set()

    async def relay(self) -> None:
        """Publishes for ever. Several processes may relay one table: each takes the rows that no other has locked."""
        while True:
            self._woken.clear()
            try:
                while await self._publish_batch() == _BATCH:
                    pass
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

    async def _publish_batch(self) -> int:
        """Publishes the oldest rows and returns how many, in one transaction.

        The rows are locked, published, and moved to outbox_published once the broker has confirmed all. After a crash
        they are published again.
        """
        async with self._database.begin() as transaction:
            rows = (await transaction.execute(_OLDEST)).all()
            backlog, lag = (await transaction.execute(_BACKLOG_AND_LAG)).one()
            _export(backlog, lag)  # before publishing, which fails while the broker is unavailable
            if rows:
                await _run_all(self._publish(row.type, row.id, row.body) for row in rows)
                await transaction.execute(_MOVE, {"sequences": [row.sequence for row in rows]})
        remaining = backlog - len(rows)
        _export(remaining, lag if remaining else 0)
        for row in rows:
            PUBLISHED.labels(row.type).inc()
        return len(rows)

    async def _publish(self, event_type: str, event_id: UUID, body: bytes) -> None:
        with tracing.continue_trace(f"{event_type} publish", tracing.SpanKind.PRODUCER, events.trace_of(body)):
            await self._broker.publish(event_type, event_id, body)


def _export(backlog: int, lag_seconds: float) -> None:
    BACKLOG.set(backlog)
    LAG.set(lag_seconds)


async def _run_all(coroutines: Iterable[Coroutine[None, None, None]]) -> None:
    """Runs coroutines concurrently.

    The first error cancels the others, so that none publishes a row that is unlocked again.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
