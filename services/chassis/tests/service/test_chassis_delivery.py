"""From a committed transaction to an effect somewhere else: nothing is lost, nothing takes effect twice."""

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
from chassis.errors import BrokerUnavailable, DatabaseUnavailable
from chassis.messaging import inbox
from chassis.messaging.broker import Broker
from chassis.messaging.events import Event
from chassis.messaging.inbox import Inbox, handles
from chassis.messaging.outbox import Outbox
from chassis.runtime.process import cancel_all
from chassis.settings import DatabaseSettings
from chassis.types.ids import uuid7
from chassis_testing.broker import new_vhost, publish_events, take_message
from chassis_testing.databases import empty_database
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from chassis_testing.waiting import eventually
from prometheus_client import REGISTRY
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderConfirmed, OrderPlaced
from sqlalchemy import MetaData, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class World:
    """One database, and a broker behind a cable."""

    settings: DatabaseSettings
    database: Database
    broker_url: str
    broker_cable: FaultProxy

    def relaying(self) -> tuple[Outbox, "asyncio.Task[None]"]:
        relay = Outbox(self.database, Broker(self.broker_url, "order"))
        return relay, asyncio.create_task(relay.relay())


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with empty_database() as settings, new_vhost() as broker_url:
        database = Database(settings, "none")
        metadata = MetaData()
        tables.outbox(metadata)
        tables.inbox(metadata)
        async with database.begin() as transaction:
            await transaction.run_sync(metadata.create_all)
            await transaction.execute(text("CREATE TABLE effects (order_id text)"))
        url = urlsplit(broker_url)
        async with fault_proxy(url.hostname or "", url.port or 5672) as line:
            through_cable = f"amqp://{url.username}:{url.password}@127.0.0.1:{line.port}{url.path}"
            yield World(settings, database, through_cable, line)
        await database.close()


async def cancel(world: World, relay: Outbox, order_id: UUID) -> None:
    async with world.database.begin() as transaction:
        await relay.record(
            transaction, uuid7(), str(order_id), OrderCancelled(order_id=str(order_id)), datetime.now(UTC)
        )
    relay.wake()


async def count(world: World, table: str) -> int:
    async with world.database.begin() as transaction:
        return int((await transaction.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())  # noqa: S608


class Consumer:
    """A consumer whose effect is a row, and which may be told to fail."""

    def __init__(self, world: World, failures: int = 0) -> None:
        self.failures = failures
        self.deliveries = 0
        self.inbox = Inbox(
            "inventory",
            world.database,
            [
                handles(OrderCancelled, self._apply),
                handles(OrderPlaced, self._ignore),
                handles(OrderConfirmed, self._ignore),
            ],
        )
        broker = Broker(world.broker_url, "inventory")
        self.task = asyncio.create_task(broker.consume(self.inbox.receive))

    async def _apply(self, transaction: AsyncConnection, order: OrderCancelled) -> None:
        self.deliveries += 1
        await transaction.execute(text("INSERT INTO effects VALUES (:id)"), {"id": order.order_id})
        if self.deliveries <= self.failures:
            raise RuntimeError("the effect failed")

    async def _ignore(self, transaction: AsyncConnection, order: OrderPlaced | OrderConfirmed) -> None:
        pass


async def test_an_event_is_sent_if_and_only_if_its_transaction_commits(world: World) -> None:
    relay, task = world.relaying()
    consumer = Consumer(world)
    kept = uuid7()
    with pytest.raises(RuntimeError, match="rolled back"):  # noqa: PT012 - the block is the transaction
        async with world.database.begin() as transaction:
            await relay.record(transaction, uuid7(), "x", OrderCancelled(order_id="x"), datetime.now(UTC))
            raise RuntimeError("rolled back")
    await cancel(world, relay, kept)

    await eventually(lambda: _is(world, "effects", 1))

    async with world.database.begin() as transaction:
        assert (await transaction.scalars(text("SELECT order_id FROM effects"))).all() == [str(kept)]
    await cancel_all(task, consumer.task)


async def test_events_wait_while_the_broker_is_away_and_none_is_lost(world: World) -> None:
    relay, task = world.relaying()
    consumer = Consumer(world)
    await cancel(world, relay, uuid7())
    await eventually(lambda: _is(world, "effects", 1))

    await world.broker_cable.sever()
    for _ in range(150):
        await cancel(world, relay, uuid7())
    assert await count(world, "outbox") == 150
    await world.broker_cable.restore()

    await eventually(lambda: _is(world, "effects", 151))
    assert await count(world, "outbox") == 0
    await cancel_all(task, consumer.task)


async def test_an_event_delivered_twice_takes_effect_once(world: World) -> None:
    consumer = Consumer(world)
    relay, task = world.relaying()
    await cancel(world, relay, uuid7())
    await eventually(lambda: _is(world, "effects", 1))
    event = Event(uuid7(), "018f", datetime.now(UTC), OrderCancelled(order_id="018f"), {})

    await publish_events(world.broker_url, [event, event, event])

    await eventually(lambda: _is(world, "inbox", 2))
    await cancel(world, relay, uuid7())
    await eventually(lambda: _is(world, "inbox", 3))
    assert await count(world, "effects") == 3
    await cancel_all(task, consumer.task)


async def test_what_was_received_is_remembered_for_a_month(world: World) -> None:
    relay, task = world.relaying()
    consumer = Consumer(world)
    for _ in range(2):
        await cancel(world, relay, uuid7())
    await eventually(lambda: _is(world, "inbox", 2))
    async with world.database.begin() as transaction:
        old, young = (await transaction.scalars(text("SELECT event_id FROM inbox"))).all()
        received = text("UPDATE inbox SET received_at = now() - CAST(:age AS interval) WHERE event_id = :id")
        await transaction.execute(received, {"age": inbox.RETENTION + timedelta(hours=1), "id": old})
        await transaction.execute(received, {"age": inbox.RETENTION - timedelta(hours=1), "id": young})

    await consumer.inbox.prune()

    async with world.database.begin() as transaction:
        assert (await transaction.scalars(text("SELECT event_id FROM inbox"))).all() == [young]
    await cancel_all(task, consumer.task)


async def test_however_much_is_old_all_of_it_is_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "_PRUNE_BATCH", 10)
    async with world.database.begin() as transaction:
        await transaction.execute(
            text("INSERT INTO inbox SELECT gen_random_uuid(), now() - interval '1 year' FROM generate_series(1, 25)")
        )
    consumer = Consumer(world)

    await consumer.inbox.prune()

    assert await count(world, "inbox") == 0
    await cancel_all(consumer.task)


async def test_a_consumer_whose_queue_was_deleted_begins_anew(world: World) -> None:
    relay, task = world.relaying()
    consumer = Consumer(world)
    await cancel(world, relay, uuid7())
    await eventually(lambda: _is(world, "effects", 1))

    async with await aio_pika.connect(world.broker_url) as connection:
        await (await connection.channel()).queue_delete("inventory")
        await eventually(lambda: _is_consumed(connection, "inventory"))
    await cancel(world, relay, uuid7())

    await eventually(lambda: _is(world, "effects", 2))
    await cancel_all(task, consumer.task)


async def test_an_event_that_comes_before_the_schema_waits_for_it(world: World) -> None:
    relay, task = world.relaying()
    before = _given_back()
    async with world.database.begin() as transaction:
        await transaction.execute(text("ALTER TABLE effects RENAME TO later"))
    consumer = Consumer(world)
    await cancel(world, relay, uuid7())

    async def was_tried() -> bool:
        return consumer.deliveries >= 2

    await eventually(was_tried)
    async with world.database.begin() as transaction:
        await transaction.execute(text("ALTER TABLE later RENAME TO effects"))

    await eventually(lambda: _is(world, "effects", 1))
    assert _given_back() == before
    await cancel_all(task, consumer.task)


async def test_the_first_event_that_is_not_taken_ends_its_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = Outbox(world.database, Broker(world.broker_url, "order"))
    for _ in range(3):
        await cancel(world, relay, uuid7())
    ended: list[str] = []
    taken = asyncio.Event()

    async def publish(_broker: Broker, _key: str, _event_id: UUID, _body: bytes) -> None:
        if not ended:
            ended.append("first")
            raise BrokerUnavailable("away")
        try:
            await taken.wait()
        finally:
            ended.append("other")

    monkeypatch.setattr(Broker, "publish", publish)
    task = asyncio.create_task(relay.relay())

    async def has_ended() -> bool:
        return len(ended) >= 3

    await eventually(has_ended)
    await cancel_all(task)


async def test_a_failed_effect_leaves_nothing_and_is_tried_again(world: World) -> None:
    relay, task = world.relaying()
    consumer = Consumer(world, failures=3)
    await cancel(world, relay, uuid7())

    await eventually(lambda: _is(world, "effects", 1))

    assert consumer.deliveries == 4
    assert await count(world, "inbox") == 1
    await cancel_all(task, consumer.task)


async def test_an_effect_that_always_fails_ends_in_the_dead_letters(world: World) -> None:
    relay, task = world.relaying()
    consumer = Consumer(world, failures=10**6)
    order = uuid7()
    await cancel(world, relay, order)

    await eventually(lambda: _is(world, "outbox", 0))
    dead = await take_message(world.broker_url, "inventory.dead")

    assert str(order).encode() in dead
    assert await count(world, "effects") == 0
    await cancel_all(task, consumer.task)


async def test_two_relays_send_each_event_once(world: World) -> None:
    (relay, first), (_, second) = world.relaying(), world.relaying()
    consumer = Consumer(world)
    for _ in range(250):
        await cancel(world, relay, uuid7())

    await eventually(lambda: _is(world, "effects", 250))

    assert consumer.deliveries == 250
    await cancel_all(first, second, consumer.task)


async def test_a_database_that_is_away_is_said_so_and_comes_back_by_itself() -> None:
    async with empty_database() as settings, fault_proxy(settings.db_host, settings.db_port) as line:
        database = Database(settings.model_copy(update={"db_host": "127.0.0.1", "db_port": line.port}), "none")
        async with database.begin() as transaction:
            assert await transaction.scalar(text("SELECT 1")) == 1

        await line.sever()
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable):
                async with database.begin() as transaction:
                    await transaction.execute(text("SELECT 1"))
        await line.restore()

        async with database.begin() as transaction:
            assert await transaction.scalar(text("SELECT 1")) == 1
        await database.close()


async def test_a_value_that_cannot_be_stored_is_not_taken_for_an_outage() -> None:
    async with empty_database() as settings:
        database = Database(settings, "none")
        with pytest.raises(DBAPIError):
            async with database.begin() as transaction:
                await transaction.execute(text("SELECT CAST(:number AS int)"), {"number": 2**31})
        await database.close()


async def test_a_database_that_does_not_let_us_in_is_an_outage_and_tells_nobody_why() -> None:
    async with empty_database() as settings:
        database = Database(settings.model_copy(update={"db_password": "wrong", "db_name": "none"}), "none")
        with pytest.raises(DatabaseUnavailable, match=r"^the database is not answering$"):
            async with database.begin():
                pass
        assert not await database.is_ready()
        await database.close()


async def test_a_full_pool_is_said_so() -> None:
    async with empty_database() as settings:
        database = Database(settings.model_copy(update={"db_pool_size": 1, "db_connect_timeout_seconds": 0.05}), "none")
        async with database.begin():
            with pytest.raises(DatabaseUnavailable, match="every connection"):
                async with database.begin():
                    pass
        await database.close()


async def _is_consumed(connection: AbstractConnection, queue: str) -> bool:
    """Whether there is such a queue, and somebody takes from it."""
    try:
        declared = await (await connection.channel()).declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:
        return False
    return bool(declared.declaration_result.consumer_count)


def _given_back() -> float:
    """Deliveries that were used up."""
    return REGISTRY.get_sample_value("broker_delivery_failures_total", {"type": "order.cancelled.v1"}) or 0.0


async def _is(world: World, table: str, expected: int) -> bool:
    return await count(world, table) == expected
