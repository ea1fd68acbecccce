"""The base of every service with a database: its database, broker and outbox, and the background loops on them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from chassis.database.engine import Database
from chassis.database.idempotency import KeyRepository
from chassis.database.invariants import InvariantMonitor
from chassis.database.pruning import prune_in_batches
from chassis.messaging import inbox, outbox
from chassis.messaging.broker import Broker
from chassis.messaging.inbox import EventHandler, Inbox
from chassis.messaging.outbox import Outbox
from chassis.messaging.topology import load_topology
from chassis.runtime.process import Loop, repeat_every
from chassis.settings import BackendSettings

_KEY_PRUNE_INTERVAL_SECONDS = 3600.0
_KEY_RETENTION = timedelta(days=7)
"""How long an idempotency key is kept: longer than any client repeats a request."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Backend:
    """The database, broker, outbox and clock of one service. The composition root builds the use cases on them."""

    def __init__(
        self,
        service: str,
        settings: BackendSettings,
        schema: str,
        now: Callable[[], datetime] = utc_now,
        database_parameters: Mapping[str, str] | None = None,
    ) -> None:
        """`schema` is the Alembic revision that the service's code was written for.

        `database_parameters` are PostgreSQL's run-time parameters for each connection of its pool.
        """
        self._service = service
        self.database = Database(settings, schema, database_parameters)
        self.broker = Broker(settings.rabbitmq_url, service, authorities=settings.rabbitmq_ca)
        self.outbox = Outbox(self.database, self.broker)
        self.now = now
        self._outbox_retention = timedelta(seconds=settings.outbox_retention_seconds)

    def loops(
        self,
        handlers: Sequence[EventHandler] = (),
        *,
        on_commit: Callable[[], None] = lambda: None,
        prunes_idempotency_keys: bool = False,
    ) -> dict[str, Loop]:
        """Returns the background loops by name: the invariant monitor, and those that the service's topology requires.

        A service that publishes events has the outbox relay and the pruning of its published events. One that consumes
        events has the consumer, which runs `handlers`, and the pruning of its inbox. `on_commit` is called after each
        handler's commit. Raises ValueError unless there is a handler for each event type that the topology sends to
        this service.
        """
        loops: dict[str, Loop] = {"invariants": InvariantMonitor(self.database, f"{self._service}_service").run}
        if load_topology().produced_by(self._service):
            loops["relay"] = self.outbox.relay
            loops["outbox"] = repeat_every(outbox.PRUNE_INTERVAL_SECONDS, self.prune_published_events)
        own_inbox = Inbox(self._service, self.database, handlers, on_commit=on_commit)
        if handlers:
            loops["consumer"] = lambda: self.broker.consume(own_inbox.receive, own_inbox.receive_batch)
            loops["inbox"] = repeat_every(inbox.PRUNE_INTERVAL_SECONDS, own_inbox.prune)
        if prunes_idempotency_keys:
            loops["idempotency keys"] = repeat_every(_KEY_PRUNE_INTERVAL_SECONDS, self.prune_idempotency_keys)
        return loops

    async def prune_published_events(self) -> None:
        """Deletes the events that were published longer ago than OUTBOX_RETENTION_SECONDS."""
        await self.outbox.prune(self._outbox_retention)

    async def prune_idempotency_keys(self) -> None:
        """Deletes the keys that are older than a week."""
        before = self.now() - _KEY_RETENTION
        await prune_in_batches(
            self.database, lambda transaction, limit: KeyRepository(transaction).prune(before, limit)
        )

    async def close(self) -> None:
        """Closes the connections to the broker and the database, after the loops have ended."""
        await self.broker.close()
        await self.database.close()
