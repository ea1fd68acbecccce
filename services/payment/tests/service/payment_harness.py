"""Runs the payment service for tests, with fakes of the user and order services and either provider."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import grpc
import httpx
from chassis.database.engine import Database
from chassis.database.invariants import InvariantMonitor, load_invariants
from chassis.grpc.wire import CODE_KEY
from chassis.http.authentication import Role
from chassis.messaging.broker import Broker
from chassis.messaging.events import Event
from chassis.settings import DatabaseSettings
from chassis.types.ids import uuid7
from chassis_testing.broker import new_vhost, publish_events, recorded_events
from chassis_testing.callers import KNOWN_CALLERS, OWN_TOKENS, open_caller_channel
from chassis_testing.databases import SqlConnection, connect_to, migrated_database
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.services import run_service
from chassis_testing.tokens import TokenIssuer
from chassis_testing.waiting import eventually
from google.protobuf.message import Message
from grpc import aio
from payment_service.app import SCHEMA, build
from payment_service.handlers.grpc import ALLOWED_CALLERS
from payment_service.settings import Settings
from shopapi.events.v1.events_pb2 import (
    CANCEL_REASON_BUYER,
    OrderCancelled,
    OrderPaidManually,
    PaymentCompleted,
    PaymentRefunded,
)
from shopapi.money.v1 import money_pb2
from shopapi.order.v1 import order_pb2, order_pb2_grpc
from shopapi.payment.v1 import payment_pb2_grpc
from shopapi.user.v1 import user_pb2_grpc
from stripe_double import WEBHOOK_SECRET, StripeDouble

ADMIN = 1
VISA = "pm_card_visa"
DECLINED = "pm_card_chargeDeclined"
REQUIRES_ACTION = "pm_card_authenticationRequired"


@dataclass
class FakeOrders(order_pb2_grpc.OrderServiceServicer):
    """A fake of the order service's gRPC API. It knows the orders that a test has placed."""

    orders: dict[str, order_pb2.GetPayableResponse] = field(default_factory=dict)
    is_unavailable: bool = False
    states: dict[str, "order_pb2.OrderState.ValueType"] = field(default_factory=dict)
    """The states that are answered instead of whether an order was placed."""
    state_queries: int = 0
    """How often GetOrderStates was answered."""

    def place(self, buyer: int, amount: int = 10_000, currency: str = "USD") -> str:
        order_id = str(uuid7())
        total = money_pb2.Money(amount=amount, currency=currency)
        self.orders[order_id] = order_pb2.GetPayableResponse(
            order_id=order_id, buyer_id=buyer, total=total, is_payable=True, status="pending"
        )
        return order_id

    def close(self, order_id: str, status: str) -> None:
        self.orders[order_id].is_payable = False
        self.orders[order_id].status = status

    async def HasBought(self, request: object, context: object) -> order_pb2.HasBoughtResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    async def GetOrderStates(  # noqa: N802 - the contract's name
        self, request: order_pb2.GetOrderStatesRequest, context: aio.ServicerContext[Any, Any]
    ) -> order_pb2.GetOrderStatesResponse:
        if self.is_unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable")
        self.state_queries += 1
        return order_pb2.GetOrderStatesResponse(orders=[self._state(order_id) for order_id in request.order_ids])

    def _state(self, order_id: str) -> order_pb2.StateOfOrder:
        known = order_pb2.ORDER_STATE_PAID if order_id in self.orders else order_pb2.ORDER_STATE_UNKNOWN
        return order_pb2.StateOfOrder(order_id=order_id, state=self.states.get(order_id, known))

    async def GetPayable(  # noqa: N802 - the contract's name
        self, request: order_pb2.GetPayableRequest, context: aio.ServicerContext[Any, Any]
    ) -> order_pb2.GetPayableResponse:
        if self.is_unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable")
        found = self.orders.get(request.order_id)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such order", ((CODE_KEY, "unknown_order"),))
        assert found is not None
        return found


@dataclass(frozen=True)
class Payments:
    """The running service: HTTP in process; relay, consumer and sweeper with a real broker and database."""

    http: httpx.AsyncClient
    rpc: payment_pb2_grpc.PaymentServiceStub
    issuer: TokenIssuer
    orders: FakeOrders
    database: DatabaseSettings
    database_proxy: FaultProxy
    broker_url: str
    published: list[Event]
    monitor: InvariantMonitor
    """It has connections of its own, which are not behind the fault proxy."""

    def bearer(self, user: int, role: Role = Role.CUSTOMER) -> dict[str, str]:
        return self.issuer.bearer(user, role)

    async def post(
        self,
        path: str,
        user: int,
        body: Mapping[str, object] | None = None,
        key: str | None = None,
        role: Role = Role.CUSTOMER,
    ) -> httpx.Response:
        headers = self.bearer(user, role) | ({} if key is None else {"Idempotency-Key": key})
        return await self.http.post(f"/api/v1{path}", json=body, headers=headers)

    async def get(self, path: str, user: int, role: Role = Role.CUSTOMER) -> httpx.Response:
        return await self.http.get(f"/api/v1{path}", headers=self.bearer(user, role))

    async def delete(self, path: str, user: int) -> httpx.Response:
        return await self.http.delete(f"/api/v1{path}", headers=self.bearer(user))

    async def post_payment(self, user: int, order_id: str, key: str | None = None, **body: Any) -> httpx.Response:
        return await self.post("/payments", user, {"order_id": order_id, **body}, key)

    async def begin_payment(
        self, user: int, amount: int = 10_000, currency: str = "USD", **body: Any
    ) -> dict[str, Any]:
        """Begins a payment of a new order, and returns it."""
        response = await self.post_payment(user, self.orders.place(user, amount, currency), **body)
        assert response.status_code == 201, response.text
        payment: dict[str, Any] = response.json()["data"]
        return payment

    async def complete_payment(
        self, user: int, amount: int = 10_000, method: str = VISA, currency: str = "USD"
    ) -> dict[str, Any]:
        """Pays a new order, and returns its payment."""
        payment = await self.begin_payment(user, amount, currency, payment_method=method, confirm=True)
        assert payment["status"] == "completed", payment
        return payment

    async def confirm(self, user: int, payment_id: str, method: str | None = VISA) -> httpx.Response:
        return await self.post(
            f"/payments/{payment_id}/confirm", user, {} if method is None else {"payment_method": method}
        )

    async def cancel(self, user: int, payment_id: str, role: Role = Role.CUSTOMER) -> httpx.Response:
        return await self.post(f"/payments/{payment_id}/cancel", user, role=role)

    async def refund(self, payment_id: str, key: str | None = None, **body: object) -> httpx.Response:
        return await self.post(f"/payments/{payment_id}/refund", ADMIN, body, key, Role.ADMIN)

    async def get_payment(self, payment_id: str) -> dict[str, Any]:
        response = await self.get(f"/payments/{payment_id}", ADMIN, Role.ADMIN)
        assert response.status_code == 200, response.text
        payment: dict[str, Any] = response.json()["data"]
        return payment

    async def list_refunds(self, payment_id: str) -> list[dict[str, Any]]:
        response = await self.get(f"/payments/{payment_id}/refunds", ADMIN, Role.ADMIN)
        refunds: list[dict[str, Any]] = response.json()["data"]
        return refunds

    async def wait_for_status(self, payment_id: str, status: str) -> dict[str, Any]:
        """Waits until the sweeper has brought a payment to a status, and returns it."""

        async def has_status() -> bool:
            return bool((await self.get_payment(payment_id))["status"] == status)

        await eventually(has_status)
        return await self.get_payment(payment_id)

    async def deliver_events(self, *payloads: Message) -> None:
        """Publishes new events with these payloads, and waits until the service has received each."""
        await self.publish([Event(uuid7(), "test", datetime.now(UTC), payload, {}) for payload in payloads])

    async def publish(self, sent: Sequence[Event]) -> None:
        """Publishes events as their producer's relay would, and waits until the service has received each."""
        await publish_events(self.broker_url, sent)
        ids = list({event.id for event in sent})

        async def all_are_received() -> bool:
            async with self.sql() as sql:
                return bool(await sql.fetchval("SELECT count(*) FROM inbox WHERE event_id = ANY($1)", ids) == len(ids))

        await eventually(all_are_received)

    def events_of_order(self, order_id: str) -> list[Message]:
        """Returns the events that were published about an order, in the order of their arrival, each once."""
        return list({event.id: event.payload for event in self.published if event.subject == order_id}.values())

    async def wait_for_events(self, order_id: str, *types: type[Message]) -> list[Message]:
        """Waits until exactly events of these types were published about an order, and returns them."""
        expected = sorted(event_type.__name__ for event_type in types)

        async def are_published() -> bool:
            return sorted(type(payload).__name__ for payload in self.events_of_order(order_id)) == expected

        try:
            await eventually(are_published)
        except TimeoutError:
            raise AssertionError(f"published: {self.events_of_order(order_id)}, expected: {expected}") from None
        return self.events_of_order(order_id)

    async def count_charges(self, payment_id: str) -> int:
        """Returns how often the simulated provider has charged a payment."""
        async with self.sql() as sql:
            count = await sql.fetchval(
                "SELECT count(*) FROM simulated_intents WHERE payment_id = $1 AND state = 'succeeded'", UUID(payment_id)
            )
            return int(count)

    async def find_violations(self) -> dict[str, list[dict[str, object]]]:
        """Returns the rows that violate the service's invariants, by the invariant's name."""
        found = {
            invariant.name: await self.monitor.violations(invariant) for invariant in load_invariants("payment_service")
        }
        return {name: rows for name, rows in found.items() if rows}

    async def disconnect_database(self) -> None:
        await self.database_proxy.sever()

    async def reconnect_database(self) -> None:
        await self.database_proxy.restore()

    def sql(self) -> AbstractAsyncContextManager[SqlConnection]:
        return connect_to(self.database)


def order_paid_manually(order_id: str) -> OrderPaidManually:
    return OrderPaidManually(order_id=order_id)


def order_cancelled(order_id: str) -> OrderCancelled:
    return OrderCancelled(order_id=order_id, reason=CANCEL_REASON_BUYER)


@asynccontextmanager
async def run_payments(stripe: StripeDouble | None = None, **overrides: object) -> AsyncIterator[Payments]:
    """Runs the service with a new database and virtual host, and collects its events as the order service does."""
    issuer, orders = TokenIssuer(), FakeOrders()
    async with (
        migrated_database("payment_service") as database,
        new_vhost() as broker_url,
        grpc_server(
            lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(FakeUserService(issuer), server),
            lambda server: order_pb2_grpc.add_OrderServiceServicer_to_server(orders, server),
        ) as neighbours,
        recorded_events(broker_url, "payment"),
        _collect_events(broker_url) as published,
        fault_proxy(database.db_host, database.db_port) as database_proxy,
    ):
        settings = Settings(
            **(
                database.model_dump()
                | {"db_host": "127.0.0.1", "db_port": database_proxy.port}
                | {"order_comparison_seconds": 3600}
                | overrides
            ),
            rabbitmq_url=broker_url,
            user_grpc=neighbours,
            order_grpc=neighbours,
            grpc_port=0,
            grpc_tokens=OWN_TOKENS,
            grpc_callers=KNOWN_CALLERS,
            payment_provider="simulated" if stripe is None else "stripe",
            stripe_secret_key="sk_test_of_the_tests",
            stripe_webhook_secret=None if stripe is None else WEBHOOK_SECRET,
            stripe_api_base=None if stripe is None else stripe.base_url,
            provider_deadline_seconds=3.0,
            sweep_seconds=0.05,
            sweep_after_seconds=0.5,
        )
        async with run_service(await build(settings)) as service:
            channel = open_caller_channel(f"127.0.0.1:{service.rpc_port}", ALLOWED_CALLERS)
            stub = payment_pb2_grpc.PaymentServiceStub(channel)
            own_connections = Database(database, SCHEMA)
            monitor = InvariantMonitor(own_connections, "payment_service")
            yield Payments(service.http, stub, issuer, orders, database, database_proxy, broker_url, published, monitor)
            await own_connections.close()
            await channel.close()


@asynccontextmanager
async def _collect_events(broker_url: str) -> AsyncIterator[list[Event]]:
    published: list[Event] = []

    async def receive(event: Event) -> None:
        if isinstance(event.payload, PaymentCompleted | PaymentRefunded):
            published.append(event)

    consuming = asyncio.create_task(Broker(broker_url, "order").consume(receive))
    try:
        yield published
    finally:
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)
