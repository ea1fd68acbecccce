"""Hands the messages of a channel to the handlers of a service: those that wait at the same time in one batch."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from prometheus_client import Counter

from chassis.errors import DatabaseUnavailable, ForgedEvent, MalformedEvent, NeighbourUnavailable, UnknownEvent
from chassis.messaging import events
from chassis.messaging.deliveries import Deliveries
from chassis.messaging.events import Event
from chassis.observability import logs, tracing

REFUSED = Counter(
    "broker_refused_events_total",
    "Events dead-lettered at once: malformed, or forged, that is, not sent by the producer of their type",
    ["reason"],
)
FAILED = Counter("broker_delivery_failures_total", "Events whose handler failed, which are delivered again", ["type"])

OUTAGE_ERRORS = (
    aio_pika.exceptions.AMQPError,
    aio_pika.exceptions.ChannelInvalidStateError,
    OSError,
    asyncio.TimeoutError,
    RuntimeError,
)
_BATCH_WAIT_SECONDS = 0.05
"""How long the next batch waits for the one before, and grows. More only delays it: the one before waits for others."""

Receive = Callable[[Event], Awaitable[None]]
ReceiveBatch = Callable[[Sequence[Event]], Awaitable[Sequence[Event]]]
"""Applies events together and returns those that must be received alone. After an exception none was applied."""

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A message and its event."""

    message: AbstractIncomingMessage
    event: Event


async def receive_none(batch: Sequence[Event]) -> Sequence[Event]:
    """Leaves every event of a batch to be received alone."""
    return batch


class Consumer:
    """Handles the messages of one channel, and answers each of them."""

    def __init__(
        self,
        deliveries: Deliveries,
        require_producer: Callable[[Event, AbstractIncomingMessage], None],
        has_failed: Callable[[AbstractIncomingMessage], bool],
        retry_later: Callable[[AbstractIncomingMessage], Awaitable[None]],
        receive: Receive,
        receive_batch: ReceiveBatch,
    ) -> None:
        """`require_producer` raises ForgedEvent. `retry_later` answers a message whose event could not be handled."""
        self._deliveries = deliveries
        self._require_producer = require_producer
        self._has_failed = has_failed
        self._retry_later = retry_later
        self._receive = receive
        self._receive_batch = receive_batch

    async def run(self) -> None:
        """Handles what has arrived, batch after batch, for ever.

        A batch that takes long, since one of its events waits for a lock or for an outage to end, does not delay the
        next ones: they are handled beside it.
        """
        while True:
            accepted = [self._accept(message) for message in await self._deliveries.next_batch()]
            batch = [delivery for delivery in accepted if delivery is not None]
            if batch:
                handling = self._deliveries.start(self._handle_batch(batch))
                await asyncio.wait([handling], timeout=_BATCH_WAIT_SECONDS)

    def _accept(self, message: AbstractIncomingMessage) -> Delivery | None:
        """Returns the event of a message, or None: one that is malformed or forged is dead-lettered at once."""
        try:
            event = events.decode(message.body)
            self._require_producer(event, message)
        except (MalformedEvent, ForgedEvent) as error:
            log.error("event refused", reason=str(error), message_id=message.message_id)  # noqa: TRY400 - the error is the sender's
            REFUSED.labels("forged" if isinstance(error, ForgedEvent) else "malformed").inc()
            self._deliveries.start(_answered(self._deliveries.reject(message)))
        except UnknownEvent as error:
            self._deliveries.start(_answered(self._leave_to_newer_release(message, error)))
        else:
            return Delivery(message, event)
        return None

    async def _handle_batch(self, batch: Sequence[Delivery]) -> None:
        """Receives a batch, and then alone what was not received with it, the events of one subject in sequence.

        An event that has failed before is received alone, so that it fails one batch at most.
        """
        fresh = [delivery for delivery in batch if not self._has_failed(delivery.message)]
        received = await self._receive_together(fresh) if len(fresh) > 1 else set()
        by_subject: dict[str, list[Delivery]] = {}
        for delivery in batch:
            if delivery not in received:
                by_subject.setdefault(delivery.event.subject, []).append(delivery)
        async with asyncio.TaskGroup() as group:
            for of_subject in by_subject.values():
                group.create_task(self._process_in_turn(of_subject))

    async def _receive_together(self, batch: Sequence[Delivery]) -> set[Delivery]:
        """Receives events together and acknowledges them. Returns those that were received: none after an error."""
        try:
            left = {id(event) for event in await self._receive_batch([delivery.event for delivery in batch])}
        except Exception as error:
            log.warning("events of a batch are received one by one", reason=type(error).__name__)
            return set()
        received = [delivery for delivery in batch if id(delivery.event) not in left]
        if received:
            await _answered(self._deliveries.acknowledge([delivery.message for delivery in received]))
        return set(received)

    async def _process_in_turn(self, of_subject: Sequence[Delivery]) -> None:
        for delivery in of_subject:
            event = delivery.event
            with tracing.continue_trace(f"{event.type.name} process", tracing.SpanKind.CONSUMER, event.trace):
                await _answered(self._process(delivery))

    async def _process(self, delivery: Delivery) -> None:
        """Acknowledges a message after its effect is stored, never before."""
        message, event = delivery.message, delivery.event
        try:
            await _receive_once_available(self._receive, event)
        except UnknownEvent as error:
            await self._leave_to_newer_release(message, error)
        except Exception:
            log.exception("event failed", event_type=event.type.name, event_id=str(event.id))
            FAILED.labels(event.type.name).inc()
            await self._retry_later(message)
        else:
            await self._deliveries.acknowledge([message])

    async def _leave_to_newer_release(self, message: AbstractIncomingMessage, error: UnknownEvent) -> None:
        log.warning("event left to a newer release", reason=str(error), message_id=message.message_id)
        await self._retry_later(message)


async def _answered(answer: Awaitable[None]) -> None:
    """Sends the answer to a message, unless the channel is lost: then the broker delivers the message again."""
    try:
        await answer
    except OUTAGE_ERRORS as error:
        log.warning("a delivery has no answer, since the broker is away", reason=repr(error))


async def _receive_once_available(receive: Receive, event: Event) -> None:
    """Retries while the database or a neighbour is unavailable: an outage must not use up the retries."""
    while True:
        try:
            await receive(event)
        except (DatabaseUnavailable, NeighbourUnavailable) as error:
            log.warning("event waits", event_type=event.type.name, event_id=str(event.id), reason=str(error))
            await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        else:
            return
