"""Events from their transaction to their effect in another service: none is lost, and none is applied twice."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity
from chassis.database import tables
from chassis.database.engine import Database
from chassis.errors import BrokerUnavailable
from chassis.messaging import inbox
from chassis.messaging.broker import Broker
from chassis.messaging.events import Event
from chassis.messaging.inbox import Inbox, handles
from chassis.messaging.outbox import Outbox
from chassis.runtime.process import cancel_all
from chassis.types.ids import uuid7
from chassis_testing.broker import new_vhost, publish_events, take_message
from chassis_testing.databases import empty_database
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from chassis_testing.waiting import eventually
from prometheus_client import REGISTRY
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderConfirmed, OrderPlaced
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class Backend:
    """One database, and a broker behind a fault proxy."""

    database: Database
    broker_url: str
    broker_proxy: FaultProxy

    def start_relay(self) -> tuple[Outbox, "asyncio.Task[None]"]:
        outbox = Outbox(self.database, Broker(self.broker_url, "order"))
        return outbox, asyncio.create_task(outbox.relay())

    async def count(self, table: str) -> int:
        async with self.database.begin() as transaction:
            return int((await transaction.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())  # noqa: S608

    async def wait_for_rows(self, table: str, expected: int) -> None:
        async def has_rows() -> bool:
            return await self.count(table) == expected

        await eventually(has_rows)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with empty_database() as settings, new_vhost() as broker_url:
        database = Database(settings, "none")
        metadata = MetaData()
        tables.outbox(metadata)
        tables.inbox(metadata)
        async with database.begin() as transaction:
            await transaction.run_sync(metadata.create_all)
            await transaction.execute(text("CREATE TABLE effects (order_id text)"))
        url = urlsplit(broker_url)
        async with fault_proxy(url.hostname or "", url.port or 5672) as proxy:
            proxied_url = f"amqp://{url.username}:{url.password}@127.0.0.1:{proxy.port}{url.path}"
            yield Backend(database, proxied_url, proxy)
        await database.close()


async def record_cancellation(backend: Backend, outbox: Outbox, order_id: UUID) -> None:
    async with backend.database.begin() as transaction:
        await outbox.record(
            transaction, uuid7(), str(order_id), OrderCancelled(order_id=str(order_id)), datetime.now(UTC)
        )
    outbox.wake()


class Consumer:
    """A consumer that inserts a row for each event, and fails the first `failures` times."""

    def __init__(self, backend: Backend, failures: int = 0) -> None:
        self.failures = failures
        self.deliveries = 0
        self.inbox = Inbox(
            "inventory",
            backend.database,
            [
                handles(OrderCancelled, self._apply),
                handles(OrderPlaced, self._ignore),
                handles(OrderConfirmed, self._ignore),
            ],
        )
        broker = Broker(backend.broker_url, "inventory")
        self.task = asyncio.create_task(broker.consume(self.inbox.receive))

    async def _apply(self, transaction: AsyncConnection, order: OrderCancelled) -> None:
        self.deliveries += 1
        await transaction.execute(text("INSERT INTO effects VALUES (:id)"), {"id": order.order_id})
        if self.deliveries <= self.failures:
            raise RuntimeError("the effect failed")

    async def _ignore(self, transaction: AsyncConnection, order: OrderPlaced | OrderConfirmed) -> None:
        pass


async def test_an_event_is_sent_if_and_only_if_its_transaction_commits(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    consumer = Consumer(backend)
    committed = uuid7()
    with pytest.raises(RuntimeError, match="rolled back"):  # noqa: PT012 - the block is the transaction
        async with backend.database.begin() as transaction:
            await outbox.record(transaction, uuid7(), "x", OrderCancelled(order_id="x"), datetime.now(UTC))
            raise RuntimeError("rolled back")
    await record_cancellation(backend, outbox, committed)

    await backend.wait_for_rows("effects", 1)

    async with backend.database.begin() as transaction:
        assert (await transaction.scalars(text("SELECT order_id FROM effects"))).all() == [str(committed)]
    await cancel_all(relay, consumer.task)


async def test_no_event_is_lost_while_the_broker_is_unavailable(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    consumer = Consumer(backend)
    await record_cancellation(backend, outbox, uuid7())
    await backend.wait_for_rows("effects", 1)

    await backend.broker_proxy.sever()
    for _ in range(150):
        await record_cancellation(backend, outbox, uuid7())
    assert await backend.count("outbox") == 150
    await backend.broker_proxy.restore()

    await backend.wait_for_rows("effects", 151)
    assert await backend.count("outbox") == 0
    await cancel_all(relay, consumer.task)


async def test_an_event_that_is_delivered_twice_is_applied_once(backend: Backend) -> None:
    consumer = Consumer(backend)
    outbox, relay = backend.start_relay()
    await record_cancellation(backend, outbox, uuid7())
    await backend.wait_for_rows("effects", 1)
    event = Event(uuid7(), "018f", datetime.now(UTC), OrderCancelled(order_id="018f"), {})

    await publish_events(backend.broker_url, [event, event, event])

    await backend.wait_for_rows("inbox", 2)
    await record_cancellation(backend, outbox, uuid7())
    await backend.wait_for_rows("inbox", 3)
    assert await backend.count("effects") == 3
    await cancel_all(relay, consumer.task)


async def test_the_inbox_keeps_event_ids_for_a_month(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    consumer = Consumer(backend)
    for _ in range(2):
        await record_cancellation(backend, outbox, uuid7())
    await backend.wait_for_rows("inbox", 2)
    async with backend.database.begin() as transaction:
        old, young = (await transaction.scalars(text("SELECT event_id FROM inbox"))).all()
        received = text("UPDATE inbox SET received_at = now() - CAST(:age AS interval) WHERE event_id = :id")
        await transaction.execute(received, {"age": inbox.RETENTION + timedelta(hours=1), "id": old})
        await transaction.execute(received, {"age": inbox.RETENTION - timedelta(hours=1), "id": young})

    await consumer.inbox.prune()

    async with backend.database.begin() as transaction:
        assert (await transaction.scalars(text("SELECT event_id FROM inbox"))).all() == [young]
    await cancel_all(relay, consumer.task)


async def test_pruning_deletes_more_than_one_batch(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "_PRUNE_BATCH", 10)
    async with backend.database.begin() as transaction:
        await transaction.execute(
            text("INSERT INTO inbox SELECT gen_random_uuid(), now() - interval '1 year' FROM generate_series(1, 25)")
        )
    consumer = Consumer(backend)

    await consumer.inbox.prune()

    assert await backend.count("inbox") == 0
    await cancel_all(consumer.task)


async def test_a_consumer_declares_its_queue_again_after_it_was_deleted(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    consumer = Consumer(backend)
    await record_cancellation(backend, outbox, uuid7())
    await backend.wait_for_rows("effects", 1)

    async with await aio_pika.connect(backend.broker_url) as connection:
        await (await connection.channel()).queue_delete("inventory")
        await eventually(lambda: has_consumer(connection, "inventory"))
    await record_cancellation(backend, outbox, uuid7())

    await backend.wait_for_rows("effects", 2)
    await cancel_all(relay, consumer.task)


async def test_an_event_that_arrives_before_its_schema_waits_and_uses_up_no_delivery(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    before = failed_deliveries()
    async with backend.database.begin() as transaction:
        await transaction.execute(text("ALTER TABLE effects RENAME TO later"))
    consumer = Consumer(backend)
    await record_cancellation(backend, outbox, uuid7())

    async def was_retried() -> bool:
        return consumer.deliveries >= 2

    await eventually(was_retried)
    async with backend.database.begin() as transaction:
        await transaction.execute(text("ALTER TABLE later RENAME TO effects"))

    await backend.wait_for_rows("effects", 1)
    assert failed_deliveries() == before
    await cancel_all(relay, consumer.task)


async def test_the_first_event_that_cannot_be_published_ends_its_batch(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(backend.database, Broker(backend.broker_url, "order"))
    for _ in range(3):
        await record_cancellation(backend, outbox, uuid7())
    ended: list[str] = []

    async def publish(_broker: Broker, _key: str, _event_id: UUID, _body: bytes) -> None:
        if not ended:
            ended.append("first")
            raise BrokerUnavailable("unavailable")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("other")

    monkeypatch.setattr(Broker, "publish", publish)
    relay = asyncio.create_task(outbox.relay())

    async def have_all_ended() -> bool:
        return len(ended) >= 3

    await eventually(have_all_ended)
    await cancel_all(relay)


async def test_an_effect_that_fails_is_rolled_back_and_retried(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    consumer = Consumer(backend, failures=3)
    await record_cancellation(backend, outbox, uuid7())

    await backend.wait_for_rows("effects", 1)

    assert consumer.deliveries == 4
    assert await backend.count("inbox") == 1
    await cancel_all(relay, consumer.task)


async def test_an_event_that_always_fails_becomes_a_dead_letter(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    consumer = Consumer(backend, failures=10**6)
    order = uuid7()
    await record_cancellation(backend, outbox, order)

    await backend.wait_for_rows("outbox", 0)
    dead = await take_message(backend.broker_url, "inventory.dead")

    assert str(order).encode() in dead
    assert await backend.count("effects") == 0
    await cancel_all(relay, consumer.task)


async def test_two_relays_send_each_event_once(backend: Backend) -> None:
    (outbox, first), (_, second) = backend.start_relay(), backend.start_relay()
    consumer = Consumer(backend)
    for _ in range(250):
        await record_cancellation(backend, outbox, uuid7())

    await backend.wait_for_rows("effects", 250)

    assert consumer.deliveries == 250
    await cancel_all(first, second, consumer.task)


async def has_consumer(connection: AbstractConnection, queue: str) -> bool:
    """Returns whether the queue exists and has a consumer."""
    try:
        declared = await (await connection.channel()).declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:
        return False
    return bool(declared.declaration_result.consumer_count)


def failed_deliveries() -> float:
    return REGISTRY.get_sample_value("broker_delivery_failures_total", {"type": "order.cancelled.v1"}) or 0.0
