"""RabbitMQ: publishing with confirms, consuming with at-least-once delivery.

Reconnects for ever, with backoff and jitter.
"""

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
REDELIVERED = Counter("broker_delivery_failures_total", "Failed deliveries, which the broker repeats", ["type"])

_CONNECT_TIMEOUT_SECONDS = 5
_CONFIRM_TIMEOUT_SECONDS = 5
_PREFETCH = 20
_UNKNOWN_EVENT_PAUSE_SECONDS = 5
_OUTAGE_ERRORS = (
    aio_pika.exceptions.AMQPError,
    aio_pika.exceptions.ChannelInvalidStateError,
    OSError,
    asyncio.TimeoutError,
    RuntimeError,
)

Receive = Callable[[Event], Awaitable[None]]

log = logs.get_logger(__name__)


class Broker:
    """Publishes on one connection and consumes on another, so that a blocked publisher cannot stop the consumer."""

    def __init__(self, url: str, service: str) -> None:
        self._url = url
        self._service = service
        self._connection: AbstractConnection | None = None
        self._exchange: AbstractExchange | None = None
        self._connecting = asyncio.Lock()

    async def publish(self, routing_key: str, event_id: UUID, body: bytes) -> None:
        """Returns once the broker has confirmed that it has stored the message. Raises BrokerUnavailable."""
        message = aio_pika.Message(
            body,
            message_id=str(event_id),
            content_type="application/cloudevents+json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        exchange = None
        try:
            exchange = await self._open_exchange()
            async with asyncio.timeout(_CONFIRM_TIMEOUT_SECONDS):
                await exchange.publish(message, routing_key, mandatory=True)
        except _OUTAGE_ERRORS as error:
            if exchange is self._exchange:
                # The channel may be dead while its connection seems open, so the next call opens both again.
                self._exchange = None
            raise BrokerUnavailable(f"the broker did not take {routing_key}: {error!r}") from error

    async def consume(self, receive: Receive) -> None:
        """Delivers this service's events to `receive` for ever.

        An exception from it returns the message to the broker.
        """
        attempt = 0
        while True:
            try:
                async with await aio_pika.connect(self._url, timeout=_CONNECT_TIMEOUT_SECONDS) as connection:
                    channel = await connection.channel()
                    await channel.set_qos(prefetch_count=_PREFETCH)
                    queue = await declare_queue(channel, self._service)
                    attempt = 0
                    CONNECTED.set(1)
                    await queue.consume(_delivery(receive))
                    await _wait_until_lost(connection, channel)
            except _OUTAGE_ERRORS as error:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise  # closing the connection failed while this task was being cancelled
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
                self._connection = await aio_pika.connect(self._url, timeout=_CONNECT_TIMEOUT_SECONDS)
                channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                self._exchange = await self._declare_exchange(channel)
            return self._exchange

    async def _declare_exchange(self, channel: AbstractChannel) -> AbstractExchange:
        """Declares the exchange and the queues of all its consumers.

        An event that is sent before its consumer has ever run must wait in a queue, not be lost.
        """
        topology = load_topology()
        for consumer in sorted(topology.consumers_of(self._service)):
            await declare_queue(channel, consumer)
        return await channel.get_exchange(topology.exchange)


async def declare_queue(channel: AbstractChannel, service: str) -> AbstractQueue:
    """Declares a service's quorum queue, its dead letters and its bindings, as the topology has them. Idempotent."""
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


async def _wait_until_lost(connection: AbstractConnection, channel: AbstractChannel) -> None:
    """Returns when the connection or the channel has ended, or the broker has cancelled the consumer.

    The broker cancels it when the queue is deleted. `closed()` of either reports only what this process closes itself.
    """
    lost = asyncio.Event()
    (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(lambda *_: lost.set())
    for resource in (connection, channel):
        resource.close_callbacks.add(lambda *_: lost.set())
    await lost.wait()


def _delivery(receive: Receive) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
    async def deliver(message: AbstractIncomingMessage) -> None:
        """Acknowledges a message after its effect is stored, never before. A malformed one is dead-lettered at once."""
        try:
            event = events.decode(message.body)
        except MalformedEvent as error:
            log.error("event refused", reason=str(error), message_id=message.message_id)  # noqa: TRY400 - the error is the sender's
            await message.reject(requeue=False)
        except UnknownEvent as error:
            await _requeue_unknown(message, error)
        else:
            with tracing.continue_trace(f"{event.type.name} process", tracing.SpanKind.CONSUMER, event.trace):
                await _process(message, event, receive)

    return deliver


async def _process(message: AbstractIncomingMessage, event: Event, receive: Receive) -> None:
    try:
        await _receive_once_available(receive, event)
    except UnknownEvent as error:
        await _requeue_unknown(message, error)
    except Exception:
        log.exception("event failed, the broker delivers it again", event_type=event.type.name, event_id=str(event.id))
        REDELIVERED.labels(event.type.name).inc()
        await message.reject(requeue=True)
    else:
        await message.ack()


async def _requeue_unknown(message: AbstractIncomingMessage, error: UnknownEvent) -> None:
    """Returns a message to the broker after a pause, for the pods of a newer release.

    The delivery limit allows that many such pauses. Then the broker moves the message to the dead letters.
    """
    log.warning("event left to a newer release", reason=str(error), message_id=message.message_id)
    await asyncio.sleep(_UNKNOWN_EVENT_PAUSE_SECONDS)
    await message.reject(requeue=True)


async def _receive_once_available(receive: Receive, event: Event) -> None:
    """Retries while the database or a neighbour is unavailable: an outage must not use up the delivery limit."""
    while True:
        try:
            await receive(event)
        except (DatabaseUnavailable, NeighbourUnavailable) as error:
            log.warning("event waits", event_type=event.type.name, event_id=str(event.id), reason=str(error))
            await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        else:
            return
