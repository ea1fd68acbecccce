"""The inbox: an event takes effect once, however often it is delivered, because its id is stored with its effect.

Events that wait at the same time take effect in one transaction, or none of them does (docs/adr/0037).
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.message import Message
from prometheus_client import Counter
from sqlalchemy import ARRAY, MetaData, Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import pruning, tables
from chassis.database.engine import Database
from chassis.database.statements import Statement
from chassis.errors import UnknownEvent
from chassis.messaging.events import Event
from chassis.messaging.topology import load_topology
from chassis.observability import logs, tracing

CONSUMED = Counter("inbox_consumed_total", "Events that took effect, or had been received before", ["type", "outcome"])

RETENTION = timedelta(days=30)
"""How long a redelivery is recognized.

It is longer than operators leave dead letters before requeueing them, and than any producer keeps published events, so
that an event that is resent (chassis.messaging.resend) has no effect a second time.
"""
PRUNE_INTERVAL_SECONDS = 86_400.0

_inbox = tables.inbox(MetaData())
_STORE_IDS = Statement(
    insert(_inbox)
    .from_select(["event_id"], select(func.unnest(bindparam("ids", type_=ARRAY(Uuid)))))
    .on_conflict_do_nothing()
    .returning(_inbox.c.event_id),
    lambda row: row["event_id"],
)
"""Returns the ids that were new. They are stored in the given order, which is the same in all processes."""
_LIMIT_LOCK_WAITS = Statement(select(func.set_config("lock_timeout", "50ms", True)), lambda _: None)
"""A batch that waits for a lock ends, and its events take effect one by one.

It holds the locks of several aggregates. If it waited long for another, so would the requests that wait for it, and the
two might wait for each other: PostgreSQL looks for such a deadlock after a second (`deadlock_timeout`), and then ends
one of the two, whichever it is.
"""
_P = TypeVar("_P", bound=Message)

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EventHandler:
    """The effect of one event type, applied in the transaction that also stores the event's id.

    Created by `handles`.
    """

    event_type: str
    apply: Callable[[AsyncConnection, Any], Awaitable[None]]
    apply_all: Callable[[AsyncConnection, Sequence[Any]], Awaitable[None]] | None
    is_batched: bool


def handles(
    payload: type[_P],
    apply: Callable[[AsyncConnection, _P], Awaitable[None]],
    *,
    apply_all: Callable[[AsyncConnection, Sequence[Any]], Awaitable[None]] | None = None,
    is_batched: bool = True,
) -> EventHandler:
    """Returns the handler of the event type that has this payload.

    `apply_all` does the same for several events with fewer statements; handlers that share it get the payloads of their
    events together. A handler that calls another server is not `is_batched`: it would hold the locks of a whole batch.
    """
    return EventHandler(load_topology().type_of(payload()).name, apply, apply_all, is_batched)


class Inbox:
    """Applies each event that a service receives exactly once."""

    def __init__(
        self,
        service: str,
        database: Database,
        handlers: Sequence[EventHandler],
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_commit` is called after the commit of each event's effect.

        Raises ValueError unless there is a handler for each event type that the topology sends to this service.
        """
        self._database = database
        self._on_commit = on_commit
        self._handlers = {handler.event_type: handler for handler in handlers}
        if set(self._handlers) != set(load_topology().consumed_by(service)):
            raise ValueError(
                f"{service} handles {sorted(self._handlers)}, but shopapi/topology.toml sends it other event types"
            )

    async def receive(self, event: Event) -> None:
        """Applies an event, unless it was applied before.

        Raises UnknownEvent, and whatever the handler raises. Then nothing is stored, and the broker delivers again.
        """
        handler = self._handlers.get(event.type.name)
        if handler is None:
            raise UnknownEvent(f"{event.type.name} is not for this service")
        async with self._database.begin() as transaction:
            is_new = bool(await _STORE_IDS.all(transaction, ids=[event.id]))
            if is_new:
                await handler.apply(transaction, event.payload)
        if is_new:
            self._on_commit()
        _report(event, is_new)

    async def receive_batch(self, batch: Sequence[Event]) -> Sequence[Event]:
        """Applies events in one transaction, except those that were applied before.

        Returns the events that must be received alone. Raises whatever a handler raises: then none was applied.
        """
        batched = [event for event in batch if self._is_batched(event)]
        if len(batched) < 2:
            return batch
        with ExitStack() as traces:
            received = [_Received(event, traces.enter_context(_trace_of(event))) for event in batched]
            async with self._database.begin() as transaction:
                await _LIMIT_LOCK_WAITS.all(transaction)
                new = set(await _STORE_IDS.all(transaction, ids=sorted(event.id for event in batched)))
                await self._apply(transaction, _first_of_each(received, new))
            if new:
                self._on_commit()
            for delivery in received:
                with delivery.trace.current():
                    _report(delivery.event, delivery.event.id in new)
                new.discard(delivery.event.id)
        return [event for event in batch if not self._is_batched(event)]

    async def prune(self) -> None:
        """Deletes the ids of events that were received longer ago than RETENTION, along inbox_by_age."""

        async def prune_batch(transaction: AsyncConnection, limit: int) -> int:
            oldest = pruning.delete_oldest(_inbox.c.received_at, func.now() - RETENTION, limit)
            return (await transaction.execute(oldest)).rowcount

        await pruning.prune_in_batches(self._database, prune_batch)

    def _is_batched(self, event: Event) -> bool:
        handler = self._handlers.get(event.type.name)
        return handler is not None and handler.is_batched

    async def _apply(self, transaction: AsyncConnection, received: "Sequence[_Received]") -> None:
        """Applies events in their sequence. Neighbours whose handlers share `apply_all` are applied together."""

        def by_function(delivery: _Received) -> object:
            return self._handlers[delivery.event.type.name].apply_all

        for apply_all, neighbours in groupby(received, by_function):
            together = list(neighbours)
            if callable(apply_all):
                with together[0].trace.current():
                    await apply_all(transaction, [delivery.event.payload for delivery in together])
                continue
            for delivery in together:
                with delivery.trace.current():
                    await self._handlers[delivery.event.type.name].apply(transaction, delivery.event.payload)


@dataclass(frozen=True, slots=True)
class _Received:
    """An event of a batch, and the trace that its effect continues."""

    event: Event
    trace: tracing.ContinuedTrace


def _trace_of(event: Event) -> AbstractContextManager[tracing.ContinuedTrace]:
    return tracing.continued_trace(f"{event.type.name} process", tracing.SpanKind.CONSUMER, event.trace)


def _first_of_each(received: Sequence[_Received], new: Iterable[UUID]) -> list[_Received]:
    """Returns the events with these ids, each once: a batch may have one event several times."""
    left, first = set(new), []
    for delivery in received:
        if delivery.event.id in left:
            left.discard(delivery.event.id)
            first.append(delivery)
    return first


def _report(event: Event, is_new: bool) -> None:
    CONSUMED.labels(event.type.name, "applied" if is_new else "duplicate").inc()
    log.info(
        "event received",
        event_type=event.type.name,
        event_id=str(event.id),
        subject=event.subject,
        duplicate=not is_new,
    )
