"""The inbox: an event takes effect once, however often it is delivered, because its id is stored with its effect."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from google.protobuf.message import Message
from prometheus_client import Counter
from sqlalchemy import MetaData, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import pruning, tables
from chassis.database.engine import Database
from chassis.errors import UnknownEvent
from chassis.messaging.events import Event
from chassis.messaging.topology import load_topology
from chassis.observability import logs

CONSUMED = Counter("inbox_consumed_total", "Events that took effect, or had been received before", ["type", "outcome"])

RETENTION = timedelta(days=30)
"""How long a redelivery is recognized.

It is longer than operators leave dead letters before requeueing them, and than any producer keeps published events, so
that an event that is resent (chassis.messaging.resend) has no effect a second time.
"""
PRUNE_INTERVAL_SECONDS = 86_400.0

_inbox = tables.inbox(MetaData())
_P = TypeVar("_P", bound=Message)

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EventHandler:
    """The effect of one event type, applied in the transaction that also stores the event's id.

    Created by `handles`.
    """

    event_type: str
    apply: Callable[[AsyncConnection, Any], Awaitable[None]]


def handles(payload: type[_P], apply: Callable[[AsyncConnection, _P], Awaitable[None]]) -> EventHandler:
    """Returns the handler of the event type that has this payload."""
    return EventHandler(load_topology().type_of(payload()).name, apply)


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
        is_new = await self._apply_once(handler, event)
        if is_new:
            self._on_commit()
        CONSUMED.labels(event.type.name, "applied" if is_new else "duplicate").inc()
        log.info(
            "event received",
            event_type=event.type.name,
            event_id=str(event.id),
            subject=event.subject,
            duplicate=not is_new,
        )

    async def prune(self) -> None:
        """Deletes the ids of events that were received longer ago than RETENTION, along inbox_by_age."""

        async def prune_batch(transaction: AsyncConnection, limit: int) -> int:
            oldest = pruning.delete_oldest(_inbox.c.received_at, func.now() - RETENTION, limit)
            return (await transaction.execute(oldest)).rowcount

        await pruning.prune_in_batches(self._database, prune_batch)

    async def _apply_once(self, handler: EventHandler, event: Event) -> bool:
        """Returns whether the event was new, and so was applied."""
        store_id = insert(_inbox).values(event_id=event.id).on_conflict_do_nothing().returning(_inbox.c.event_id)
        async with self._database.begin() as transaction:
            is_new = (await transaction.execute(store_id)).first() is not None
            if is_new:
                await handler.apply(transaction, event.payload)
        return is_new
