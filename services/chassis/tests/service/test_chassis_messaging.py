"""Events from their transaction to their effect in another service: none is lost, and none is applied twice."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity
from chassis.database import pruning, tables
from chassis.database.engine import Database
from chassis.database.statements import AutocommitConnection
from chassis.errors import BrokerUnavailable, PublishRefused, ResendRefused
from chassis.messaging import events, inbox, resend
from chassis.messaging.broker import Broker, declare_queue
from chassis.messaging.events import Event
from chassis.messaging.inbox import Inbox, handles
from chassis.messaging.outbox import Outbox
from chassis.messaging.resend import MAX_AGE, Selection
from chassis.messaging.topology import load_topology, retry_exchange
from chassis.runtime.process import cancel_all
from chassis.settings import DatabaseSettings
from chassis.types.ids import uuid7
from chassis_testing.broker import (
    new_vhost,
    next_message,
    publish_events,
    publish_raw,
    recorded_events,
    take_message,
)
from chassis_testing.databases import empty_database
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from chassis_testing.ports import free_port
from chassis_testing.sent_statements import sent_statements
from chassis_testing.waiting import eventually
from prometheus_client import REGISTRY
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderConfirmed, OrderPlaced, OrderShipped
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class Backend:
    """One database, and a broker behind a fault proxy."""

    settings: DatabaseSettings
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
        tables.outbox_published(metadata)
        tables.inbox(metadata)
        async with database.begin() as transaction:
            await transaction.run_sync(metadata.create_all)
            await transaction.execute(text("CREATE TABLE effects (order_id text)"))
        url = urlsplit(broker_url)
        async with fault_proxy(url.hostname or "", url.port or 5672) as proxy:
            proxied_url = f"amqp://{url.username}:{url.password}@127.0.0.1:{proxy.port}{url.path}"
            yield Backend(settings, database, proxied_url, proxy)
        await database.close()


MAKE_YOUNG = text("UPDATE outbox SET recorded_at = now() + interval '1 hour'")
"""Makes events too young for a relay that reads the table."""


async def record_cancellation(
    backend: Backend, outbox: Outbox, order_id: UUID, *, event_id: UUID | None = None
) -> None:
    async with backend.database.begin() as transaction:
        event_id, order = event_id or uuid7(), str(order_id)
        await outbox.record(transaction, event_id, order, OrderCancelled(order_id=order), datetime.now(UTC))


async def assert_published(backend: Backend, published: Sequence[UUID], expected: Sequence[UUID]) -> None:
    """Asserts that these events are published, in this order and each once."""
    await backend.wait_for_rows("outbox_published", len(expected))
    assert published == expected


def refuse_events_of(monkeypatch: pytest.MonkeyPatch, order_id: UUID) -> None:
    """Makes the broker refuse the events of one order, and confirm all others."""

    async def publish(_broker: Broker, _key: str, _event_id: UUID, body: bytes) -> None:
        if events.decode(body).subject == str(order_id):
            raise PublishRefused("no queue takes it")

    monkeypatch.setattr(Broker, "publish", publish)


RETRY_DELAYS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)


class Consumer:
    """A consumer that inserts a row for each event, and fails the first `failures` times, or for some orders always."""

    def __init__(self, backend: Backend, failures: int = 0, retry_delays: Sequence[float] = RETRY_DELAYS) -> None:
        self.failures = failures
        self.fails_always: set[str] = set()
        self.deliveries = 0
        self.inbox = Inbox(
            "inventory",
            backend.database,
            [
                handles(OrderCancelled, self._apply),
                handles(OrderPlaced, self._ignore),
                handles(OrderConfirmed, self._ignore),
                handles(OrderShipped, self._ignore),
            ],
        )
        broker = Broker(backend.broker_url, "inventory", retry_delays)
        self.task = asyncio.create_task(broker.consume(self.inbox.receive, self.inbox.receive_batch))

    async def _apply(self, transaction: AsyncConnection, order: OrderCancelled) -> None:
        self.deliveries += 1
        await transaction.execute(text("INSERT INTO effects VALUES (:id)"), {"id": order.order_id})
        if self.deliveries <= self.failures or order.order_id in self.fails_always:
            raise RuntimeError("the effect failed")

    async def _ignore(self, transaction: AsyncConnection, order: OrderPlaced | OrderConfirmed | OrderShipped) -> None:
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


async def test_a_process_publishes_what_it_has_committed_without_reading_it(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    await record_cancellation(backend, outbox, uuid7())
    await backend.wait_for_rows("outbox_published", 1)

    async with backend.database.begin() as transaction:
        await outbox.record(transaction, uuid7(), "x", OrderCancelled(order_id="x"), datetime.now(UTC))
        await transaction.execute(MAKE_YOUNG)

    await backend.wait_for_rows("outbox_published", 2)
    await cancel_all(relay)


async def test_a_relay_leaves_young_events_to_the_process_that_has_recorded_them(backend: Backend) -> None:
    async with backend.database.begin() as transaction:
        recorder = Outbox(backend.database, Broker(backend.broker_url, "order"))
        await recorder.record(transaction, uuid7(), "young", OrderCancelled(order_id="young"), datetime.now(UTC))
        await transaction.execute(MAKE_YOUNG)
        await recorder.record(transaction, uuid7(), "old", OrderCancelled(order_id="old"), datetime.now(UTC))
    _, relay = backend.start_relay()

    await backend.wait_for_rows("outbox_published", 1)

    async with backend.database.begin() as transaction:
        assert (await transaction.scalars(text("SELECT sequence FROM outbox"))).all() == [1]
    await cancel_all(relay)


async def test_what_is_committed_after_an_outage_is_published_behind_what_waits(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage, published = asyncio.Event(), list[UUID]()

    async def publish(_broker: Broker, _key: str, event_id: UUID, _body: bytes) -> None:
        if published and not outage.is_set():
            outage.set()
            raise BrokerUnavailable("unavailable")
        published.append(event_id)

    monkeypatch.setattr(Broker, "publish", publish)
    outbox, relay = backend.start_relay()
    order, before, first, second = uuid7(), uuid7(), uuid7(), uuid7()
    await record_cancellation(backend, outbox, order, event_id=before)
    await backend.wait_for_rows("outbox_published", 1)
    await record_cancellation(backend, outbox, order, event_id=first)
    await outage.wait()
    await record_cancellation(backend, outbox, order, event_id=second)

    await assert_published(backend, published, [before, first, second])
    await cancel_all(relay)


async def test_what_is_recorded_between_two_relays_of_an_outbox_is_published_before_what_is_committed_next(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = list[UUID]()

    async def publish(_broker: Broker, _key: str, event_id: UUID, _body: bytes) -> None:
        published.append(event_id)

    monkeypatch.setattr(Broker, "publish", publish)
    outbox, relay = backend.start_relay()
    order, before, first, second = uuid7(), uuid7(), uuid7(), uuid7()
    await record_cancellation(backend, outbox, order, event_id=before)
    await backend.wait_for_rows("outbox_published", 1)
    await cancel_all(relay)
    await record_cancellation(backend, outbox, order, event_id=first)
    relay = asyncio.create_task(outbox.relay())
    await record_cancellation(backend, outbox, order, event_id=second)

    await assert_published(backend, published, [before, first, second])
    await cancel_all(relay)


async def test_a_committed_event_takes_one_statement_to_be_published(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def publish(_broker: Broker, _key: str, _event_id: UUID, _body: bytes) -> None:
        pass

    monkeypatch.setattr(Broker, "publish", publish)
    async with sent_statements(backend.settings) as (sent, proxied):
        recording = Database(proxied, "none")
        outbox = Outbox(recording, Broker(backend.broker_url, "order"))
        relay = asyncio.create_task(outbox.relay())
        for number in (1, 2):
            sent.clear()
            async with recording.begin() as transaction:
                await outbox.record(transaction, uuid7(), "x", OrderCancelled(order_id="x"), datetime.now(UTC))
            await backend.wait_for_rows("outbox_published", number)
        await cancel_all(relay)
        await recording.close()

    is_measuring = "SELECT"  # the backlog, from time to time
    assert [verb for verb in sent.verbs if verb != is_measuring] == ["BEGIN", "INSERT", "COMMIT", "WITH"]


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


async def test_a_connection_that_was_refused_is_closed() -> None:
    url = f"amqp://test:test@127.0.0.1:{free_port()}/"
    with pytest.raises(BrokerUnavailable) as refused:  # its traceback keeps the connection
        await Broker(url, "order").publish("order.placed", uuid7(), b"{}")
    ours = [one for one in gc.get_objects() if isinstance(one, aio_pika.Connection) and str(one.url) == url]
    assert [one.is_closed for one in ours] == [True], refused.value


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
    monkeypatch.setattr(pruning, "BATCH", 10)
    async with backend.database.begin() as transaction:
        await transaction.execute(
            text("INSERT INTO inbox SELECT gen_random_uuid(), now() - interval '1 year' FROM generate_series(1, 25)")
        )
    consumer = Consumer(backend)

    await consumer.inbox.prune()

    assert await backend.count("inbox") == 0
    await cancel_all(consumer.task)


async def test_events_that_a_queue_has_lost_take_effect_once_however_often_they_are_resent(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resend, "_BATCH", 10)
    outbox, relay = backend.start_relay()
    received = await lose_all_but_the_first_event(backend, outbox, count=25)
    consumer = Consumer(backend)

    for _ in range(2):
        before, now = consumed_events(), datetime.now(UTC)
        assert await resend_all(backend, Selection(now - timedelta(hours=1), now)) == 25
        await eventually(has_consumed(before + 25))
        await backend.wait_for_rows("outbox_published", 25)

    async with backend.database.begin() as transaction:
        effects = (await transaction.scalars(text("SELECT order_id FROM effects"))).all()
    assert len(effects) == len(set(effects)) == 25
    assert received in effects
    assert await backend.count("outbox") == 0
    await cancel_all(relay, consumer.task)


async def test_only_events_of_the_period_and_of_the_type_are_resent(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    for _ in range(3):
        await record_cancellation(backend, outbox, uuid7())
    await backend.wait_for_rows("outbox_published", 3)
    await cancel_all(relay)
    now = datetime.now(UTC)
    published = [now - timedelta(hours=3), now - timedelta(hours=2), now - timedelta(hours=1)]
    async with backend.database.begin() as transaction:
        sequences = (await transaction.scalars(text("SELECT sequence FROM outbox_published ORDER BY 1"))).all()
        for sequence, at in zip(sequences, published, strict=True):
            row = {"at": at, "sequence": sequence}
            await transaction.execute(
                text("UPDATE outbox_published SET published_at = :at WHERE sequence = :sequence"), row
            )

    assert await resend_all(backend, Selection(published[0], now, "order.placed.v1")) == 0
    assert await resend_all(backend, Selection(published[1], published[2], "order.cancelled.v1")) == 1

    assert await backend.count("outbox") == 1
    async with backend.database.begin() as transaction:
        kept = (await transaction.scalars(text("SELECT sequence FROM outbox_published ORDER BY 1"))).all()
    assert kept == [sequences[0], sequences[2]]


async def test_an_event_that_consumers_may_have_forgotten_is_not_resent(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    await record_cancellation(backend, outbox, uuid7())
    await backend.wait_for_rows("outbox_published", 1)
    async with backend.database.begin() as transaction:
        recorded = text("UPDATE outbox_published SET recorded_at = now() - CAST(:age AS interval)")
        await transaction.execute(recorded, {"age": MAX_AGE + timedelta(minutes=1)})

    now = datetime.now(UTC)
    assert await resend_all(backend, Selection(now - timedelta(days=1), now)) == 0
    with pytest.raises(ResendRefused, match="too long ago"):
        Selection(now - MAX_AGE - timedelta(seconds=1), now).validate("order", now)
    Selection(now - MAX_AGE, now).validate("order", now)
    await cancel_all(relay)


async def test_a_resent_event_waits_since_it_was_marked(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    await record_cancellation(backend, outbox, uuid7())
    await backend.wait_for_rows("outbox_published", 1)
    await backend.broker_proxy.sever()
    async with backend.database.begin() as transaction:
        await transaction.execute(text("UPDATE outbox_published SET recorded_at = now() - interval '5 days'"))
    before = datetime.now(UTC)
    await resend_all(backend, Selection(before - timedelta(hours=1), before))

    async def is_measured() -> bool:
        return REGISTRY.get_sample_value("outbox_backlog") == 1

    await eventually(is_measured)
    waited = (datetime.now(UTC) - before).total_seconds()
    assert 0 <= (REGISTRY.get_sample_value("outbox_lag_seconds") or 0) <= waited + 1
    await cancel_all(relay)


async def test_published_events_are_kept_for_their_retention(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "BATCH", 2)
    outbox, relay = backend.start_relay()
    for _ in range(6):
        await record_cancellation(backend, outbox, uuid7())
    await backend.wait_for_rows("outbox_published", 6)
    async with backend.database.begin() as transaction:
        await transaction.execute(
            text(
                "UPDATE outbox_published SET published_at = now() - interval '8 days' WHERE sequence <> "
                "(SELECT max(sequence) FROM outbox_published)"
            )
        )

    await outbox.prune(timedelta(days=7))

    assert await backend.count("outbox_published") == 1
    await cancel_all(relay)


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


async def test_an_outage_keeps_what_the_broker_has_confirmed(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(backend.database, Broker(backend.broker_url, "order"))
    for _ in range(3):
        await record_cancellation(backend, outbox, uuid7())
    confirmed: list[UUID] = []

    async def publish(_broker: Broker, _key: str, event_id: UUID, _body: bytes) -> None:
        if confirmed:
            raise BrokerUnavailable("unavailable")
        confirmed.append(event_id)

    monkeypatch.setattr(Broker, "publish", publish)
    relay = asyncio.create_task(outbox.relay())

    await backend.wait_for_rows("outbox", 2)

    async with backend.database.begin() as transaction:
        assert (await transaction.scalars(text("SELECT id FROM outbox_published"))).all() == confirmed
    await cancel_all(relay)


async def test_a_refused_event_stops_only_its_own_aggregate(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    await record_cancellation(backend, outbox, uuid7())
    await backend.wait_for_rows("outbox", 0)
    await bind_shipments(backend.broker_url, "unbind")
    stopped, other, later = uuid7(), uuid7(), uuid7()
    async with backend.database.begin() as transaction:
        for order, payload in (
            (stopped, OrderShipped(order_id=str(stopped))),
            (stopped, OrderCancelled(order_id=str(stopped))),
            (other, OrderCancelled(order_id=str(other))),
        ):
            await outbox.record(transaction, uuid7(), str(order), payload, datetime.now(UTC))
    await backend.wait_for_rows("outbox_published", 2)
    await record_cancellation(backend, outbox, later)
    await backend.wait_for_rows("outbox_published", 3)
    assert await backend.count("outbox") == 2

    await bind_shipments(backend.broker_url, "bind")

    await backend.wait_for_rows("outbox", 0)
    taken = [events.decode(await take_message(backend.broker_url, "inventory")) for _ in range(5)]
    assert [(event.type.name, event.subject) for event in taken[1:]] == [
        ("order.cancelled.v1", str(other)),
        ("order.cancelled.v1", str(later)),
        ("order.shipped.v1", str(stopped)),
        ("order.cancelled.v1", str(stopped)),
    ]
    await cancel_all(relay)


async def test_what_is_committed_shortly_before_a_retry_follows_the_refused_event_of_its_aggregate(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, refused = list[UUID](), asyncio.Event()
    order, first, second, third = uuid7(), uuid7(), uuid7(), uuid7()
    read = backend.database.read

    async def publish(_broker: Broker, _key: str, event_id: UUID, _body: bytes) -> None:
        if event_id == first and not refused.is_set():
            refused.set()
            raise PublishRefused("no queue takes it")
        published.append(event_id)
        if event_id == first:
            await record_cancellation(backend, outbox, order, event_id=third)

    @asynccontextmanager
    async def read_with_second_just_recorded() -> AsyncIterator[AutocommitConnection]:
        """Stands for the measurement before each read of the table."""
        async with backend.database.begin() as transaction:
            await transaction.execute(text("UPDATE outbox SET recorded_at = now() WHERE id = :id"), {"id": second})
        async with read() as connection:
            yield connection

    monkeypatch.setattr(Broker, "publish", publish)
    monkeypatch.setattr(backend.database, "read", read_with_second_just_recorded)
    outbox, relay = backend.start_relay()
    await record_cancellation(backend, outbox, order, event_id=first)
    await refused.wait()
    await record_cancellation(backend, outbox, order, event_id=second)

    await assert_published(backend, published, [first, second, third])
    await cancel_all(relay)


async def test_events_that_pass_a_refused_one_do_not_hide_that_it_waits(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = uuid7()

    async def is_reported() -> bool:
        return all(REGISTRY.get_sample_value(name) for name in ("outbox_backlog", "outbox_lag_seconds"))

    refuse_events_of(monkeypatch, stopped)
    outbox, relay = backend.start_relay()
    await record_cancellation(backend, outbox, stopped)
    await eventually(is_reported)
    for others in range(1, 4):
        await record_cancellation(backend, outbox, uuid7())
        await backend.wait_for_rows("outbox_published", others)

        assert await is_reported()
    await cancel_all(relay)


async def test_events_that_are_committed_during_a_retry_do_not_hide_that_a_refused_one_waits(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, measure = uuid7(), Outbox._measure
    reported: list[float | None] = []

    async def measure_and_commit(outbox: Outbox) -> int:
        backlog = await measure(outbox)
        reported.append(REGISTRY.get_sample_value("outbox_backlog"))
        for _ in range(3 if len(reported) == 1 else 0):
            await record_cancellation(backend, other, uuid7())
        return backlog

    refuse_events_of(monkeypatch, stopped)
    other = Outbox(backend.database, Broker(backend.broker_url, "order"))
    await record_cancellation(backend, other, stopped)
    monkeypatch.setattr(Outbox, "_measure", measure_and_commit)
    _, relay = backend.start_relay()
    await backend.wait_for_rows("outbox_published", 3)

    assert reported[0] == 1
    assert REGISTRY.get_sample_value("outbox_backlog") == 1
    await cancel_all(relay)


async def test_the_backlog_is_what_waits_after_each_batch_whatever_was_recorded_since_it_was_measured(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Outbox(backend.database, Broker(backend.broker_url, "order"))
    stopped, is_first = uuid7(), True

    async def record(orders: Sequence[UUID]) -> None:
        async with backend.database.begin() as transaction:
            for order in map(str, orders):
                await recorder.record(transaction, uuid7(), order, OrderCancelled(order_id=order), datetime.now(UTC))

    async def publish(_broker: Broker, _key: str, _event_id: UUID, body: bytes) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            await record([uuid7() for _ in range(195)])
        if events.decode(body).subject == str(stopped):
            raise PublishRefused("no queue takes it")

    async def is_measured() -> bool:
        return REGISTRY.get_sample_value("outbox_backlog") == 5

    monkeypatch.setattr(Broker, "publish", publish)
    monkeypatch.setattr("chassis.messaging.outbox._POLL_SECONDS", 3600.0)
    await record([*[stopped] * 5, *[uuid7() for _ in range(200)]])

    _, relay = backend.start_relay()

    await backend.wait_for_rows("outbox_published", 395)
    await eventually(is_measured)
    await cancel_all(relay)


async def test_a_process_that_does_not_relay_keeps_no_events_in_memory(backend: Backend) -> None:
    outbox = Outbox(backend.database, Broker(backend.broker_url, "order"))
    payload = OrderCancelled(order_id="x" * 1_000_000)

    async def record() -> None:
        async with backend.database.begin() as transaction:
            await outbox.record(transaction, uuid7(), "x", payload, datetime.now(UTC))

    await record()  # what the first event of a process needs once
    tracemalloc.start()
    try:
        for _ in range(10):
            await record()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5_000_000


async def test_the_events_of_an_aggregate_are_published_in_turn_and_aggregates_at_the_same_time(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(backend.database, Broker(backend.broker_url, "order"))
    orders = [uuid7(), uuid7()]
    for order in orders * 3:
        await record_cancellation(backend, outbox, order)
    both_are_sent = asyncio.Barrier(2)
    published: list[str] = []

    async def publish(_broker: Broker, _key: str, _event_id: UUID, body: bytes) -> None:
        await both_are_sent.wait()
        published.append(events.decode(body).subject)

    monkeypatch.setattr(Broker, "publish", publish)
    relay = asyncio.create_task(outbox.relay())

    await backend.wait_for_rows("outbox", 0)

    rounds = [set(published[start : start + 2]) for start in (0, 2, 4)]
    assert rounds == [{str(order) for order in orders}] * 3
    await cancel_all(relay)


async def test_an_event_that_fails_in_a_batch_becomes_a_dead_letter_alone(backend: Backend) -> None:
    orders = [str(uuid7()) for _ in range(10)]
    sent = [Event(uuid7(), order, datetime.now(UTC), OrderCancelled(order_id=order), {}) for order in orders]
    async with await aio_pika.connect(backend.broker_url) as connection:
        await declare_queue(await connection.channel(), "inventory")
    await publish_events(backend.broker_url, sent)
    consumer = Consumer(backend, retry_delays=[])
    consumer.fails_always = {orders[4]}

    await backend.wait_for_rows("effects", 9)

    assert orders[4].encode() in await take_message(backend.broker_url, "inventory.dead")
    assert await backend.count("inbox") == 9
    async with await aio_pika.connect(backend.broker_url) as connection:
        assert await message_count(connection, "inventory.dead") == 0
    await cancel_all(consumer.task)


async def test_an_effect_that_fails_is_rolled_back_and_retried(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    consumer = Consumer(backend, failures=5)
    await record_cancellation(backend, outbox, uuid7())

    await backend.wait_for_rows("effects", 1)

    assert consumer.deliveries == 6
    assert await backend.count("inbox") == 1
    async with await aio_pika.connect(backend.broker_url) as connection:
        names = ["inventory.dead", *(f"inventory.retry.{round(delay * 1000)}" for delay in RETRY_DELAYS[:5])]
        for name in names:
            assert await message_count(connection, name) == 0, name
    await cancel_all(relay, consumer.task)


async def test_an_event_that_always_fails_becomes_a_dead_letter(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    consumer = Consumer(backend, failures=10**6)
    order = uuid7()
    await record_cancellation(backend, outbox, order)

    await backend.wait_for_rows("outbox", 0)
    dead = await take_message(backend.broker_url, "inventory.dead")

    assert str(order).encode() in dead
    assert consumer.deliveries == len(RETRY_DELAYS) + 1
    assert await backend.count("effects") == 0
    await cancel_all(relay, consumer.task)


async def test_a_test_takes_each_event_once_however_many_wait_behind_it(backend: Backend) -> None:
    count = load_topology().delivery_limit + 5
    sent = [Event(uuid7(), "test", datetime.now(UTC), OrderCancelled(order_id=str(n)), {}) for n in range(count)]
    async with recorded_events(backend.broker_url, "inventory") as next_event:
        await publish_events(backend.broker_url, sent)

        taken = [(await next_event()).id for _ in sent]

    assert taken == [event.id for event in sent]
    async with await aio_pika.connect(backend.broker_url) as connection:
        assert await message_count(connection, "inventory.dead") == 0


async def test_an_event_that_waits_for_its_retry_does_not_delay_others(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    consumer = Consumer(backend, retry_delays=[3600])
    failing = [uuid7() for _ in range(50)]  # more than a consumer gets at a time
    consumer.fails_always = {str(order) for order in failing}
    failed_before = failed_deliveries()
    for order in [*failing, uuid7()]:
        await record_cancellation(backend, outbox, order)

    await backend.wait_for_rows("effects", 1)

    async with await aio_pika.connect(backend.broker_url) as connection:

        async def all_wait() -> bool:
            return await message_count(connection, "inventory.retry.3600000") == len(failing)

        await eventually(all_wait)
    assert failed_deliveries() == failed_before + len(failing)
    await cancel_all(relay, consumer.task)


async def test_the_retries_of_an_event_are_counted_across_restarts_of_its_consumer(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    first = Consumer(backend, failures=10**6, retry_delays=[2, 0.05])
    await record_cancellation(backend, outbox, uuid7())

    async with await aio_pika.connect(backend.broker_url) as connection:

        async def waits() -> bool:
            try:
                return await message_count(connection, "inventory.retry.2000") == 1
            except ChannelNotFoundEntity:
                return False

        await eventually(waits)
    await cancel_all(first.task)
    second = Consumer(backend, failures=10**6, retry_delays=[2, 0.05])

    await take_message(backend.broker_url, "inventory.dead")

    assert first.deliveries + second.deliveries == 3
    await cancel_all(relay, second.task)


async def test_an_event_that_was_moved_back_from_the_dead_letters_is_retried_again(backend: Backend) -> None:
    outbox, relay = backend.start_relay()
    consumer = Consumer(backend, failures=5, retry_delays=[0.05, 0.1])
    await record_cancellation(backend, outbox, uuid7())

    await move_back(backend.broker_url, "inventory")

    await backend.wait_for_rows("effects", 1)
    assert consumer.deliveries == 6
    await cancel_all(relay, consumer.task)


async def test_an_event_of_a_newer_release_is_retried_until_a_consumer_knows_it(backend: Backend) -> None:
    consumer = Consumer(backend, retry_delays=[0.05])
    async with await aio_pika.connect(backend.broker_url) as connection:
        await eventually(lambda: has_consumer(connection, "inventory"))
    unknown = b'{"type": "stock.counted.v1"}'

    await publish_raw(backend.broker_url, retry_exchange("inventory"), "inventory", unknown)

    assert await take_message(backend.broker_url, "inventory.dead") == unknown
    async with await aio_pika.connect(backend.broker_url) as connection:
        assert await message_count(connection, "inventory.retry.50") == 0
    await cancel_all(consumer.task)


async def test_a_queue_of_the_release_before_is_used_as_it_is(backend: Backend) -> None:
    async with await aio_pika.connect(backend.broker_url) as connection:
        await (await connection.channel()).declare_queue(
            "inventory",
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-delivery-limit": 10,
                "x-dead-letter-exchange": "ecommerce.dead",
                "x-dead-letter-routing-key": "inventory",
            },
        )
    outbox, relay = backend.start_relay()
    consumer = Consumer(backend, failures=1)

    await record_cancellation(backend, outbox, uuid7())

    await backend.wait_for_rows("effects", 1)
    await cancel_all(relay, consumer.task)


async def test_two_relays_send_each_event_once(backend: Backend) -> None:
    (outbox, first), (_, second) = backend.start_relay(), backend.start_relay()
    consumer = Consumer(backend)
    for _ in range(250):
        await record_cancellation(backend, outbox, uuid7())

    await backend.wait_for_rows("effects", 250)

    assert consumer.deliveries == 250
    await cancel_all(first, second, consumer.task)


async def lose_all_but_the_first_event(backend: Backend, outbox: Outbox, count: int) -> str:
    """Publishes events of which one takes effect, and purges the others' queue. Returns the order that was received."""
    consumer = Consumer(backend)
    received = uuid7()
    await record_cancellation(backend, outbox, received)
    await backend.wait_for_rows("effects", 1)
    await cancel_all(consumer.task)
    async with backend.database.begin() as transaction:
        for _ in range(count - 1):
            order = str(uuid7())
            await outbox.record(transaction, uuid7(), order, OrderCancelled(order_id=order), datetime.now(UTC))
    await backend.wait_for_rows("outbox_published", count)
    async with await aio_pika.connect(backend.broker_url) as connection:
        queue = await (await connection.channel()).get_queue("inventory")
        await queue.purge()
    return str(received)


async def resend_all(backend: Backend, selection: Selection) -> int:
    return sum([moved async for moved in resend.resend(backend.database, selection)])


def consumed_events() -> float:
    """Returns how many deliveries took effect or were recognized as duplicates."""
    outcomes = ("applied", "duplicate")
    labels = [{"type": "order.cancelled.v1", "outcome": outcome} for outcome in outcomes]
    return sum(REGISTRY.get_sample_value("inbox_consumed_total", row) or 0 for row in labels)


def has_consumed(expected: float) -> Callable[[], Awaitable[bool]]:
    async def is_reached() -> bool:
        return consumed_events() >= expected

    return is_reached


async def move_back(broker_url: str, service: str) -> None:
    """Moves the next dead letter into the service's queue with all its headers, as a shovel does."""
    async with await aio_pika.connect(broker_url) as connection:
        await eventually(lambda: has_consumer(connection, service))
        channel = await connection.channel()
        message = await next_message(await channel.get_queue(f"{service}.dead"))
        again = aio_pika.Message(message.body, headers=message.headers, message_id=message.message_id)
        await channel.default_exchange.publish(again, service)
        await message.ack()


async def bind_shipments(broker_url: str, action: Literal["bind", "unbind"]) -> None:
    """Binds the queues of the consumers of shipments to their event type, or unbinds them."""
    topology, key = load_topology(), "order.shipped.v1"
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        for service in topology.events[key].consumers:
            queue = await channel.get_queue(service)
            change = queue.bind if action == "bind" else queue.unbind
            await change(topology.exchange, key)


async def message_count(connection: AbstractConnection, queue: str) -> int:
    """Returns how many messages wait in a queue."""
    declared = await (await connection.channel()).declare_queue(queue, passive=True)
    return declared.declaration_result.message_count or 0


async def has_consumer(connection: AbstractConnection, queue: str) -> bool:
    """Returns whether the queue exists and has a consumer."""
    try:
        declared = await (await connection.channel()).declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:
        return False
    return bool(declared.declaration_result.consumer_count)


def failed_deliveries() -> float:
    return REGISTRY.get_sample_value("broker_delivery_failures_total", {"type": "order.cancelled.v1"}) or 0.0
