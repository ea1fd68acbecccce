"""The transactional outbox: an event is written in the transaction that caused it, and published afterwards, at least once."""

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
_IDLE_SECONDS = 1.0
"""How often the table is looked at without a hint: what a crashed process left is published this soon."""

log = logs.get_logger(__name__)


_outbox = tables.outbox(MetaData())


class Outbox:
    """Records events in the caller's transaction, and relays them to the broker."""

    def __init__(self, database: Database, broker: Broker) -> None:
        self._database = database
        self._broker = broker
        self._hint = asyncio.Event()

    async def record(
        self, transaction: AsyncConnection, event_id: UUID, subject: str, payload: Message, at: datetime
    ) -> None:
        """Part of the caller's transaction: the event exists if and only if the transaction commits."""
        event = events.Event(event_id, subject, at, payload, tracing.inject())
        await transaction.execute(insert(_outbox).values(id=event.id, type=event.type.name, body=events.encode(event)))

    def wake(self) -> None:
        """Says that a transaction with events has just committed, so that the relay need not wait."""
        self._hint.set()

    async def relay(self) -> None:
        """Publishes for ever. Several processes may relay one table: each takes rows that no other holds."""
        while True:
            self._hint.clear()
            try:
                while await self._publish_batch() == _BATCH:
                    pass
            except (BrokerUnavailable, DatabaseUnavailable) as error:
                log.warning("events wait in the outbox", reason=str(error))
            try:
                async with asyncio.timeout(_IDLE_SECONDS):
                    await self._hint.wait()
            except TimeoutError:
                continue

    async def _publish_batch(self) -> int:
        """One transaction: lock the oldest rows, publish, delete what the broker confirmed. A crash in between publishes twice."""
        oldest = select(_outbox).order_by(_outbox.c.sequence).limit(_BATCH).with_for_update(skip_locked=True)
        async with self._database.begin() as transaction:
            rows = (await transaction.execute(oldest)).all()
            backlog, lag = (await transaction.execute(_WAITING)).one()
            _show(backlog, lag)  # already now: while the broker is away nothing comes after this
            if rows:
                await _all(self._publish(row.type, row.id, row.body) for row in rows)
                await transaction.execute(delete(_outbox).where(_outbox.c.sequence.in_([row.sequence for row in rows])))
        left = backlog - len(rows)
        _show(left, lag if left else 0)
        for row in rows:
            PUBLISHED.labels(row.type).inc()
        return len(rows)

    async def _publish(self, event_type: str, event_id: UUID, body: bytes) -> None:
        with tracing.continue_trace(f"{event_type} publish", tracing.SpanKind.PRODUCER, events.trace_of(body)):
            await self._broker.publish(event_type, event_id, body)


async def _all(publishing: Iterable[Coroutine[None, None, None]]) -> None:
    """Side by side; the first that fails ends the others, so that none of them goes on when its rows are no longer locked."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in publishing:
                group.create_task(one)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


def _show(backlog: int, lag: float) -> None:
    BACKLOG.set(backlog)
    LAG.set(lag)


_WAITING = select(
    func.count(), func.coalesce(func.extract("epoch", func.now() - func.min(_outbox.c.recorded_at)), 0)
).select_from(_outbox)
