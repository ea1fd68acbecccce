"""RabbitMQ: publishing with confirms, consuming with at-least-once delivery.

Reconnects for ever, with backoff and jitter.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import cast
from urllib.parse import unquote, urlsplit
from uuid import UUID

import aio_pika
import aiormq
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractExchange,
    AbstractIncomingMessage,
    AbstractQueue,
    FieldValue,
)
from aio_pika.connection import make_url
from aio_pika.exceptions import DeliveryError
from aiormq import spec
from prometheus_client import Gauge

from chassis.errors import (
    BrokerUnavailable,
    PublishRefused,
)
from chassis.messaging.consumer import OUTAGE_ERRORS, Consumer, Receive, ReceiveBatch, receive_none
from chassis.messaging.deliveries import BATCH, Deliveries
from chassis.messaging.senders import PRODUCER, BrokerUser, Origin
from chassis.messaging.topology import load_topology, retry_arguments, retry_exchange, retry_queue
from chassis.observability import logs
from chassis.tls import SYSTEM, client_context

CONNECTED = Gauge("broker_connected", "1 while this process has a connection to the broker")

_CONNECT_TIMEOUT_SECONDS = 5
_CONFIRM_TIMEOUT_SECONDS = 5
_PREFETCH = 2 * BATCH
"""The next batch arrives while one is handled."""
_RETRIES = "x-retries"
"""The header that counts how often a message has waited after a failure."""
log = logs.get_logger(__name__)


class Broker:
    """Publishes on one connection and consumes on another, so that a blocked publisher cannot stop the consumer."""

    def __init__(
        self, url: str, service: str, retry_delays_seconds: Sequence[float] | None = None, authorities: str = ""
    ) -> None:
        """`retry_delays_seconds` replaces the delays of the topology.

        With `amqps://` the broker's certificate is verified by `authorities`, by default those of the system.
        """
        self._url = url
        self._tls = client_context(authorities or SYSTEM) if urlsplit(url).scheme == "amqps" else None
        self._service = service
        self._user = BrokerUser(unquote(urlsplit(url).username or ""), service)
        self._retry_delays = (
            load_topology().retry_delays_seconds if retry_delays_seconds is None else retry_delays_seconds
        )
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._connecting = asyncio.Lock()

    async def publish(self, routing_key: str, event_id: UUID, body: bytes) -> None:
        """Returns once the broker has confirmed that it has stored the message.

        Many calls may wait at the same time, for which the broker confirms several messages at once. It receives the
        messages in the order of the calls. Raises PublishRefused, and BrokerUnavailable for anything else.
        """
        properties = spec.Basic.Properties(
            message_id=str(event_id),
            content_type="application/cloudevents+json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            user_id=self._user.name if self._user.is_own else None,
        )
        channel = None
        try:
            channel = await self._open_channel()
            underlay = cast("aiormq.Channel", await channel.get_underlay_channel())
            # The confirmation says that the message was sent, so nothing waits for the socket before the next one.
            await underlay.basic_publish(
                body,
                exchange=load_topology().exchange,
                routing_key=routing_key,
                properties=properties,
                mandatory=True,
                timeout=_CONFIRM_TIMEOUT_SECONDS,
                wait=False,
            )
        except DeliveryError as error:
            raise PublishRefused(f"the broker refused {routing_key}: {error!r}") from error
        except OUTAGE_ERRORS as error:
            self._forget(channel)
            raise BrokerUnavailable(f"the broker did not take {routing_key}: {error!r}") from error

    async def consume(self, receive: Receive, receive_batch: ReceiveBatch = receive_none) -> None:
        """Delivers this service's events for ever.

        Events that wait at the same time go to `receive_batch`, and to `receive` those that it leaves or, if it fails,
        all of them. After an exception from `receive`, that message is delivered again, with growing delays.
        """
        attempt = 0
        while True:
            try:
                async with await self._connect() as connection:
                    channel = await connection.channel()
                    await channel.set_qos(prefetch_count=_PREFETCH)
                    queue = await self._open_queue(channel)
                    attempt = 0
                    CONNECTED.set(1)
                    async with Deliveries() as deliveries:
                        await queue.consume(deliveries.add)
                        consumer = self._consumer(deliveries, receive, receive_batch)
                        handling = deliveries.start(consumer.run())
                        lost = deliveries.start(_wait_until_lost(connection, channel))
                        ended, _ = await asyncio.wait([handling, lost], return_when=asyncio.FIRST_COMPLETED)
                        await ended.pop()
            except OUTAGE_ERRORS as error:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise  # closing the connection failed while this task was being cancelled
                log.warning("the broker is away", reason=repr(error))
            finally:
                CONNECTED.set(0)
            attempt += 1
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(2.0**attempt, 10.0) / 2)  # noqa: S311 - jitter

    async def put_back_dead_letters(self) -> AsyncIterator[str]:
        """Moves the dead letters that this service has now back into its queue. Yields the id of each message.

        A message keeps its sender, so a forged one is refused again. A crash in between makes two of a message, which
        the inbox recognizes. Raises BrokerUnavailable.
        """
        async with self._publishing("dead letters") as channel:
            dead = await channel.get_queue(f"{self._service}.dead")
        for _ in range(dead.declaration_result.message_count or 0):
            async with self._publishing("dead letters"):
                message = await dead.get(fail=False)
            if message is None:
                return
            await self._publish_copy(message, self._origin_before_death(message), self._service, {})
            await message.ack()
            yield message.message_id or ""

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    @asynccontextmanager
    async def _publishing(self, what: str) -> AsyncIterator[AbstractChannel]:
        """Opens the channel for publishing if needed. The block must end within the confirm timeout.

        Raises BrokerUnavailable.
        """
        channel = None
        try:
            channel = await self._open_channel()
            async with asyncio.timeout(_CONFIRM_TIMEOUT_SECONDS):
                yield channel
        except OUTAGE_ERRORS as error:
            self._forget(channel)
            raise BrokerUnavailable(f"the broker did not take {what}: {error!r}") from error

    def _forget(self, channel: AbstractChannel | None) -> None:
        """Makes the next call open the connection again: a channel may be dead while its connection seems open."""
        if channel is self._channel:
            self._channel = None

    async def _connect(self) -> AbstractConnection:
        connection = aio_pika.Connection(make_url(self._url), ssl_context=self._tls)
        try:
            await connection.connect(timeout=_CONNECT_TIMEOUT_SECONDS)
        except BaseException:
            await connection.close()  # else it closes itself when it is collected, perhaps where no event loop runs
            raise
        return connection

    async def _open_channel(self) -> AbstractChannel:
        if self._channel is not None:
            return self._channel
        async with self._connecting:
            if self._channel is None:
                await self.close()
                self._connection = await self._connect()
                channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                if not self._user.is_own:
                    await self._declare_consumers(channel)
                self._channel = channel
            return self._channel

    async def _open_queue(self, channel: AbstractChannel) -> AbstractQueue:
        """Returns this service's queue, which the broker's definitions have if the service has a user of its own.

        Such a user may declare nothing, so that a service cannot bind a queue to the events of others.
        """
        if self._user.is_own:
            return await channel.get_queue(self._service)
        return await declare_queue(channel, self._service)

    async def _declare_consumers(self, channel: AbstractChannel) -> None:
        """Declares the queues of all consumers of this service's events, and their exchange.

        An event that is sent before its consumer has ever run must wait in a queue, not be lost.
        """
        topology = load_topology()
        for consumer in sorted(topology.consumers_of(self._service)):
            await declare_queue(channel, consumer)

    def _consumer(self, deliveries: Deliveries, receive: Receive, receive_batch: ReceiveBatch) -> Consumer:
        return Consumer(
            deliveries,
            lambda event, message: self._user.require_producer(event.type, _origin_of(message), load_topology()),
            lambda message: self._retries_of(message) > 0,
            partial(self._retry_later, deliveries),
            receive,
            receive_batch,
        )

    async def _retry_later(self, deliveries: Deliveries, message: AbstractIncomingMessage) -> None:
        """Moves a message to the waiting queue of its next delay, or to the dead letters after the last one.

        It is acknowledged once the broker has confirmed the copy that waits. A crash in between makes two of it, which
        the inbox recognizes.
        """
        retries = self._retries_of(message)
        if retries >= len(self._retry_delays):
            await deliveries.reject(message)
            return
        while True:
            try:
                await self._publish_retry(message, self._retry_delays[retries], retries + 1)
            except BrokerUnavailable as error:
                log.warning("event waits for its retry", message_id=message.message_id, reason=str(error))
                await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            else:
                await deliveries.acknowledge([message])
                return

    async def _publish_retry(self, message: AbstractIncomingMessage, delay_seconds: float, retries: int) -> None:
        if not self._user.is_own:
            async with self._publishing(f"the retry of {message.message_id}") as channel:
                await _declare_waiting_queue(channel, self._service, delay_seconds)
        queue = retry_queue(self._service, delay_seconds)
        await self._publish_copy(message, _origin_of(message), queue, {_RETRIES: retries})

    async def _publish_copy(
        self, message: AbstractIncomingMessage, origin: Origin, routing_key: str, headers: dict[str, FieldValue]
    ) -> None:
        """Publishes a message again on the service's own exchange, with its sender. Raises BrokerUnavailable."""
        sender = self._user.sender_of(origin, load_topology()) if self._user.is_own else None
        copy = aio_pika.Message(
            message.body,
            message_id=message.message_id,
            content_type=message.content_type,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            user_id=self._user.name if sender else None,
            headers=headers | ({PRODUCER: sender} if sender else {}),
        )
        async with self._publishing(f"the copy of {message.message_id}") as channel:
            exchange = await channel.get_exchange(retry_exchange(self._service), ensure=False)
            await exchange.publish(copy, routing_key, mandatory=True)

    def _origin_before_death(self, message: AbstractIncomingMessage) -> Origin:
        """Returns the origin that a dead letter had in the service's queue, which the broker keeps in x-death."""
        for death in _deaths_of(message):
            keys = death.get("routing-keys")
            if death.get("queue") == self._service and isinstance(keys, list) and keys:
                return Origin(message.user_id, str(death.get("exchange")), str(keys[0]), message.headers)
        return _origin_of(message)

    def _retries_of(self, message: AbstractIncomingMessage) -> int:
        """Returns how often a message has waited, 0 for one that was moved back from the dead letters.

        The broker writes the queue that a message was last moved from into the first entry of its header x-death.
        """
        deaths = _deaths_of(message)
        retries = message.headers.get(_RETRIES)
        if not deaths or not isinstance(retries, int):
            return 0
        return retries if str(deaths[0].get("queue")).startswith(f"{retry_exchange(self._service)}.") else 0


def _deaths_of(message: AbstractIncomingMessage) -> list[dict[str, FieldValue]]:
    """Returns the entries of the header x-death, the last one first."""
    deaths = message.headers.get("x-death")
    return [death for death in deaths if isinstance(death, dict)] if isinstance(deaths, list) else []


def _origin_of(message: AbstractIncomingMessage) -> Origin:
    return Origin(message.user_id, message.exchange or "", message.routing_key or "", message.headers)


async def declare_queue(channel: AbstractChannel, service: str) -> AbstractQueue:
    """Declares a service's quorum queue, its dead letters and its bindings, as the topology has them. Idempotent."""
    topology = load_topology()
    exchange = await channel.declare_exchange(topology.exchange, aio_pika.ExchangeType.TOPIC, durable=True)
    dead = await channel.declare_exchange(topology.dead_letter_exchange, aio_pika.ExchangeType.DIRECT, durable=True)
    dead_queue = await channel.declare_queue(f"{service}.dead", durable=True, arguments={"x-queue-type": "quorum"})
    await dead_queue.bind(dead, service)
    queue = await channel.declare_queue(service, durable=True, arguments={**topology.queue_arguments(service)})
    for event_type in topology.consumed_by(service):
        await queue.bind(exchange, event_type)
    await queue.bind(await _declare_retry_exchange(channel, service), service)
    return queue


async def _declare_retry_exchange(channel: AbstractChannel, service: str) -> AbstractExchange:
    return await channel.declare_exchange(retry_exchange(service), aio_pika.ExchangeType.DIRECT, durable=True)


async def _declare_waiting_queue(channel: AbstractChannel, service: str, delay_seconds: float) -> AbstractQueue:
    """Declares the queue from which messages return to the service's queue after that time. Idempotent.

    Its name has the delay, so that other delays in a later release are other queues.
    """
    queue = await channel.declare_queue(
        retry_queue(service, delay_seconds), durable=True, arguments={**retry_arguments(service, delay_seconds)}
    )
    await queue.bind(await _declare_retry_exchange(channel, service), queue.name)
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
