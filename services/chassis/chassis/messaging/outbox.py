"""The transactional outbox: an event is stored in the transaction that caused it, then published at least once."""

import asyncio
from collections.abc import Coroutine, Iterable
from datetime import datetime
from uuid import UUID

from google.protobuf.message import Message
from prometheus_client import Counter, Gauge
from sqlalchemy import MetaData, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import tables
from chassis.database.engine import Database
from chassis.errors import BrokerUnavailable, DatabaseUnavailable
from chassis.messaging import events
from chassis.messaging.broker import Broker
from chassis.observability import logs, tracing

BACKLOG = Gauge("outbox_backlog", "Events that are written and not yet published")
LAG = Gauge("outbox_lag_seconds", "Age of the oldest event that is not yet published")
PUBLISHED = Counter("outbox_published_total", "Events published and confirmed by the broker", ["type"])

_BATCH = 100
_POLL_SECONDS = 1.0
"""How often the relay reads the table without a wake-up.

Events of a process that has crashed wait at most this long.
"""

_outbox = tables.outbox(MetaData())
_BACKLOG_AND_LAG = select(
    func.count(), func.coalesce(func.extract("epoch", func.now() - func.min(_outbox.c.recorded_at)), 0)
).select_from(_outbox)

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

    async def _publish_batch(self) -> int:
        """Publishes the oldest rows and returns how many, in one transaction.

        The rows are locked, published, and deleted once the broker has confirmed all. After a crash they are published
        again.
        """
        oldest = select(_outbox).order_by(_outbox.c.sequence).limit(_BATCH).with_for_update(skip_locked=True)
        async with self._database.begin() as transaction:
            rows = (await transaction.execute(oldest)).all()
            backlog, lag = (await transaction.execute(_BACKLOG_AND_LAG)).one()
            _export(backlog, lag)  # before publishing, which fails while the broker is unavailable
            if rows:
                await _run_all(self._publish(row.type, row.id, row.body) for row in rows)
                await transaction.execute(delete(_outbox).where(_outbox.c.sequence.in_([row.sequence for row in rows])))
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
