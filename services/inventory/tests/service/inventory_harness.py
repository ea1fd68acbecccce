"""The inventory service as its tests drive it."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import httpx
from chassis.database import invariants
from chassis.database.engine import Database
from chassis.grpc.wire import CODE_KEY
from chassis.http.authentication import Principal, Role
from chassis.http.schemas import Paging
from chassis.messaging import events
from chassis.messaging.broker import Broker
from chassis.messaging.events import Event
from chassis.messaging.inbox import Inbox
from chassis.messaging.outbox import Outbox
from chassis.settings import DatabaseSettings
from chassis.types.ids import OrderId, ProductId, UserId, uuid7
from chassis_testing.tokens import TokenIssuer
from google.protobuf.message import Message
from inventory_service.app import SCHEMA
from inventory_service.domain.movements import Movement
from inventory_service.domain.stock import Line, Stock
from inventory_service.handlers.events import effects
from inventory_service.service.books import Books
from inventory_service.service.reservations import Reservations
from inventory_service.service.stock import StockKeeping
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced
from shopapi.inventory.v1 import inventory_pb2_grpc
from shopapi.product.v1 import product_pb2, product_pb2_grpc
from sqlalchemy import text

SELLER = 7
PRODUCTS = itertools.count(1)
"""That no other test of the running service uses; all below 900."""
LOW_BELOW = 5
"""The threshold of products that have none of their own."""


class FakeProducts(product_pb2_grpc.ProductServiceServicer):
    """The product service at its gRPC boundary: seller 7 sells every product below 1000, the rest are unknown."""

    async def GetPrices(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        raise NotImplementedError

    async def GetSeller(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        if request.product_id >= 1000:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such product", ((CODE_KEY, "unknown_product"),))
        return product_pb2.GetSellerResponse(product_id=request.product_id, seller_id=SELLER)


@dataclass(frozen=True)
class Inventory:
    """The running service: HTTP in process, gRPC over loopback, its relay and consumer on the real broker."""

    http: httpx.AsyncClient
    rpc: inventory_pb2_grpc.InventoryServiceStub
    issuer: TokenIssuer
    broker_url: str
    database: DatabaseSettings

    @property
    def seller(self) -> dict[str, str]:
        return self.issuer.bearer(SELLER, Role.SELLER)

    async def stock(self, product_id: int) -> dict[str, int]:
        data: dict[str, int] = (await self.http.get(f"/api/v1/inventory/{product_id}")).json()["data"]
        return data

    async def count(self, product_id: int, quantity: int) -> None:
        answer = await self.http.put(
            f"/api/v1/inventory/{product_id}", json={"quantity": quantity}, headers=self.seller
        )
        answer.raise_for_status()

    async def post_adjustment(self, product_id: int, body: object, key: str | None = None) -> httpx.Response:
        headers = self.seller if key is None else {**self.seller, "Idempotency-Key": key}
        return await self.http.post(f"/api/v1/inventory/{product_id}/adjustments", json=body, headers=headers)

    async def adjust(
        self, product_id: int, delta: int, reason: str = "found", key: str | None = None
    ) -> dict[str, Any]:
        answer = await self.post_adjustment(product_id, {"delta": delta, "reason": reason}, key)
        assert answer.status_code == 201, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    async def history(self, product_id: int, **query: int) -> dict[str, Any]:
        answer = await self.http.get(f"/api/v1/inventory/{product_id}/history", params=query, headers=self.seller)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document


async def broken(database: Database) -> dict[str, list[dict[str, object]]]:
    """The rows that break each invariant, of those that are broken."""
    books = invariants.InvariantMonitor(database, "inventory_service")
    found = {
        invariant.name: await books.violations(invariant)
        for invariant in invariants.load_invariants("inventory_service")
    }
    return {name: rows for name, rows in found.items() if rows}


def _lines(lines: Sequence[tuple[int, int]]) -> list[OrderLine]:
    return [OrderLine(product_id=product, quantity=quantity) for product, quantity in lines]


class KnownProducts:
    """The catalogue: seller 7 sells everything."""

    async def seller_of(self, product_id: ProductId) -> UserId:
        return UserId(SELLER)


@dataclass
class Warehouse:
    """The use cases on a real database, with a clock of the test's own; nothing runs by itself."""

    database: Database
    passed: timedelta = timedelta()
    products: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """That no other test uses."""
    outbox: Outbox = field(init=False)

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.database, Broker("amqp://nobody.invalid/", "inventory"))
        books = Books(self.outbox, LOW_BELOW, self.now, uuid7)
        self.reservations = Reservations(self.database, self.outbox, books, self.now, uuid7)
        self.stock = StockKeeping(self.database, self.outbox, KnownProducts(), books, self.now, uuid7)
        self.inbox = Inbox("inventory", self.database, effects(self.reservations))

    def now(self) -> datetime:
        return datetime.now(UTC) + self.passed

    async def set(self, product: int, on_hand: int, low_below: int | None = None) -> Stock:
        return await self.stock.count(_THE_SELLER, ProductId(product), on_hand, low_below)

    async def adjust(self, product: int, delta: int) -> Movement:
        return await self.stock.adjust(_THE_SELLER, ProductId(product), delta, "found", None)

    async def reserve(self, order: UUID, *lines: tuple[int, int], seconds: float = 60) -> None:
        wanted = [Line(ProductId(product), quantity) for product, quantity in lines]
        await self.reservations.reserve(OrderId(order), wanted, self.now() + timedelta(seconds=seconds))

    async def release(self, order: UUID) -> None:
        await self.reservations.release(OrderId(order))

    async def lapse(self) -> None:
        """An hour goes by, and what was held no longer is."""
        self.passed += timedelta(hours=1)
        await self.reservations.expire()

    async def placed(self, order: UUID, *lines: tuple[int, int], event_id: UUID | None = None) -> None:
        payload = OrderPlaced(order_id=str(order), lines=_lines(lines))
        payload.expires_at.FromDatetime(self.now() + timedelta(seconds=600))
        await self.receive(payload, event_id)

    async def confirmed(self, order: UUID, *lines: tuple[int, int], event_id: UUID | None = None) -> None:
        await self.receive(OrderConfirmed(order_id=str(order), lines=_lines(lines)), event_id)

    async def cancelled(self, order: UUID, event_id: UUID | None = None) -> None:
        await self.receive(OrderCancelled(order_id=str(order)), event_id)

    async def receive(self, payload: Message, event_id: UUID | None = None) -> None:
        """One delivery; of a new event, unless it is one that came before."""
        await self.inbox.receive(Event(event_id or uuid7(), "an order", self.now(), payload, {}))

    async def figures(self, product: int) -> tuple[int, int]:
        """What is on hand, and what of it is reserved."""
        stock = await self.stock.stock_of(ProductId(product))
        return stock.on_hand, stock.reserved

    async def status(self, order: UUID) -> str | None:
        async with self.database.begin() as transaction:
            query = text("SELECT status FROM reservations WHERE order_id = :order")
            found: str | None = await transaction.scalar(query, {"order": order})
            return found

    async def moves(self, product: int) -> list[tuple[str, int, int]]:
        """Kind, delta and what was left of each movement, oldest first."""
        admin = Principal(UserId(1), Role.ADMIN)
        history, _ = await self.stock.history(admin, ProductId(product), Paging(1, 100))
        return [(movement.cause.kind.value, movement.delta, movement.on_hand) for movement in reversed(history)]

    async def sent(self, *subjects: object) -> list[Any]:
        """The payloads about these that wait in the outbox, in the order in which they were recorded."""
        async with self.database.begin() as transaction:
            bodies = await transaction.scalars(text("SELECT body FROM outbox ORDER BY sequence"))
            recorded = [events.decode(bytes(body)) for body in bodies]
        return [event.payload for event in recorded if event.subject in map(str, subjects)]

    async def counted(self, *subjects: object) -> Counter[str]:
        return Counter(type(payload).__name__ for payload in await self.sent(*subjects))


_THE_SELLER = Principal(UserId(SELLER), Role.SELLER)


@asynccontextmanager
async def warehouse_of(settings: DatabaseSettings) -> AsyncIterator[Warehouse]:
    database = Database(settings, SCHEMA)
    try:
        yield Warehouse(database)
    finally:
        await database.close()
