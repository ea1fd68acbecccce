"""A service's broker user: it publishes its own events, reads its own queue, and can do nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelPreconditionFailed, DeliveryError
from aiormq.exceptions import ChannelAccessRefused
from chassis.errors import BrokerUnavailable
from chassis.messaging import events
from chassis.messaging.broker import Broker, declare_queue
from chassis.messaging.events import Event
from chassis.messaging.topology import load_topology, retry_exchange
from chassis.runtime.process import cancel_all
from chassis.types.ids import uuid7
from chassis_testing.broker import management_client, new_vhost, new_vhost_with_users, publish_raw, take_message
from chassis_testing.environment import environment_variable
from chassis_testing.waiting import eventually
from google.protobuf.message import Message
from prometheus_client import REGISTRY
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderConfirmed

TOPOLOGY = load_topology()
SERVICES = sorted({event.producer for event in TOPOLOGY.events.values()} | {"notification"})
CONSUMERS = sorted({consumer for event in TOPOLOGY.events.values() for consumer in event.consumers})

Users = Mapping[str, str]


@pytest.fixture(scope="module")
async def shop() -> AsyncIterator[Users]:
    """The URLs of the users of one shop's broker, for attempts that must change nothing."""
    async with new_vhost_with_users() as urls:
        yield urls


@pytest.fixture
async def users() -> AsyncIterator[Users]:
    """The URLs of the users of one shop's broker."""
    async with new_vhost_with_users() as urls:
        yield urls


def event(payload: Message) -> Event:
    return Event(uuid7(), "018f", datetime.now(UTC), payload, {})


Attempt = Callable[[AbstractChannel], Awaitable[object]]


async def allowed(url: str, attempts: Mapping[str, Attempt]) -> list[str]:
    """Returns the names of the attempts that the broker does not refuse this user for a lack of permission."""
    succeeded = []
    async with await aio_pika.connect(url) as connection:
        for name, attempt in attempts.items():
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            try:
                await attempt(channel)
            except ChannelAccessRefused:
                continue
            succeeded.append(name)
    return succeeded


def publishing(exchange: str, key: str, **properties: object) -> Attempt:
    async def attempt(channel: AbstractChannel) -> None:
        target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        await target.publish(aio_pika.Message(b"{}", **properties), key)  # type: ignore[arg-type]  # any property

    return attempt


def reading(queue: str) -> Attempt:
    async def attempt(channel: AbstractChannel) -> None:
        await (await channel.get_queue(queue, ensure=False)).get(fail=False)

    return attempt


async def test_a_service_publishes_with_the_keys_of_its_own_events_only(shop: Users) -> None:
    attempts = {key: publishing(TOPOLOGY.exchange, key) for key in TOPOLOGY.events}
    for service in SERVICES:
        for user in (service, f"2.{service}"):
            assert await allowed(shop[user], attempts) == TOPOLOGY.produced_by(service)


async def test_a_service_adds_no_key_of_another_to_its_own(shop: Users) -> None:
    attempts = {
        header: publishing(TOPOLOGY.exchange, "payment.completed.v1", headers={header: ["order.confirmed.v1"]})
        for header in ("CC", "BCC")
    }
    assert await allowed(shop["payment"], attempts) == []


async def test_a_service_publishes_to_no_queue_of_another(shop: Users) -> None:
    exchanges = {f"{consumer}: {name}": (name, consumer) for consumer in CONSUMERS for name in ("", "ecommerce.dead")}
    retries = {consumer: publishing(retry_exchange(consumer), consumer) for consumer in CONSUMERS}
    for service in SERVICES:
        direct = {name: publishing(*target) for name, target in exchanges.items()}
        assert await allowed(shop[service], direct) == []
        assert await allowed(shop[service], retries) == [own for own in CONSUMERS if own == service]


async def test_a_service_reads_its_own_queue_and_dead_letters_only(shop: Users) -> None:
    queues = [queue for name in CONSUMERS for queue in (name, f"{name}.dead", f"{name}.retry.1000")]
    for service in SERVICES:
        readable = await allowed(shop[service], {queue: reading(queue) for queue in queues})
        assert readable == [queue for queue in queues if queue in (service, f"{service}.dead")]


async def test_a_service_declares_binds_and_deletes_nothing(shop: Users) -> None:
    for service in SERVICES:
        assert await allowed(shop[service], changes(service)) == []


def changes(service: str) -> dict[str, Attempt]:
    """Returns what would give a service the events of another, or take them from it."""

    async def bind(channel: AbstractChannel) -> None:
        await (await channel.get_queue(service, ensure=False)).bind(TOPOLOGY.exchange, "user.password_reset_requested")

    async def unbind(channel: AbstractChannel) -> None:
        await (await channel.get_queue("order", ensure=False)).unbind(TOPOLOGY.exchange, "payment.completed.v1")

    redirecting = {"x-dead-letter-exchange": TOPOLOGY.exchange, "x-dead-letter-routing-key": "order.confirmed.v1"}
    return {
        "bind its queue": bind,
        "unbind another queue": unbind,
        "declare a queue that publishes what expires": lambda channel: channel.declare_queue(
            f"{service}.retry.1", durable=True, arguments=redirecting
        ),
        "declare a private queue": lambda channel: channel.declare_queue(exclusive=True),
        "declare an exchange": lambda channel: channel.declare_exchange(f"{service}.spy", "fanout"),
        "delete a queue": lambda channel: channel.queue_delete("order"),
        "delete the exchange": lambda channel: channel.exchange_delete(TOPOLOGY.exchange),
    }


async def test_a_service_may_not_use_the_brokers_management(shop: Users) -> None:
    management = environment_variable("TEST_RABBITMQ_MANAGEMENT_URL")
    for service in SERVICES:
        url = urlsplit(shop[service])
        async with management_client(management, url.username or "", url.password or "") as client:
            for path in ("/api/overview", "/api/definitions", "/api/users", f"/api/queues{url.path}/order"):
                assert (await client.get(path)).status_code == 401, path


async def test_a_service_cannot_claim_the_user_of_another(shop: Users) -> None:
    order = urlsplit(shop["order"]).username
    async with await aio_pika.connect(shop["payment"]) as connection:
        channel = await connection.channel(publisher_confirms=True)
        with pytest.raises((ChannelPreconditionFailed, DeliveryError)):
            await publishing(TOPOLOGY.exchange, "payment.completed.v1", user_id=order)(channel)


async def test_the_definitions_are_what_services_with_one_user_declare(shop: Users) -> None:
    async with new_vhost() as shared:
        async with await aio_pika.connect(shared) as connection:
            for consumer in CONSUMERS:
                await declare_queue(await connection.channel(), consumer)
        declared, defined = await exported(shared), await exported(shop["administrator"])
    assert defined["exchanges"] == declared["exchanges"]
    waiting = {row for row in defined["queues"] | defined["bindings"] if ".retry." in row}
    assert (defined["queues"] | defined["bindings"]) - waiting == declared["queues"] | declared["bindings"]


class Service:
    """A consumer with its own user that records what it receives, and fails the first `failures` times."""

    def __init__(
        self, users: Users, name: str, failures: int = 0, delays: tuple[float, ...] = (1,), user: str = ""
    ) -> None:
        self.received: list[Event] = []
        self.failures = failures
        self.broker = Broker(users[user or name], name, delays)
        self.task = asyncio.create_task(self.broker.consume(self._receive))

    async def _receive(self, received: Event) -> None:
        self.received.append(received)
        if len(self.received) <= self.failures:
            raise RuntimeError("the effect failed")

    async def receives(self, count: int) -> None:
        async def has() -> bool:
            return len(self.received) >= count

        await eventually(has)

    async def stop(self) -> None:
        await cancel_all(self.task)
        await self.broker.close()


@pytest.mark.parametrize(
    ("producer", "consumer"), [("order", "inventory"), ("2.order", "inventory"), ("order", "2.inventory")]
)
async def test_an_event_reaches_its_consumer_and_keeps_its_sender_through_retries(
    users: Users, producer: str, consumer: str
) -> None:
    """While passwords are rotated, pods have either user of their service."""
    inventory = Service(users, "inventory", failures=1, user=consumer)
    order = Broker(users[producer], "order")
    sent = event(OrderCancelled(order_id="018f"))

    await order.publish(sent.type.name, sent.id, events.encode(sent))

    await inventory.receives(2)
    assert [received.id for received in inventory.received] == [sent.id, sent.id]
    await inventory.stop()
    await order.close()


async def test_a_forged_event_is_dead_lettered_and_never_applied(users: Users) -> None:
    """Payment may publish to order's queue, but not say there that an order is confirmed."""
    order = Service(users, "order")
    before = refusals()
    forged = events.encode(event(OrderConfirmed(order_id="018f")))
    payment = Broker(users["payment"], "payment")

    await payment.publish("payment.completed.v1", uuid7(), forged)  # with the user that the broker verifies
    await publish_raw(users["payment"], TOPOLOGY.exchange, "payment.completed.v1", forged)  # without

    assert [await take_message(users["administrator"], "order.dead") for _ in range(2)] == [forged, forged]
    assert order.received == []
    assert refusals() == before + 2
    await order.stop()
    await payment.close()


async def test_the_consumer_refuses_a_sender_that_the_broker_lets_through(users: Users) -> None:
    order, payment = Service(users, "order"), Broker(users["payment"], "payment")
    forged = events.encode(event(OrderConfirmed(order_id="018f")))
    await allow_every_key(users, "payment")

    await payment.publish("order.confirmed.v1", uuid7(), forged)

    assert await take_message(users["administrator"], "order.dead") == forged
    assert order.received == []
    await order.stop()
    await payment.close()


async def test_messages_of_the_release_before_are_applied(users: Users) -> None:
    """They have no user: one waits in the queue, the other for its retry, while the services get users of their own."""
    first, second = (event(OrderCancelled(order_id=order)) for order in ("018f", "0190"))
    await publish_raw(users["administrator"], TOPOLOGY.exchange, first.type.name, events.encode(first))
    await publish_raw(users["administrator"], "inventory.retry", "inventory.retry.1000", events.encode(second))

    inventory = Service(users, "inventory", failures=1)

    await inventory.receives(3)
    assert {received.id for received in inventory.received} == {first.id, second.id}
    await inventory.stop()


async def test_dead_letters_that_are_put_back_keep_their_senders(users: Users) -> None:
    genuine, forged = event(OrderConfirmed(order_id="018f")), event(OrderConfirmed(order_id="0190"))
    order, payment = Broker(users["order"], "order"), Broker(users["payment"], "payment")
    failing = Service(users, "order", failures=1, delays=())
    await order.publish(genuine.type.name, genuine.id, events.encode(genuine))
    await payment.publish("payment.completed.v1", forged.id, events.encode(forged))
    await publish_raw(users["payment"], TOPOLOGY.exchange, "payment.completed.v1", events.encode(forged))
    await eventually(dead_letters(users, "order", 3))
    before = refusals()

    put_back = [message async for message in order.put_back_dead_letters()]

    assert len(put_back) == 3
    await failing.receives(2)
    await eventually(dead_letters(users, "order", 2))
    assert [received.id for received in failing.received] == [genuine.id, genuine.id]
    assert refusals() == before + 2
    await failing.stop()
    await order.close()
    await payment.close()


async def test_a_key_that_the_broker_refuses_leaves_the_event_in_the_outbox(shop: Users) -> None:
    payment = Broker(shop["payment"], "payment")
    with pytest.raises(BrokerUnavailable, match="ACCESS_REFUSED"):
        await payment.publish("order.confirmed.v1", uuid7(), b"{}")
    await payment.close()


def refusals() -> float:
    return REGISTRY.get_sample_value("broker_refused_events_total", {"reason": "forged"}) or 0.0


def dead_letters(users: Users, service: str, expected: int) -> Callable[[], Awaitable[bool]]:
    """Returns a condition: whether a service has that many dead letters."""

    async def has() -> bool:
        async with await aio_pika.connect(users["administrator"]) as connection:
            queue = await (await connection.channel()).get_queue(f"{service}.dead")
            return queue.declaration_result.message_count == expected

    return has


async def exported(url: str) -> dict[str, set[str]]:
    """Returns a virtual host's exchanges, queues and bindings, each as sorted JSON."""
    parts = urlsplit(url)
    management = environment_variable("TEST_RABBITMQ_MANAGEMENT_URL")
    async with management_client(management, parts.username or "", parts.password or "") as client:
        content = (await client.get(f"/api/definitions{parts.path}")).raise_for_status().json()
    return {
        section: {json.dumps(row, sort_keys=True) for row in content[section]}
        for section in ("exchanges", "queues", "bindings")
    }


async def allow_every_key(users: Users, service: str) -> None:
    """Takes the topic permission of a user away, so that RabbitMQ allows it every key."""
    administrator, user = urlsplit(users["administrator"]), urlsplit(users[service]).username
    management = environment_variable("TEST_RABBITMQ_MANAGEMENT_URL")
    async with management_client(management, administrator.username or "", administrator.password or "") as client:
        deleted = await client.delete(f"/api/topic-permissions{administrator.path}/{user}")
        deleted.raise_for_status()
