"""A RabbitMQ virtual host for each test, and the events that the test publishes and receives on it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
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

_MANAGEMENT_TIMEOUT_SECONDS = 60
"""Enough to create or delete all queues of a shop on a machine that is busy with other tests."""
_DEFINITIONS = Path(__file__).parents[3] / "charts/rabbitmq/files/definitions.json"


@asynccontextmanager
async def new_vhost() -> AsyncIterator[str]:
    """Creates a virtual host, so that tests share no queue, and gives its AMQP URL. Removes it afterwards."""
    broker = urlsplit(environment_variable("TEST_RABBITMQ_URL"))
    management = environment_variable("TEST_RABBITMQ_MANAGEMENT_URL")
    vhost = f"test-{uuid4().hex[:12]}"
    async with management_client(management, broker.username or "", broker.password or "") as client:
        (await client.put(f"/api/vhosts/{vhost}")).raise_for_status()
        try:
            yield f"amqp://{broker.netloc}/{vhost}"
        finally:
            (await client.delete(f"/api/vhosts/{vhost}")).raise_for_status()


@asynccontextmanager
async def new_vhost_with_users() -> AsyncIterator[Mapping[str, str]]:
    """Creates a virtual host with the queues and users of the shop's definitions.

    Gives the AMQP URL of each service's user by the name of the service, and the administrator's as `administrator`.
    """
    async with new_vhost() as administrator:
        url = urlsplit(administrator)
        vhost, password = url.path.removeprefix("/"), uuid4().hex
        management = environment_variable("TEST_RABBITMQ_MANAGEMENT_URL")
        async with management_client(management, url.username or "", url.password or "") as client:
            await load_definitions(client, vhost, password)
            try:
                yield {
                    "administrator": administrator,
                    **{
                        service: f"amqp://{user_of(vhost, service)}:{password}@{url.hostname}:{url.port}/{vhost}"
                        for service in _services()
                    },
                }
            finally:
                await delete_users(client, vhost)


def management_client(url: str, user: str, password: str) -> httpx.AsyncClient:
    """Returns a client of the broker's HTTP API that reuses no connection: the server may close an idle one."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=url, auth=(user, password), limits=limits, timeout=_MANAGEMENT_TIMEOUT_SECONDS)


async def load_definitions(client: httpx.AsyncClient, vhost: str, password: str) -> None:
    """Loads the shop's definitions into a virtual host, as the broker of a shop does at its start. Idempotent."""
    topology = {
        section: [{name: value for name, value in row.items() if name != "vhost"} for row in _defined(section)]
        for section in ("exchanges", "queues", "bindings")
    }
    (await client.post(f"/api/definitions/{vhost}", json=topology)).raise_for_status()
    for service in _services():
        user = {"password": password, "tags": []}
        (await client.put(f"/api/users/{user_of(vhost, service)}", json=user)).raise_for_status()
    for kind in ("permissions", "topic_permissions"):
        for row in _defined(kind):
            if row["user"] in _services():
                address = f"/api/{kind.replace('_', '-')}/{vhost}/{user_of(vhost, row['user'])}"
                (await client.put(address, json=row)).raise_for_status()


async def delete_users(client: httpx.AsyncClient, vhost: str) -> None:
    """Deletes the users of a virtual host; some or all of them may not exist."""
    for service in _services():
        await client.delete(f"/api/users/{user_of(vhost, service)}")


def user_of(vhost: str, service: str) -> str:
    """Returns the name of a service's user. It belongs to the whole broker, so it contains that of the virtual host."""
    return f"{vhost}.{service}"


def _services() -> list[str]:
    return [row["name"] for row in _defined("users") if not row["name"].startswith("@")]


@cache
def _defined(section: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(_DEFINITIONS.read_text())[section]
    return rows


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
