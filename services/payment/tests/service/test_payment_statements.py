"""Paying takes a fixed number of statements, commits and calls of the order service."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from chassis.database import idempotency
from chassis.database.engine import Database
from chassis.messaging.broker import Broker
from chassis.messaging.outbox import Outbox
from chassis.types.ids import OrderId, UserId, uuid7
from chassis.types.money import Money
from chassis_testing.databases import migrated_database
from chassis_testing.sent_statements import SentStatements, sent_statements
from payment_service.app import SCHEMA
from payment_service.clients.orders import PayableOrder
from payment_service.clients.simulated import SimulatedProvider
from payment_service.domain.payment_methods import PaymentMethodChoice
from payment_service.domain.payments import PaymentStatus
from payment_service.service.checkout import CheckoutService
from payment_service.service.payment_reconciler import PaymentReconciler
from payment_service.service.published_events import PublishedEvents
from payment_service.service.refund_reconciler import RefundReconciler

BUYER = UserId(7)
_VISA = PaymentMethodChoice(ref="pm_card_visa")


@dataclass
class EveryOrderPayable:
    calls: int = 0

    async def get_payable(self, order_id: OrderId) -> PayableOrder:
        self.calls += 1
        return PayableOrder(order_id, BUYER, Money(1000, "USD"), True, "pending", _now() + timedelta(hours=1))

    async def are_known(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, bool]:
        return dict.fromkeys(order_ids, True)


@dataclass
class Checkout:
    """The use cases of paying; no loop runs in the background."""

    sent: SentStatements
    service: CheckoutService
    clock: "Clock"
    orders: EveryOrderPayable = field(default_factory=EveryOrderPayable)

    async def pay(self, key: idempotency.Key | None = None) -> None:
        """Begins a payment of a new order, and confirms it in the same request."""
        self.sent.clear()
        self.orders.calls = 0
        view = await self.service.begin(BUYER, OrderId(uuid7()), _VISA, confirm=True, key=key)
        assert view.payment.status is PaymentStatus.COMPLETED


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Clock:
    """Stands still, or advances with each reading."""

    time: datetime = field(default_factory=_now)
    seconds_per_reading: float = 0

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=self.seconds_per_reading)
        return self.time


@pytest.fixture
async def checkout() -> AsyncIterator[Checkout]:
    """The use cases, which have run once, so that nothing is prepared or looked up later."""
    async with migrated_database("payment_service") as settings, sent_statements(settings) as (sent, proxied):
        database, orders, delay = Database(proxied, SCHEMA), EveryOrderPayable(), timedelta(minutes=1)
        events = PublishedEvents(Outbox(database, Broker("amqp://broker.invalid/", "payment")), uuid7)
        provider = SimulatedProvider(database, _now)
        refunds = RefundReconciler(database, provider, events, _now, uuid7, delay)
        reconciler = PaymentReconciler(database, provider, events, refunds, _now)
        clock = Clock()
        opened = Checkout(sent, CheckoutService(database, orders, reconciler, clock, uuid7, delay), clock, orders)
        await opened.pay()
        yield opened
        await database.close()


_IS_ERASED = ["SELECT"]
_BEGUN = ["WITH"]
_INTENT_CREATED = ["INSERT"]
_INTENT_STORED = ["UPDATE"]
_CONFIRMED = ["UPDATE"]
_CHARGED = ["UPDATE"]
_COMPLETED = ["BEGIN", "SELECT", "UPDATE", "INSERT", "COMMIT"]
_PAID = [*_BEGUN, *_INTENT_CREATED, *_INTENT_STORED, *_CONFIRMED, *_CHARGED, *_COMPLETED]


async def test_paying_takes_a_transaction_only_where_an_event_is_recorded(checkout: Checkout) -> None:
    await checkout.pay()

    assert checkout.sent.verbs == [*_IS_ERASED, *_PAID]
    assert checkout.orders.calls == 1


async def test_an_idempotency_key_is_claimed_by_one_statement(checkout: Checkout) -> None:
    await checkout.pay(idempotency.Key("once"))

    assert checkout.sent.verbs == [*_IS_ERASED, "BEGIN", "INSERT", "COMMIT", *_PAID]


async def test_an_order_is_asked_about_again_if_creating_the_intent_took_long(checkout: Checkout) -> None:
    checkout.clock.seconds_per_reading = 2

    await checkout.pay()

    assert checkout.orders.calls == 2
