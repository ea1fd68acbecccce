"""A RabbitMQ virtual host for each test, and the events that the test publishes and receives on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import httpx
from chassis.messaging import events
from chassis.messaging.broker import declare_queue
from chassis.messaging.events import Event
from chassis.messaging.topology import load_topology

from chassis_testing.environment import environment_variable
from chassis_testing.waiting import LIMIT_SECONDS


@asynccontextmanager
async def new_vhost() -> AsyncIterator[str]:
    """Creates a virtual host, so that tests share no queue, and gives its AMQP URL. Removes it afterwards."""
    broker = urlsplit(environment_variable("TEST_RABBITMQ_URL"))
    management = environment_variable("TEST_RABBITMQ_MANAGEMENT_URL")
    vhost = f"test-{uuid4().hex[:12]}"
    async with httpx.AsyncClient(
        base_url=management,
        auth=(broker.username or "", broker.password or ""),
        # No connection is reused: the server may close an idle one at that moment.
        limits=httpx.Limits(max_keepalive_connections=0),
    ) as client:
        (await client.put(f"/api/vhosts/{vhost}")).raise_for_status()
        try:
            yield f"amqp://{broker.netloc}/{vhost}"
        finally:
            (await client.delete(f"/api/vhosts/{vhost}")).raise_for_status()


async def publish_events(broker_url: str, sent: Sequence[Event]) -> None:
    """Publishes events in sequence, as the outbox relay of their producer does."""
    async with _exchange(broker_url, load_topology().exchange) as exchange:
        for event in sent:
            await exchange.publish(aio_pika.Message(events.encode(event)), event.type.name)


async def publish_raw(broker_url: str, exchange: str, routing_key: str, body: bytes) -> None:
    """Publishes a message with any body."""
    async with _exchange(broker_url, exchange) as opened:
        await opened.publish(aio_pika.Message(body), routing_key)


@asynccontextmanager
async def _exchange(broker_url: str, name: str) -> AsyncIterator[aio_pika.abc.AbstractExchange]:
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        yield await channel.get_exchange(name)


async def take_message(broker_url: str, queue_name: str, within: float = LIMIT_SECONDS) -> bytes:
    """Takes the next message from a queue and returns its body. Raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within), await aio_pika.connect(broker_url) as connection:
        queue = await (await connection.channel()).get_queue(queue_name)
        message = await next_message(queue)
        await message.ack()
        return message.body


async def next_message(queue: aio_pika.abc.AbstractQueue) -> aio_pika.abc.AbstractIncomingMessage:
    """Waits for the next message of a queue and returns it; the caller acknowledges it. No other message is delivered.

    A quorum queue counts a delivery that is returned: messages that were delivered with this one would soon be dead
    letters. The consumer has therefore ended before the acknowledgement lets the next message follow.
    """
    await queue.channel.set_qos(prefetch_count=1)
    async with queue.iterator() as messages:
        return await anext(messages)


@asynccontextmanager
async def recorded_events(broker_url: str, service: str) -> AsyncIterator[Callable[[], Awaitable[Event]]]:
    """Records the events sent to a service that does not run. Gives a function that takes and returns the next one.

    The queue of the service is declared first, so that no event is missed that is published from then on.
    """
    async with await aio_pika.connect(broker_url) as connection:
        await declare_queue(await connection.channel(), service)

    async def next_event() -> Event:
        return events.decode(await take_message(broker_url, service))

    yield next_event
