"""The running inventory service and its use cases, as tests call them."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import httpx
from chassis.database import invariants
from chassis.database.engine import Database
from chassis.errors import NeighbourUnavailable
from chassis.grpc.wire import CODE_KEY, timestamp
from chassis.http.authentication import Principal, Role
from chassis.http.cursors import CursorPaging
from chassis.messaging import events
from chassis.messaging.broker import Broker
from chassis.messaging.events import Event
from chassis.messaging.inbox import Inbox
from chassis.messaging.outbox import Outbox
from chassis.settings import DatabaseSettings
from chassis.types.ids import OrderId, ProductId, UserId, uuid7
from chassis_testing.tokens import TokenIssuer
from google.protobuf.message import Message
from grpc import aio
from inventory_service.app import SCHEMA
from inventory_service.domain.movements import Movement
from inventory_service.domain.reservations import OrderState, StateOfOrder
from inventory_service.domain.stock import Line, Stock, StockTerms
from inventory_service.handlers.consumers import event_handlers
from inventory_service.service.expiry import ReservationExpiry
from inventory_service.service.published_events import PublishedEvents
from inventory_service.service.reservations import ReservationService
from inventory_service.service.stock import StockService
from inventory_service.service.stock_ledger import StockLedger
from shopapi.events.v1.events_pb2 import OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced, OrderShipped
from shopapi.inventory.v1 import inventory_pb2_grpc
from shopapi.order.v1 import order_pb2, order_pb2_grpc
from shopapi.product.v1 import product_pb2, product_pb2_grpc
from sqlalchemy import text

SELLER = 7
DEFAULT_THRESHOLD = 5
"""The low-stock threshold of products without one of their own."""
EXACT_UP_TO = 50
"""The largest number of units that the public is told."""
_products = itertools.count(1)


def new_product() -> int:
    """Returns a product that no other test of the running service uses. All are below 900."""
    return next(_products)


class FakeProducts(product_pb2_grpc.ProductServiceServicer):
    """The product service at its gRPC boundary: seller 7 sells every product below 1000, the rest are unknown."""

    async def GetPrices(self, request: object, context: object) -> product_pb2.GetPricesResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    async def GetSeller(  # noqa: N802 - the contract's name
        self, request: product_pb2.GetSellerRequest, context: aio.ServicerContext[Any, Any]
    ) -> product_pb2.GetSellerResponse:
        if request.product_id >= 1000:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such product", ((CODE_KEY, "unknown_product"),))
        return product_pb2.GetSellerResponse(product_id=request.product_id, seller_id=SELLER)


class FakeOrderService(order_pb2_grpc.OrderServiceServicer):
    """The order service at its gRPC boundary: it knows the orders in `open_orders`, and no other."""

    def __init__(self) -> None:
        self.open_orders: set[str] = set()

    async def HasBought(self, request: object, context: object) -> order_pb2.HasBoughtResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    async def GetPayable(self, request: object, context: object) -> order_pb2.GetPayableResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    async def GetOrderStates(  # noqa: N802 - the contract's name
        self, request: order_pb2.GetOrderStatesRequest, context: object
    ) -> order_pb2.GetOrderStatesResponse:
        return order_pb2.GetOrderStatesResponse(orders=map(self._state, request.order_ids))

    def _state(self, order_id: str) -> order_pb2.StateOfOrder:
        if order_id not in self.open_orders:
            return order_pb2.StateOfOrder(order_id=order_id, state=order_pb2.ORDER_STATE_UNKNOWN)
        expires_at = timestamp(datetime.now(UTC) + timedelta(hours=1))
        return order_pb2.StateOfOrder(order_id=order_id, state=order_pb2.ORDER_STATE_OPEN, expires_at=expires_at)


@dataclass(frozen=True)
class Inventory:
    """The running service: HTTP in process, gRPC over loopback, its relay and consumer on the real broker."""

    http: httpx.AsyncClient
    rpc: inventory_pb2_grpc.InventoryServiceStub
    issuer: TokenIssuer
    orders: FakeOrderService
    broker_url: str
    database: DatabaseSettings

    @property
    def seller(self) -> dict[str, str]:
        return self.issuer.bearer(SELLER, Role.SELLER)

    async def stock(self, product_id: int) -> dict[str, Any]:
        """Returns the stock as its seller sees it."""
        response = await self.http.get(f"/api/v1/inventory/{product_id}", headers=self.seller)
        data: dict[str, Any] = response.json()["data"]
        return data

    async def set_stock(self, product_id: int, quantity: int, max_per_order: int | None = None) -> None:
        body = {"quantity": quantity, "max_per_order": max_per_order}
        response = await self.http.put(f"/api/v1/inventory/{product_id}", json=body, headers=self.seller)
        response.raise_for_status()

    async def post_adjustment(self, product_id: int, body: object, key: str | None = None) -> httpx.Response:
        headers = self.seller if key is None else {**self.seller, "Idempotency-Key": key}
        return await self.http.post(f"/api/v1/inventory/{product_id}/adjustments", json=body, headers=headers)

    async def adjust(
        self, product_id: int, delta: int, reason: str = "found", key: str | None = None
    ) -> dict[str, Any]:
        response = await self.post_adjustment(product_id, {"delta": delta, "reason": reason}, key)
        assert response.status_code == 201, response.text
        data: dict[str, Any] = response.json()["data"]
        return data

    async def history(self, product_id: int, **query: int | str) -> dict[str, Any]:
        response = await self.http.get(f"/api/v1/inventory/{product_id}/history", params=query, headers=self.seller)
        response.raise_for_status()
        document: dict[str, Any] = response.json()
        return document


async def violations(database: Database) -> dict[str, list[dict[str, object]]]:
    """Returns the rows that violate each invariant, for the violated ones alone."""
    monitor = invariants.InvariantMonitor(database, "inventory_service")
    rows_by_name = {
        invariant.name: await monitor.violations(invariant)
        for invariant in invariants.load_invariants("inventory_service")
    }
    return {name: rows for name, rows in rows_by_name.items() if rows}


def _lines(lines: Sequence[tuple[int, int]]) -> list[OrderLine]:
    return [OrderLine(product_id=product, quantity=quantity) for product, quantity in lines]


class AllProductsKnown:
    """A product service whose products all belong to seller 7."""

    async def seller_of(self, product_id: ProductId) -> UserId:
        return UserId(SELLER)


@dataclass
class KnownOrders:
    """An order service that knows the orders in `states_by_order`, and no other.

    `before_answering` is called before a question is answered.
    """

    states_by_order: dict[UUID, StateOfOrder] = field(default_factory=dict)
    is_unavailable: bool = False
    before_answering: Callable[[], Awaitable[None]] | None = None
    questions: list[Sequence[OrderId]] = field(default_factory=list)

    async def states(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, StateOfOrder]:
        self.questions.append(order_ids)
        if self.is_unavailable:
            raise NeighbourUnavailable("unavailable")
        if self.before_answering is not None:
            await self.before_answering()
        unknown = StateOfOrder(OrderState.UNKNOWN)
        return {order: self.states_by_order.get(order, unknown) for order in order_ids}


@dataclass
class UseCases:
    """The use cases on a real database, with a clock that tests move; no loop runs in the background."""

    database: Database
    elapsed: timedelta = timedelta()
    """How far the clock is ahead of the real time."""
    products: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    orders: KnownOrders = field(default_factory=KnownOrders)
    outbox: Outbox = field(init=False)

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.database, Broker("amqp://broker.invalid/", "inventory"))
        events = PublishedEvents(self.outbox, uuid7)
        ledger = StockLedger(events, DEFAULT_THRESHOLD, self.now)
        self.reservations = ReservationService(self.database, ledger, events, EXACT_UP_TO, self.now)
        self.expiry = ReservationExpiry(self.database, self.reservations, self.orders, self.now)
        self.stock = StockService(self.database, AllProductsKnown(), ledger, EXACT_UP_TO, self.now, uuid7)
        self.inbox = Inbox("inventory", self.database, event_handlers(self.reservations))

    def now(self) -> datetime:
        return datetime.now(UTC) + self.elapsed

    def new_product(self) -> int:
        """Returns a product that no other test uses."""
        return next(self.products)

    async def set_stock(
        self, product: int, on_hand: int, threshold: int | None = None, max_per_order: int | None = None
    ) -> Stock:
        terms = StockTerms(threshold, max_per_order)
        return await self.stock.set_stock(_SELLER, ProductId(product), on_hand, terms, None)

    async def adjust(self, product: int, delta: int) -> Movement:
        return await self.stock.adjust_stock(_SELLER, ProductId(product), delta, "found", None)

    async def reserve(self, order: UUID, *lines: tuple[int, int], seconds: float = 60) -> None:
        requested = [Line(ProductId(product), quantity) for product, quantity in lines]
        await self.reservations.reserve(OrderId(order), requested, self.now() + timedelta(seconds=seconds))

    async def release(self, order: UUID) -> None:
        await self.reservations.release(OrderId(order))

    async def expire_reservations(self) -> None:
        """Moves the clock by an hour and expires the reservations that are overdue then."""
        self.elapsed += timedelta(hours=1)
        await self.expiry.expire_overdue()

    async def receive_placed(self, order: UUID, *lines: tuple[int, int], event_id: UUID | None = None) -> None:
        payload = OrderPlaced(order_id=str(order), lines=_lines(lines))
        payload.expires_at.FromDatetime(self.now() + timedelta(seconds=600))
        await self.receive(payload, event_id)

    async def receive_confirmed(self, order: UUID, *lines: tuple[int, int], event_id: UUID | None = None) -> None:
        await self.receive(OrderConfirmed(order_id=str(order), lines=_lines(lines)), event_id)

    async def receive_shipped(self, order: UUID, event_id: UUID | None = None) -> None:
        await self.receive(OrderShipped(order_id=str(order)), event_id)

    async def receive_cancelled(self, order: UUID, event_id: UUID | None = None) -> None:
        await self.receive(OrderCancelled(order_id=str(order)), event_id)

    async def receive(self, payload: Message, event_id: UUID | None = None) -> None:
        """Delivers one event, a new one unless `event_id` is that of an earlier delivery."""
        await self.inbox.receive(Event(event_id or uuid7(), "an order", self.now(), payload, {}))

    async def units(self, product: int) -> tuple[int, int, int]:
        """Returns the units on hand, and how many of them are reserved and committed."""
        stock = await self.stock.stock_of(ProductId(product))
        return stock.on_hand, stock.reserved, stock.committed

    async def status(self, order: UUID) -> str | None:
        async with self.database.begin() as transaction:
            query = text("SELECT status FROM reservations WHERE order_id = :order")
            status: str | None = await transaction.scalar(query, {"order": order})
            return status

    async def movements(self, product: int) -> list[tuple[str, int, int]]:
        """Returns the kind, the delta and the resulting stock of each movement, oldest first."""
        admin = Principal(UserId(1), Role.ADMIN)
        history, _ = await self.stock.history(admin, ProductId(product), CursorPaging(1, 100))
        return [(movement.cause.kind.value, movement.delta, movement.on_hand) for movement in reversed(history)]

    async def outbox_events(self, *subjects: object) -> list[Any]:
        """Returns the payloads about these subjects in the outbox, in the order in which they were recorded."""
        async with self.database.begin() as transaction:
            bodies = await transaction.scalars(text("SELECT body FROM outbox ORDER BY sequence"))
            recorded = [events.decode(bytes(body)) for body in bodies]
        return [event.payload for event in recorded if event.subject in map(str, subjects)]

    async def event_counts(self, *subjects: object) -> Counter[str]:
        return Counter(type(payload).__name__ for payload in await self.outbox_events(*subjects))


_SELLER = Principal(UserId(SELLER), Role.SELLER)


@asynccontextmanager
async def open_use_cases(settings: DatabaseSettings) -> AsyncIterator[UseCases]:
    database = Database(settings, SCHEMA)
    try:
        yield UseCases(database)
    finally:
        await database.close()
