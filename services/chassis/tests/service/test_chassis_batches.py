"""Events that wait at the same time take effect in one transaction, and end as if each had come alone."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import pytest
from aio_pika.abc import AbstractIncomingMessage
from chassis.database import tables
from chassis.database.engine import Database
from chassis.messaging import events
from chassis.messaging.consumer import Consumer
from chassis.messaging.deliveries import Deliveries
from chassis.messaging.events import Event
from chassis.messaging.inbox import Inbox, handles
from chassis.observability import tracing
from chassis_testing.databases import empty_database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderConfirmed, OrderPlaced, OrderShipped
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def create_tables(database: Database) -> None:
    metadata = MetaData()
    tables.inbox(metadata)
    async with database.begin() as transaction:
        await transaction.run_sync(metadata.create_all)
        await transaction.execute(text("CREATE TABLE effects (place bigserial, order_id text)"))
        await transaction.execute(text("CREATE TABLE stock (product text PRIMARY KEY, sold int DEFAULT 0)"))
        await transaction.execute(text("INSERT INTO stock VALUES ('cup'), ('pot')"))


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with empty_database() as created:
        opened = Database(created, "none")
        await create_tables(opened)
        yield opened
        await opened.close()


class Crash(BaseException):
    """The death of the process."""


@dataclass
class Effects:
    """The handlers of a service: each event inserts a row, unless it is bad or the process dies."""

    bad: set[str] = field(default_factory=set)
    dies_after: int | None = None
    died: asyncio.Event = field(default_factory=asyncio.Event)
    is_dead: bool = False
    applied: int = 0
    traces: list[str] = field(default_factory=list)

    async def apply(self, transaction: AsyncConnection, order: OrderCancelled) -> None:
        await transaction.execute(text("INSERT INTO effects (order_id) VALUES (:id)"), {"id": order.order_id})
        self.applied += 1
        self.traces.append(tracing.inject().get("traceparent", "")[3:35])
        if order.order_id in self.bad:
            raise RuntimeError("the effect failed")
        if self.applied == self.dies_after:
            self.is_dead = True
            self.died.set()
            raise Crash

    async def ignore(self, _transaction: AsyncConnection, _order: OrderPlaced | OrderConfirmed | OrderShipped) -> None:
        pass

    def inbox(self, database: Database) -> Inbox:
        return Inbox(
            "inventory",
            database,
            [
                handles(OrderCancelled, self.apply),
                handles(OrderPlaced, self.ignore),
                handles(OrderConfirmed, self.ignore),
                handles(OrderShipped, self.ignore, is_batched=False),
            ],
        )


def cancelled(order: str, event_id: UUID | None = None, trace_id: str | None = None) -> Event:
    trace = {"traceparent": f"00-{trace_id}-{'b' * 16}-01"} if trace_id else {}
    return Event(event_id or UUID(int=int(order)), order, NOON, OrderCancelled(order_id=order), trace)


async def orders_in_effect(database: Database) -> list[str]:
    async with database.begin() as transaction:
        return list(await transaction.scalars(text("SELECT order_id FROM effects ORDER BY place")))


async def test_a_batch_is_one_transaction_in_which_each_event_takes_effect_once(database: Database) -> None:
    inbox = Effects().inbox(database)
    await inbox.receive(cancelled("2"))

    left = await inbox.receive_batch([cancelled(order) for order in ("3", "1", "2", "1", "4")])

    assert left == []
    assert await orders_in_effect(database) == ["2", "3", "1", "4"]
    async with database.begin() as transaction:
        assert await transaction.scalar(text("SELECT count(DISTINCT xmin::text) FROM inbox")) == 2


async def test_an_event_whose_handler_calls_a_neighbour_is_left_to_be_received_alone(database: Database) -> None:
    shipped = Event(UUID(int=9), "9", NOON, OrderShipped(order_id="9"), {})

    left = await Effects().inbox(database).receive_batch([cancelled("1"), shipped, cancelled("2")])

    assert left == [shipped]
    assert await orders_in_effect(database) == ["1", "2"]


async def test_a_batch_with_a_bad_event_has_no_effect(database: Database) -> None:
    inbox = Effects(bad={"2"}).inbox(database)

    with pytest.raises(RuntimeError, match="the effect failed"):
        await inbox.receive_batch([cancelled("1"), cancelled("2"), cancelled("3")])

    assert await orders_in_effect(database) == []
    async with database.begin() as transaction:
        assert await transaction.scalar(text("SELECT count(*) FROM inbox")) == 0


async def test_each_event_of_a_batch_continues_its_own_trace(database: Database) -> None:
    effects = Effects()
    traces = ["a" * 32, "c" * 32, "d" * 32]

    await effects.inbox(database).receive_batch(
        [cancelled(str(number), trace_id=trace_id) for number, trace_id in enumerate(traces)]
    )

    assert effects.traces == traces


async def test_batches_that_lock_in_opposite_order_end_without_a_deadlock(database: Database) -> None:
    both_have_one, calls = asyncio.Barrier(2), iter(range(100))

    async def sell(transaction: AsyncConnection, order: OrderCancelled) -> None:
        sold = text("UPDATE stock SET sold = sold + 1 WHERE product = :product")
        await transaction.execute(sold, {"product": order.order_id})
        if next(calls) < 2:
            await both_have_one.wait()

    ignore = Effects().ignore
    others = [handles(OrderPlaced, ignore), handles(OrderConfirmed, ignore), handles(OrderShipped, ignore)]
    inbox = Inbox("inventory", database, [handles(OrderCancelled, sell), *others])
    batches = [
        [cancelled("cup", UUID(int=1)), cancelled("pot", UUID(int=2))],
        [cancelled("pot", UUID(int=3)), cancelled("cup", UUID(int=4))],
    ]

    ended = await asyncio.gather(*(inbox.receive_batch(batch) for batch in batches), return_exceptions=True)

    failed = [batch for batch, result in zip(batches, ended, strict=True) if isinstance(result, BaseException)]
    assert failed
    assert all("lock timeout" in str(result) for result in ended if isinstance(result, BaseException))
    for event in [event for batch in failed for event in batch]:
        await inbox.receive(event)
    async with database.begin() as transaction:
        assert (await transaction.scalars(text("SELECT sold FROM stock"))).all() == [2, 2]


@dataclass
class Queue:
    """A queue of the broker: it delivers what has no answer, again on each channel, and refuses a second answer."""

    unanswered: list[Event]
    acknowledged: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _channel: dict[int, Event] = field(default_factory=dict)

    def deliver(self) -> "list[Message]":
        self._channel = dict(enumerate(self.unanswered, 1))
        return [Message(self, tag, events.encode(event)) for tag, event in self._channel.items()]

    def answer(self, tag: int, answers: list[str], multiple: bool = False) -> None:
        if tag not in self._channel:
            self.refused.append(tag)
            raise LookupError("RabbitMQ closes the channel: unknown delivery tag")
        for each in [known for known in self._channel if known == tag or (multiple and known < tag)]:
            event = self._channel.pop(each)
            answers.append(event.subject)
            self.unanswered.remove(event)
        self.changed.set()


@dataclass(frozen=True)
class Message:
    """A message of the queue, as aio_pika delivers it."""

    queue: Queue
    delivery_tag: int
    body: bytes
    message_id: str = "an event"

    async def ack(self, multiple: bool = False) -> None:
        self.queue.answer(self.delivery_tag, self.queue.acknowledged, multiple)

    async def reject(self, requeue: bool) -> None:
        assert not requeue
        self.queue.answer(self.delivery_tag, self.queue.dead)


async def consume(queue: Queue, effects: Effects, database: Database) -> None:
    """Handles the queue until every message has its answer; after the death of the process in another one."""
    while queue.unanswered:
        async with Deliveries() as deliveries:
            inbox = effects.inbox(database)

            async def retry_later(message: AbstractIncomingMessage, of: Deliveries = deliveries) -> None:
                await of.reject(message)

            consumer = Consumer(
                deliveries, lambda *_: None, lambda _: False, retry_later, inbox.receive, inbox.receive_batch
            )
            for message in queue.deliver():
                await deliveries.add(cast("AbstractIncomingMessage", message))
            deliveries.start(consumer.run())
            while queue.unanswered and not effects.is_dead:
                queue.changed.clear()
                await queue.changed.wait()
        effects.dies_after, effects.is_dead = None, False


@pytest.fixture
def loop_and_database() -> Iterator[tuple[asyncio.Runner, Database]]:
    """A database for examples, each of which runs in the same event loop."""
    with asyncio.Runner() as runner:
        creation = empty_database()
        opened = Database(runner.run(creation.__aenter__()), "none")
        runner.run(create_tables(opened))
        yield runner, opened
        runner.run(opened.close())
        runner.run(creation.__aexit__(None, None, None))


orders = st.integers(0, 7).map(str)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sent=st.lists(orders, min_size=1, max_size=30),
    bad=st.sets(orders, max_size=3),
    dies_after=st.none() | st.integers(1, 12),
)
def test_batches_end_as_events_that_are_handled_one_by_one(
    loop_and_database: tuple[asyncio.Runner, Database], sent: Sequence[str], bad: set[str], dies_after: int | None
) -> None:
    runner, database = loop_and_database

    async def run() -> tuple[Queue, list[str], int]:
        async with database.begin() as transaction:
            await transaction.execute(text("TRUNCATE effects, inbox"))
        queue = Queue([cancelled(order) for order in sent])
        effects = Effects(bad, dies_after)
        effects.died = queue.changed
        await consume(queue, effects, database)
        async with database.begin() as transaction:
            ids = await transaction.scalar(text("SELECT count(*) FROM inbox"))
        return queue, await orders_in_effect(database), int(ids or 0)

    queue, applied, ids = runner.run(run())

    good = [order for order in sent if order not in bad]
    assert sorted(applied) == sorted(set(good))
    assert ids == len(set(good))
    assert not queue.refused
    assert sorted(queue.acknowledged) == sorted(good)
    assert sorted(queue.dead) == sorted(order for order in sent if order in bad)
