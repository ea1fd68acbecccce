"""The payment service as its tests drive it, with fakes of user and order at the gRPC boundary and a provider of choice."""

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
from chassis.runtime import process
from chassis.settings import DatabaseSettings
from chassis.types.ids import uuid7
from chassis_testing.broker import new_vhost, publish_events, recorded_events
from chassis_testing.databases import SqlConnection, connect_to, migrated_database
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.services import run_service
from chassis_testing.tokens import TokenIssuer
from chassis_testing.waiting import eventually
from google.protobuf.message import Message
from grpc import aio
from payment_service.app import SCHEMA, Settings, build
from shopapi.events.v1.events_pb2 import CANCEL_REASON_BUYER, OrderCancelled, PaymentCompleted, PaymentRefunded
from shopapi.money.v1 import money_pb2
from shopapi.order.v1 import order_pb2, order_pb2_grpc
from shopapi.user.v1 import user_pb2_grpc
from stripe_double import SECRET, StripeDouble

ADMIN = 1
VISA = "pm_card_visa"
DECLINED = "pm_card_chargeDeclined"
ASKS = "pm_card_authenticationRequired"


@dataclass
class FakeOrders(order_pb2_grpc.OrderServiceServicer):
    """The order service at its gRPC boundary: orders cost what a test says; whom it has not heard of is unknown."""

    known: dict[str, order_pb2.GetPayableResponse] = field(default_factory=dict)
    is_away: bool = False

    def place(self, buyer: int, amount: int = 10_000, currency: str = "USD") -> str:
        order_id = str(uuid7())
        total = money_pb2.Money(amount=amount, currency=currency)
        self.known[order_id] = order_pb2.GetPayableResponse(
            order_id=order_id, buyer_id=buyer, total=total, is_payable=True, status="pending"
        )
        return order_id

    def close(self, order_id: str, status: str) -> None:
        self.known[order_id].is_payable = False
        self.known[order_id].status = status

    async def HasBought(self, request: object, context: object) -> order_pb2.HasBoughtResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    async def GetPayable(  # noqa: N802 - the contract's name
        self, request: order_pb2.GetPayableRequest, context: aio.ServicerContext[Any, Any]
    ) -> order_pb2.GetPayableResponse:
        if self.is_away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        found = self.known.get(request.order_id)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such order", ((CODE_KEY, "unknown_order"),))
        assert found is not None
        return found


@dataclass(frozen=True)
class Payments:
    """The running service: HTTP in process, its relay, consumer and sweeper on the real broker and database."""

    http: httpx.AsyncClient
    issuer: TokenIssuer
    orders: FakeOrders
    database: DatabaseSettings
    cable: FaultProxy
    broker_url: str
    published: list[Event]

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

    async def begin(self, user: int, order_id: str, key: str | None = None, **body: Any) -> httpx.Response:
        return await self.post("/payments", user, {"order_id": order_id, **body}, key)

    async def begun(self, user: int, amount: int = 10_000, **body: Any) -> dict[str, Any]:
        """A payment of a new order."""
        answer = await self.begin(user, self.orders.place(user, amount), **body)
        assert answer.status_code == 201, answer.text
        payment: dict[str, Any] = answer.json()["data"]
        return payment

    async def paid(self, user: int, amount: int = 10_000, method: str = VISA) -> dict[str, Any]:
        payment = await self.begun(user, amount, payment_method=method, confirm=True)
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

    async def payment(self, payment_id: str) -> dict[str, Any]:
        answer = await self.get(f"/payments/{payment_id}", ADMIN, Role.ADMIN)
        assert answer.status_code == 200, answer.text
        payment: dict[str, Any] = answer.json()["data"]
        return payment

    async def refunds(self, payment_id: str) -> list[dict[str, Any]]:
        answer = await self.get(f"/payments/{payment_id}/refunds", ADMIN, Role.ADMIN)
        refunds: list[dict[str, Any]] = answer.json()["data"]
        return refunds

    async def becomes(self, payment_id: str, status: str, within: float = 15.0) -> dict[str, Any]:
        """Waits until a payment has a status; for what the sweeper does."""

        async def has_become() -> bool:
            return bool((await self.payment(payment_id))["status"] == status)

        await eventually(has_become, within)
        return await self.payment(payment_id)

    async def tell(self, *payloads: Message) -> list[Event]:
        """Publishes as the producers' relays would, and waits until each event was received."""
        sent = [Event(uuid7(), "test", datetime.now(UTC), payload, {}) for payload in payloads]
        await self.publish(sent)
        return sent

    async def publish(self, sent: Sequence[Event]) -> None:
        await publish_events(self.broker_url, sent)
        ids = list({event.id for event in sent})

        async def all_are_received() -> bool:
            async with self.sql() as sql:
                return bool(await sql.fetchval("SELECT count(*) FROM inbox WHERE event_id = ANY($1)", ids) == len(ids))

        await eventually(all_are_received)

    def about(self, order_id: str) -> list[Message]:
        """What was published about an order, in the order of its arrival, each event once."""
        return list({event.id: event.payload for event in self.published if event.subject == order_id}.values())

    async def heard(self, order_id: str, *kinds: type[Message]) -> list[Message]:
        """Waits until just these events were published about an order."""
        wanted = sorted(kind.__name__ for kind in kinds)

        async def all_are_there() -> bool:
            return sorted(type(payload).__name__ for payload in self.about(order_id)) == wanted

        try:
            await eventually(all_are_there)
        except TimeoutError:
            raise AssertionError(f"heard {self.about(order_id)}, not {wanted}") from None
        return self.about(order_id)

    async def charged(self, payment_id: str) -> int:
        """How often the simulated provider has charged."""
        async with self.sql() as sql:
            count = await sql.fetchval(
                "SELECT count(*) FROM simulated_intents WHERE payment_id = $1 AND state = 'succeeded'", UUID(payment_id)
            )
            return int(count)

    async def broken_invariants(self) -> dict[str, list[dict[str, object]]]:
        """What the service's own queries find."""
        database = Database(self.database, SCHEMA)
        books = InvariantMonitor(database, "payment_service")
        try:
            found = {
                invariant.name: await books.violations(invariant) for invariant in load_invariants("payment_service")
            }
        finally:
            await database.close()
        return {name: rows for name, rows in found.items() if rows}

    def sql(self) -> AbstractAsyncContextManager[SqlConnection]:
        return connect_to(self.database)


def cancelled(order_id: str) -> OrderCancelled:
    return OrderCancelled(order_id=order_id, reason=CANCEL_REASON_BUYER)


@asynccontextmanager
async def running_payments(stripe: StripeDouble | None = None) -> AsyncIterator[Payments]:
    """The payment service over a fresh database and virtual host, its events collected as order would receive them."""
    issuer, orders = TokenIssuer(), FakeOrders()
    async with (
        migrated_database("payment_service") as database,
        new_vhost() as broker_url,
        grpc_server(
            lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(FakeUserService(issuer), server),
            lambda server: order_pb2_grpc.add_OrderServiceServicer_to_server(orders, server),
        ) as neighbours,
        recorded_events(broker_url, "payment"),
        _collecting(broker_url) as published,
        fault_proxy(database.db_host, database.db_port) as cable,
    ):
        settings = Settings(
            **(database.model_dump() | {"db_host": "127.0.0.1", "db_port": cable.port}),
            rabbitmq_url=broker_url,
            user_grpc=neighbours,
            order_grpc=neighbours,
            grpc_port=0,
            payment_provider="simulated" if stripe is None else "stripe",
            stripe_secret_key="sk_test_of_the_tests",
            stripe_webhook_secret=None if stripe is None else SECRET,
            stripe_api_base=None if stripe is None else stripe.base,
            provider_deadline_seconds=3.0,
            sweep_seconds=0.05,
            sweep_patience_seconds=0.5,
        )
        async with run_service(await build(settings)) as service:
            yield Payments(service.http, issuer, orders, database, cable, broker_url, published)


@asynccontextmanager
async def _collecting(broker_url: str) -> AsyncIterator[list[Event]]:
    published: list[Event] = []

    async def receive(event: Event) -> None:
        if isinstance(event.payload, PaymentCompleted | PaymentRefunded):
            published.append(event)

    consuming = asyncio.create_task(Broker(broker_url, "order").consume(receive))
    try:
        yield published
    finally:
        await process.cancel_all(consuming)
