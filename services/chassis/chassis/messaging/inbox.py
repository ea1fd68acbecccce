"""The inbox: an event takes effect once, however often it is delivered, because its id is stored with its effect."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from google.protobuf.message import Message
from prometheus_client import Counter
from sqlalchemy import MetaData, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import tables
from chassis.database.engine import Database
from chassis.errors import UnknownEvent
from chassis.messaging.events import Event
from chassis.messaging.topology import load_topology
from chassis.observability import logs

CONSUMED = Counter("inbox_consumed_total", "Events that took effect, or were seen before", ["type", "outcome"])

MEMORY = timedelta(days=30)
"""How long a redelivery is recognized: longer than anybody leaves a dead letter lying before putting it back."""
PRUNE_SECONDS = 86_400.0
_BATCH = 10_000

_P = TypeVar("_P", bound=Message)


@dataclass(frozen=True, slots=True)
class EventHandler:
    """What a payload does, inside the transaction that also remembers its event. Made by `when`."""

    event_type: str
    apply: Callable[[AsyncConnection, Any], Awaitable[None]]


def handles(payload: type[_P], apply: Callable[[AsyncConnection, _P], Awaitable[None]]) -> EventHandler:
    return EventHandler(load_topology().type_of(payload()).name, apply)


log = logs.get_logger(__name__)


_inbox = tables.inbox(MetaData())


class Inbox:
    def __init__(
        self,
        service: str,
        database: Database,
        effects: Sequence[EventHandler],
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_commit` is called after each effect's commit. Raises ValueError unless there is an effect for each event that the
        topology sends to this service.
        """
        self._database = database
        self._on_commit = on_commit
        self._effects = {effect.event_type: effect for effect in effects}
        if set(self._effects) != set(load_topology().consumed_by(service)):
            raise ValueError(
                f"{service} handles {sorted(self._effects)}, which is not what shopapi/topology.toml sends it"
            )

    async def receive(self, event: Event) -> None:
        """Raises UnknownEvent, and what the effect raises: then nothing is stored, and the broker delivers again."""
        effect = self._effects.get(event.type.name)
        if effect is None:
            raise UnknownEvent(f"{event.type.name} is not for this service")
        remember = insert(_inbox).values(event_id=event.id).on_conflict_do_nothing().returning(_inbox.c.event_id)
        async with self._database.begin() as transaction:
            is_new = (await transaction.execute(remember)).first() is not None
            if is_new:
                await effect.apply(transaction, event.payload)
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
        """Events that were received longer ago than MEMORY, some at a time: however many there are, no statement takes long."""
        old = select(_inbox.c.event_id).where(_inbox.c.received_at < func.now() - MEMORY).limit(_BATCH)
        gone = _BATCH
        while gone == _BATCH:
            async with self._database.begin() as transaction:
                gone = (await transaction.execute(delete(_inbox).where(_inbox.c.event_id.in_(old)))).rowcount
