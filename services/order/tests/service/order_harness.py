"""The order service as its tests drive it, with fakes of product and inventory at the gRPC boundary."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import httpx
from chassis import rpc, testing
from chassis.broker import Broker
from chassis.events import Event
from chassis.settings import DatabaseSettings
from chassis.tokens import Role
from grpc import aio
from order_service.app import Settings, build
from shopapi.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from shopapi.money.v1 import money_pb2
from shopapi.order.v1 import order_pb2_grpc
from shopapi.product.v1 import product_pb2, product_pb2_grpc
from shopapi.user.v1 import user_pb2_grpc

ADMIN = 1
PRECIOUS = 999
EURO = 1000
UNKNOWN = 2000


@dataclass
class FakeProducts(product_pb2_grpc.ProductServiceServicer):
    """The product service at its gRPC boundary: product n costs n dollars, from 1000 on n euros, 999 a fortune; 2000 is unknown."""

    is_away: bool = False

    async def GetPrices(  # noqa: N802 - the contract's name
        self, request: product_pb2.GetPricesRequest, context: aio.ServicerContext[Any, Any]
    ) -> product_pb2.GetPricesResponse:
        if self.is_away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        known = [product for product in request.product_ids if product < UNKNOWN]
        return product_pb2.GetPricesResponse(products=[_priced(product) for product in known])

    async def GetSeller(self, request: object, context: object) -> product_pb2.GetSellerResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError


def _priced(product: int) -> product_pb2.PricedProduct:
    amount = 10**11 if product == PRECIOUS else product * 100
    price = money_pb2.Money(amount=amount, currency="EUR" if product >= EURO else "USD")
    return product_pb2.PricedProduct(product_id=product, name=f"Product {product}", price=price, seller_id=7)


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
            trailer = ((rpc.CODE_KEY, "out_of_stock"), (rpc.MEMBERS_KEY, members))
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


class Cable:
    """The way from the service to its database; while it is cut, connections break and none is made."""

    def __init__(self, host: str, port: int) -> None:
        self._far_end = (host, port)
        self._ends: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def join(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for end in self._ends:
            end.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._far_end)
        self._ends |= {writer, far_writer}
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._ends -= {writer, far_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()
    writer.close()


@dataclass(frozen=True)
class Order:
    """The running service: HTTP in process, gRPC over loopback, its relay and consumer on the real broker."""

    http: httpx.AsyncClient
    rpc: order_pb2_grpc.OrderServiceStub
    issuer: testing.TokenIssuer
    products: FakeProducts
    inventory: FakeInventory
    database: DatabaseSettings
    cable: "Cable"
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

    async def cancel(self, order_id: str, buyer: int, role: Role = Role.CUSTOMER) -> httpx.Response:
        return await self.http.delete(f"/api/v1/orders/{order_id}", headers=self.bearer(buyer, role))

    async def orders_of(self, buyer: int) -> list[dict[str, Any]]:
        answer = await self.http.get("/api/v1/orders?limit=100", headers=self.bearer(buyer))
        orders: list[dict[str, Any]] = answer.json()["data"]
        return orders

    def about(self, order_id: str) -> list[Event]:
        """What was published about an order, in the order of its arrival, each event once."""
        return list({event.id: event for event in self.published if event.subject == order_id}.values())

    async def heard(self, order_id: str, *types: str) -> None:
        """Waits until just these events were published about an order."""

        async def all_are_there() -> bool:
            return sorted(event.type.name for event in self.about(order_id)) == sorted(types)

        await testing.eventually(all_are_there)

    @asynccontextmanager
    async def sql(self) -> AsyncIterator[asyncpg.Connection]:
        database = self.database
        connection = await asyncpg.connect(
            host=database.db_host,
            port=database.db_port,
            user=database.db_user,
            password=database.db_password,
            database=database.db_name,
        )
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def running_order() -> AsyncIterator[Order]:
    """The order service over a fresh database and virtual host, its events collected as inventory would receive them."""
    issuer, products, inventory = testing.TokenIssuer(), FakeProducts(), FakeInventory()
    async with (
        testing.fresh_database("order_service") as database,
        testing.fresh_vhost() as broker_url,
        testing.grpc_server(
            lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(testing.FakeUserService(issuer), server),
            lambda server: product_pb2_grpc.add_ProductServiceServicer_to_server(products, server),
            lambda server: inventory_pb2_grpc.add_InventoryServiceServicer_to_server(inventory, server),
        ) as neighbours,
        _collecting(broker_url) as published,
        _cable_to(database) as cable,
    ):
        settings = Settings(
            **(database.model_dump() | {"db_host": "127.0.0.1", "db_port": cable.port}),
            rabbitmq_url=broker_url,
            user_grpc=neighbours,
            product_grpc=neighbours,
            inventory_grpc=neighbours,
            grpc_port=0,
            expiry_sweep_seconds=0.05,
        )
        async with testing.running(await build(settings)) as service:
            channel = rpc.channel(f"127.0.0.1:{service.rpc_port}")
            stub = order_pb2_grpc.OrderServiceStub(channel)
            yield Order(service.http, stub, issuer, products, inventory, database, cable, broker_url, published)
            await channel.close()


@asynccontextmanager
async def _collecting(broker_url: str) -> AsyncIterator[list[Event]]:
    published: list[Event] = []

    async def receive(event: Event) -> None:
        published.append(event)

    consuming = asyncio.create_task(Broker(broker_url, "inventory").consume(receive))
    try:
        yield published
    finally:
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)


@asynccontextmanager
async def _cable_to(database: DatabaseSettings) -> AsyncIterator[Cable]:
    cable = Cable(database.db_host, database.db_port)
    await cable.join()
    try:
        yield cable
    finally:
        await cable.cut()
