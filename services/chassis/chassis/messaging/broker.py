"""RabbitMQ: publishing with confirms, consuming with at-least-once delivery. Reconnects by itself, for ever, with jitter."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from prometheus_client import Counter, Gauge

from chassis.errors import BrokerUnavailable, DatabaseUnavailable, MalformedEvent, NeighbourUnavailable, UnknownEvent
from chassis.messaging import events
from chassis.messaging.events import Event
from chassis.messaging.topology import load_topology
from chassis.observability import logs, tracing

CONNECTED = Gauge("broker_connected", "1 while this process has a connection to the broker")
REDELIVERED = Counter(
    "broker_delivery_failures_total", "Deliveries whose effect failed, and that the broker repeats", ["type"]
)

_CONNECT_SECONDS = 5
_CONFIRM_SECONDS = 5
_PREFETCH = 20
_NEWER_RELEASE_SECONDS = 5
_ERRORS = (
    aio_pika.exceptions.AMQPError,
    aio_pika.exceptions.ChannelInvalidStateError,
    OSError,
    asyncio.TimeoutError,
    RuntimeError,
)

log = logs.get_logger(__name__)


class Broker:
    """One connection for publishing and one for consuming, so that a blocked publisher cannot stop the consumer."""

    def __init__(self, url: str, service: str) -> None:
        self._url = url
        self._service = service
        self._connection: AbstractConnection | None = None
        self._exchange: AbstractExchange | None = None
        self._connecting = asyncio.Lock()

    async def publish(self, routing_key: str, event_id: UUID, body: bytes) -> None:
        """Returns once the broker has confirmed that it keeps the message. Raises BrokerUnavailable."""
        message = aio_pika.Message(
            body,
            message_id=str(event_id),
            content_type="application/cloudevents+json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        exchange = None
        try:
            exchange = await self._open_exchange()
            async with asyncio.timeout(_CONFIRM_SECONDS):
                await exchange.publish(message, routing_key, mandatory=True)
        except _ERRORS as error:
            if exchange is self._exchange:
                self._exchange = (
                    None  # its channel may be dead while its connection seems open: the next one starts afresh
                )
            raise BrokerUnavailable(f"the broker did not take {routing_key}: {error!r}") from error

    async def consume(self, receive: Callable[[Event], Awaitable[None]]) -> None:
        """Delivers this service's events to `receive` for ever; an exception from it returns the message to the broker."""

        async def deliver(message: AbstractIncomingMessage) -> None:
            await _deliver(message, receive)

        attempt = 0
        while True:
            try:
                connection = await aio_pika.connect(self._url, timeout=_CONNECT_SECONDS)
                async with connection:
                    channel = await connection.channel()
                    await channel.set_qos(prefetch_count=_PREFETCH)
                    queue = await self._declare(channel)
                    attempt = 0
                    CONNECTED.set(1)
                    await queue.consume(deliver)
                    await _lost(connection, channel)
            except _ERRORS as error:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise  # closing failed while this loop was being ended
                log.warning("the broker is away", reason=repr(error))
            finally:
                CONNECTED.set(0)
            attempt += 1
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(2.0**attempt, 10.0) / 2)  # noqa: S311 - jitter

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _open_exchange(self) -> AbstractExchange:
        async with self._connecting:
            if self._exchange is None:
                await self.close()
                self._connection = await aio_pika.connect(self._url, timeout=_CONNECT_SECONDS)
                channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                self._exchange = await self._declare_for_publishing(channel)
            return self._exchange

    async def _declare_for_publishing(self, channel: AbstractChannel) -> AbstractExchange:
        """Declares the queue of every consumer as well: an event that is sent before its consumer ever ran must wait, not vanish."""
        topology = load_topology()
        consumers = {c for e in topology.events.values() if e.producer == self._service for c in e.consumers}
        for consumer in sorted(consumers):
            await declare_queue(channel, consumer)
        return await channel.get_exchange(topology.exchange)

    async def _declare(self, channel: AbstractChannel) -> AbstractQueue:
        return await declare_queue(channel, self._service)


async def _lost(connection: AbstractConnection, channel: AbstractChannel) -> None:
    """Returns when the connection or its channel has ended, or the broker delivers no more, because somebody deleted the queue.

    `closed()` of either only knows ends that we asked for.
    """
    lost = asyncio.Event()
    (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(lambda *_: lost.set())
    for part in (connection, channel):
        part.close_callbacks.add(lambda *_: lost.set())
    await lost.wait()


async def declare_queue(channel: AbstractChannel, service: str) -> AbstractQueue:
    """A service's quorum queue, its dead letters and its bindings, all from the topology. Idempotent."""
    topology = load_topology()
    exchange = await channel.declare_exchange(topology.exchange, aio_pika.ExchangeType.TOPIC, durable=True)
    dead = await channel.declare_exchange(topology.dead_letter_exchange, aio_pika.ExchangeType.DIRECT, durable=True)
    dead_queue = await channel.declare_queue(f"{service}.dead", durable=True, arguments={"x-queue-type": "quorum"})
    await dead_queue.bind(dead, service)
    queue = await channel.declare_queue(
        service,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": topology.delivery_limit,
            "x-dead-letter-exchange": topology.dead_letter_exchange,
            "x-dead-letter-routing-key": service,
        },
    )
    for event_type in topology.consumed_by(service):
        await queue.bind(exchange, event_type)
    return queue


async def _deliver(message: AbstractIncomingMessage, receive: Callable[[Event], Awaitable[None]]) -> None:
    """Acknowledges after the effect is stored, never before. What cannot be read goes to the dead letters at once."""
    try:
        event = events.decode(message.body)
    except MalformedEvent as error:
        log.error("event refused", reason=str(error), message_id=message.message_id)  # noqa: TRY400 - the sender's fault, our trace says nothing
        await message.reject(requeue=False)
        return
    except UnknownEvent as error:
        await _leave(message, error)
        return
    with tracing.continue_trace(f"{event.type.name} process", tracing.SpanKind.CONSUMER, event.trace):
        try:
            await _once_everything_answers(receive, event)
        except UnknownEvent as error:
            await _leave(message, error)
        except Exception:
            log.exception(
                "event failed, the broker delivers it again", event_type=event.type.name, event_id=str(event.id)
            )
            REDELIVERED.labels(event.type.name).inc()
            await message.reject(requeue=True)
        else:
            await message.ack()


async def _leave(message: AbstractIncomingMessage, error: UnknownEvent) -> None:
    """To the pods of a newer release, after a pause: the delivery limit is as many pauses, and then it is kept as a dead letter."""
    log.warning("event left to a newer release", reason=str(error), message_id=message.message_id)
    await asyncio.sleep(_NEWER_RELEASE_SECONDS)
    await message.reject(requeue=True)


async def _once_everything_answers(receive: Callable[[Event], Awaitable[None]], event: Event) -> None:
    """A database or neighbour that is away is waited for here: it must not use up the deliveries that a faulty event gets."""
    while True:
        try:
            await receive(event)
        except (DatabaseUnavailable, NeighbourUnavailable) as error:
            log.warning("event waits", event_type=event.type.name, event_id=str(event.id), reason=str(error))
            await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        else:
            return
