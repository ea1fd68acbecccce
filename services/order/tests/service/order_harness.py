"""The order service as its tests drive it, with fakes of product and inventory at the gRPC boundary."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import grpc
import httpx
from chassis.grpc.client import open_channel
from chassis.grpc.wire import CODE_KEY, MEMBERS_KEY, timestamp
from chassis.http.authentication import Role
from chassis.messaging.broker import Broker
from chassis.messaging.events import Event
from chassis.runtime import process
from chassis.settings import DatabaseSettings
from chassis.types.ids import uuid7
from chassis_testing.broker import new_vhost, publish_events
from chassis_testing.databases import SqlConnection, connect_to, migrated_database
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.services import run_service
from chassis_testing.tokens import TokenIssuer
from chassis_testing.waiting import eventually
from grpc import aio
from order_service.app import build
from order_service.settings import Settings
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded, ReservationRejected, UserErased
from shopapi.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from shopapi.money.v1 import money_pb2
from shopapi.order.v1 import order_pb2_grpc
from shopapi.product.v1 import product_pb2, product_pb2_grpc
from shopapi.user.v1 import user_pb2_grpc

ADMIN = 1
PRECIOUS = 999
EURO = 1000
UNKNOWN = 2000
SELLER, OTHER_SELLER = 7, 8


@dataclass
class FakeProducts(product_pb2_grpc.ProductServiceServicer):
    """The product service at its gRPC boundary: product n costs n dollars, from 1000 on n euros, 999 a fortune; 2000 is unknown.
    Products that end in 9 are OTHER_SELLER's.
    """

    is_away: bool = False
    repriced: dict[int, int] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)

    async def GetPrices(  # noqa: N802 - the contract's name
        self, request: product_pb2.GetPricesRequest, context: aio.ServicerContext[Any, Any]
    ) -> product_pb2.GetPricesResponse:
        if self.is_away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        known = [product for product in request.product_ids if product < UNKNOWN and product not in self.gone]
        return product_pb2.GetPricesResponse(
            products=[_priced(product, self.repriced.get(product)) for product in known]
        )

    async def GetSeller(self, request: object, context: object) -> product_pb2.GetSellerResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError


def _priced(product: int, amount: int | None) -> product_pb2.PricedProduct:
    if amount is None:
        amount = 10**11 if product == PRECIOUS else product * 100
    price = money_pb2.Money(amount=amount, currency="EUR" if product >= EURO else "USD")
    seller = OTHER_SELLER if product % 10 == 9 else SELLER
    return product_pb2.PricedProduct(product_id=product, name=f"Product {product}", price=price, seller_id=seller)


@dataclass
class FakeInventory(inventory_pb2_grpc.InventoryServiceServicer):
    """The inventory service at its gRPC boundary: plenty of everything, but of what `left` names."""

    left: dict[int, int] = field(default_factory=dict)
    is_away: bool = False
    reserved: dict[UUID, dict[int, int]] = field(default_factory=dict)
    released: list[UUID] = field(default_factory=list)
    after_reserving: Callable[[], Awaitable[None]] | None = None
    loses_answers: bool = False

    async def GetStock(self, request: object, context: object) -> inventory_pb2.GetStockResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    async def GetStocks(  # noqa: N802 - the contract's name
        self, request: inventory_pb2.GetStocksRequest, context: aio.ServicerContext[Any, Any]
    ) -> inventory_pb2.GetStocksResponse:
        if self.is_away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        left = {product: self.left.get(product, 1_000_000) for product in request.product_ids}
        stocks = [
            inventory_pb2.GetStockResponse(product_id=product, on_hand=units, available=units)
            for product, units in left.items()
        ]
        return inventory_pb2.GetStocksResponse(stocks=stocks)

    async def Reserve(  # noqa: N802 - the contract's name
        self, request: inventory_pb2.ReserveRequest, context: aio.ServicerContext[Any, Any]
    ) -> inventory_pb2.ReserveResponse:
        if self.is_away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        wanted = {line.product_id: line.quantity for line in request.lines}
        lacking = [product for product, quantity in wanted.items() if self.left.get(product, quantity) < quantity]
        if lacking:
            shortages = [{"product_id": p, "wanted": wanted[p], "available": self.left[p]} for p in lacking]
            members = json.dumps({"products": shortages}).encode()
            trailer = ((CODE_KEY, "out_of_stock"), (MEMBERS_KEY, members))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "too little stock", trailer)
        self.reserved[UUID(request.order_id)] = wanted
        if self.after_reserving is not None:
            await self.after_reserving()
        if self.loses_answers:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "killed before it could answer")
        return inventory_pb2.ReserveResponse()

    async def Release(self, request: inventory_pb2.ReleaseRequest, context: object) -> inventory_pb2.ReleaseResponse:  # noqa: N802 - the contract's name
        self.released.append(UUID(request.order_id))
        return inventory_pb2.ReleaseResponse()


def payment_of(order: dict[str, Any], payment_id: str | None = None, amount: int | None = None) -> Event:
    paid = order["total"] | ({} if amount is None else {"amount": amount})
    payload = PaymentCompleted(
        payment_id=payment_id or str(uuid7()),
        order_id=order["id"],
        buyer_id=order["buyer_id"],
        amount=money_pb2.Money(**paid),
        completed_at=timestamp(datetime.now(UTC)),
    )
    return Event(uuid7(), order["id"], datetime.now(UTC), payload, {})


def refund_of(
    order: dict[str, Any], payment_id: str, amount: int, at: datetime | None = None, refund_id: str | None = None
) -> Event:
    payload = PaymentRefunded(
        refund_id=refund_id or str(uuid7()),
        payment_id=payment_id,
        order_id=order["id"],
        buyer_id=order["buyer_id"],
        amount=money_pb2.Money(amount=amount, currency=order["total"]["currency"]),
        refunded_at=timestamp(at or datetime.now(UTC)),
    )
    return Event(uuid7(), order["id"], datetime.now(UTC), payload, {})


def rejection_of(order_id: str) -> Event:
    return Event(uuid7(), order_id, datetime.now(UTC), ReservationRejected(order_id=order_id), {})


def erasure_of(user_id: int) -> Event:
    payload = UserErased(user_id=user_id, erased_at=timestamp(datetime.now(UTC)))
    return Event(uuid7(), str(user_id), datetime.now(UTC), payload, {})


@dataclass(frozen=True)
class Order:
    """The running service: HTTP in process, gRPC over loopback, its relay and consumer on the real broker."""

    http: httpx.AsyncClient
    rpc: order_pb2_grpc.OrderServiceStub
    issuer: TokenIssuer
    products: FakeProducts
    inventory: FakeInventory
    database: DatabaseSettings
    cable: FaultProxy
    broker_url: str
    published: list[Event]

    def bearer(self, buyer: int, role: Role = Role.CUSTOMER) -> dict[str, str]:
        return self.issuer.bearer(buyer, role)

    async def place(self, buyer: int, *lines: tuple[int, int], key: str | None = None) -> httpx.Response:
        items = [{"product_id": product, "quantity": quantity} for product, quantity in lines]
        headers = self.bearer(buyer) | ({} if key is None else {"Idempotency-Key": key})
        return await self.http.post("/api/v1/orders", json={"items": items}, headers=headers)

    async def placed(self, buyer: int, *lines: tuple[int, int]) -> dict[str, Any]:
        answer = await self.place(buyer, *lines)
        assert answer.status_code == 201, answer.text
        order: dict[str, Any] = answer.json()["data"]
        return order

    async def get(self, order_id: str, buyer: int, role: Role = Role.CUSTOMER) -> httpx.Response:
        return await self.http.get(f"/api/v1/orders/{order_id}", headers=self.bearer(buyer, role))

    async def cart(
        self,
        method: str,
        path: str = "",
        body: dict[str, int] | None = None,
        buyer: int | None = None,
        token: str | None = None,
    ) -> httpx.Response:
        headers = ({} if buyer is None else self.bearer(buyer)) | ({} if token is None else {"Cart-Token": token})
        return await self.http.request(method, f"/api/v1/cart{path}", json=body, headers=headers)

    async def put_in(self, buyer: int | None, product: int, quantity: int, token: str | None = None) -> httpx.Response:
        answer = await self.cart("POST", "", {"product_id": product, "quantity": quantity}, buyer, token)
        assert answer.status_code == 201, answer.text
        return answer

    async def in_cart(self, buyer: int | None = None, token: str | None = None) -> dict[int, int]:
        """Quantities by product."""
        lines = (await self.cart("GET", buyer=buyer, token=token)).json()["data"]["lines"]
        return {line["product_id"]: line["quantity"] for line in lines}

    async def guest(self, *lines: tuple[int, int]) -> str:
        """The token of a guest with this in their cart."""
        (product, quantity), *more = lines
        token: str = (await self.put_in(None, product, quantity)).headers["Cart-Token"]
        for product, quantity in more:
            await self.put_in(None, product, quantity, token)
        return token

    async def order_cart(self, buyer: int, key: str | None = None, **body: object) -> httpx.Response:
        """Without a body, unless there is something to say."""
        headers = self.bearer(buyer) | ({} if key is None else {"Idempotency-Key": key})
        return await self.http.post("/api/v1/orders", headers=headers, **({"json": body} if body else {}))  # type: ignore[arg-type]

    async def cancel(self, order_id: str, buyer: int, role: Role = Role.CUSTOMER) -> httpx.Response:
        return await self.http.delete(f"/api/v1/orders/{order_id}", headers=self.bearer(buyer, role))

    async def orders_of(self, buyer: int) -> list[dict[str, Any]]:
        answer = await self.http.get("/api/v1/orders?limit=100", headers=self.bearer(buyer))
        orders: list[dict[str, Any]] = answer.json()["data"]
        return orders

    async def pay(self, order: dict[str, Any], payment_id: str | None = None, amount: int | None = None) -> None:
        """As the payment service tells that it has captured what an order costs; waits until it was received."""
        await self.tell(payment_of(order, payment_id, amount))

    async def confirmed(self, buyer: int, *lines: tuple[int, int]) -> dict[str, Any]:
        """An order that is placed and paid."""
        placed = await self.placed(buyer, *lines)
        await self.pay(placed)
        order: dict[str, Any] = (await self.get(placed["id"], buyer)).json()["data"]
        assert order["status"] == "confirmed"
        return order

    async def move(self, order_id: str, status: str, **more: object) -> httpx.Response:
        path, body = f"/api/v1/orders/{order_id}/status", {"status": status} | more
        return await self.http.put(path, json=body, headers=self.bearer(ADMIN, Role.ADMIN))

    async def moved(self, order_id: str, *statuses: str) -> None:
        for status in statuses:
            answer = await self.move(order_id, status)
            assert answer.status_code == 200, answer.text

    async def tell(self, *told: Event) -> None:
        """Publishes, and waits until each event was received."""
        await publish_events(self.broker_url, told)
        await self.received({event.id for event in told})

    async def received(self, ids: set[UUID]) -> None:
        async with self.sql() as sql:

            async def all_are_received() -> bool:
                count = await sql.fetchval("SELECT count(*) FROM inbox WHERE event_id = ANY($1)", list(ids))
                return bool(count == len(ids))

            await eventually(all_are_received)

    def about(self, order_id: str) -> list[Event]:
        """What this service published about an order, in the order of its arrival, each event once."""
        ours = (e for e in self.published if e.subject == order_id and e.type.producer == "order")
        return list({event.id: event for event in ours}.values())

    async def heard(self, order_id: str, *types: str) -> None:
        """Waits until just these events were published about an order."""

        async def all_are_there() -> bool:
            return sorted(event.type.name for event in self.about(order_id)) == sorted(types)

        await eventually(all_are_there)

    def sql(self) -> AbstractAsyncContextManager[SqlConnection]:
        return connect_to(self.database)


@asynccontextmanager
async def running_order(**chosen: object) -> AsyncIterator[Order]:
    """The order service over a fresh database and virtual host, its events collected as notification receives them."""
    issuer, products, inventory = TokenIssuer(), FakeProducts(), FakeInventory()
    async with (
        migrated_database("order_service") as database,
        new_vhost() as broker_url,
        grpc_server(
            lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(FakeUserService(issuer), server),
            lambda server: product_pb2_grpc.add_ProductServiceServicer_to_server(products, server),
            lambda server: inventory_pb2_grpc.add_InventoryServiceServicer_to_server(inventory, server),
        ) as neighbours,
        _collecting(broker_url) as published,
        fault_proxy(database.db_host, database.db_port) as cable,
    ):
        settings = Settings(
            **(database.model_dump() | chosen | {"db_host": "127.0.0.1", "db_port": cable.port}),
            rabbitmq_url=broker_url,
            user_grpc=neighbours,
            product_grpc=neighbours,
            inventory_grpc=neighbours,
            grpc_port=0,
            expiry_sweep_seconds=0.05,
            look_deadline_seconds=5,  # a busy machine is not a slow neighbour
        )
        async with run_service(await build(settings)) as service:
            channel = open_channel(f"127.0.0.1:{service.rpc_port}")
            stub = order_pb2_grpc.OrderServiceStub(channel)
            yield Order(service.http, stub, issuer, products, inventory, database, cable, broker_url, published)
            await channel.close()


@asynccontextmanager
async def _collecting(broker_url: str) -> AsyncIterator[list[Event]]:
    published: list[Event] = []

    async def receive(event: Event) -> None:
        published.append(event)

    consuming = asyncio.create_task(Broker(broker_url, "notification").consume(receive))
    try:
        yield published
    finally:
        await process.cancel_all(consuming)
