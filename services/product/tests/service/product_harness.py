"""The product service as its tests drive it, with fakes of its neighbours at the gRPC boundary and a line to Redis that can fail."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
from chassis.grpc.client import open_channel
from chassis.http.authentication import Role
from chassis.messaging.events import Event
from chassis.settings import DatabaseSettings
from chassis.types.ids import uuid7
from chassis_testing.broker import new_vhost, publish_events
from chassis_testing.databases import SqlConnection, connect_to
from chassis_testing.environment import environment_variable
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.services import run_service
from chassis_testing.tokens import TokenIssuer
from google.protobuf.message import Message
from grpc import aio
from product_service.app import Settings, build
from prometheus_client import REGISTRY
from shopapi.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from shopapi.product.v1 import product_pb2_grpc
from shopapi.review.v1 import review_pb2, review_pb2_grpc
from shopapi.user.v1 import user_pb2, user_pb2_grpc

ADMIN, SELLER, OTHER_SELLER, CUSTOMER = 1, 7, 8, 9
PARTS = ("seller", "stock", "rating")
SLOW_SECONDS = 30
_numbers = itertools.count(1)


@dataclass
class Neighbours:
    """How user, inventory and review answer: by part of the page, what to do instead of answering at once."""

    before: dict[str, Callable[[aio.ServicerContext[Any, Any]], Awaitable[None]]] = field(default_factory=dict)

    async def meet(self, part: str, context: aio.ServicerContext[Any, Any]) -> None:
        if part in self.before:
            await self.before[part](context)


async def away(context: aio.ServicerContext[Any, Any]) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "away")


async def broken(context: aio.ServicerContext[Any, Any]) -> None:
    await context.abort(grpc.StatusCode.INTERNAL, "broken")


async def unknown(context: aio.ServicerContext[Any, Any]) -> None:
    await context.abort(grpc.StatusCode.NOT_FOUND, "unknown")


async def slow(_context: aio.ServicerContext[Any, Any]) -> None:
    await asyncio.sleep(SLOW_SECONDS)


class FakeUsers(FakeUserService):
    def __init__(self, issuer: TokenIssuer, neighbours: Neighbours) -> None:
        super().__init__(issuer)
        self._neighbours = neighbours

    async def GetUser(self, request: user_pb2.GetUserRequest, context: Any) -> user_pb2.GetUserResponse:  # noqa: N802
        await self._neighbours.meet("seller", context)
        return await super().GetUser(request, context)


class FakeInventory(inventory_pb2_grpc.InventoryServiceServicer):
    """Of every product, as many are available as its number says."""

    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours

    async def GetStock(  # noqa: N802 - the contract's name
        self, request: inventory_pb2.GetStockRequest, context: aio.ServicerContext[Any, Any]
    ) -> inventory_pb2.GetStockResponse:
        await self._neighbours.meet("stock", context)
        return inventory_pb2.GetStockResponse(product_id=request.product_id, available=request.product_id)

    async def GetStocks(self, request: object, context: object) -> inventory_pb2.GetStocksResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    async def Reserve(self, request: object, context: object) -> inventory_pb2.ReserveResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    async def Release(self, request: object, context: object) -> inventory_pb2.ReleaseResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError


class FakeReviews(review_pb2_grpc.ReviewServiceServicer):
    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours

    async def GetAvgRating(  # noqa: N802 - the contract's name
        self, request: review_pb2.GetAvgRatingRequest, context: aio.ServicerContext[Any, Any]
    ) -> review_pb2.GetAvgRatingResponse:
        await self._neighbours.meet("rating", context)
        return review_pb2.GetAvgRatingResponse(product_id=request.product_id, average=4.5, count=2)


class Line:
    """A line to a server that can hang (nothing passes, nothing closes) and be restored."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pumps: set[asyncio.Task[None]] = set()

    def hang(self) -> None:
        self._flowing.clear()

    def restore(self) -> None:
        self._flowing.set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        try:
            yield f"{host}:{port}"
        finally:
            server.close()
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._upstream)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            try:
                while piece := await source.read(65536):
                    await self._flowing.wait()
                    sink.write(piece)
                    await sink.drain()
            finally:
                sink.close()
                await sink.wait_closed()


@asynccontextmanager
async def redis_line() -> AsyncIterator[tuple[Line, str]]:
    """A line to the test Redis, and its URL."""
    server = urlsplit(environment_variable("TEST_REDIS_URL"))
    line = Line(server.hostname or "", server.port or 6379)
    async with line.listening() as address:
        yield line, f"redis://{address}{server.path}"


@dataclass(frozen=True)
class Shop:
    """The running service: HTTP in process, gRPC over loopback."""

    http: httpx.AsyncClient
    rpc: product_pb2_grpc.ProductServiceStub
    issuer: TokenIssuer
    neighbours: Neighbours
    settings: Settings

    @property
    def admin(self) -> dict[str, str]:
        return self.issuer.bearer(ADMIN, Role.ADMIN)

    @property
    def seller(self) -> dict[str, str]:
        return self.issuer.bearer(SELLER, Role.SELLER)

    async def category(self, name: str | None = None, parent: int | None = None) -> int:
        body = {"name": name or f"Category {next(_numbers)}", "parent_id": parent}
        answer = await self.http.post("/api/v1/categories", json=body, headers=self.admin)
        assert answer.status_code == 201, answer.text
        category_id: int = answer.json()["data"]["id"]
        return category_id

    async def product(self, **fields: object) -> dict[str, Any]:
        """A new product, once its product.changed was heard: that takes nothing out of the cache any more."""
        answer = await self.http.post("/api/v1/products", json=await self.body(**fields), headers=self.seller)
        assert answer.status_code == 201, answer.text
        product: dict[str, Any] = answer.json()["data"]
        await self.settled()
        return product

    async def body(self, **fields: object) -> dict[str, Any]:
        """A product as a request says it, with an own category where none is given."""
        category_id = fields.pop("category_id", None) or await self.category()
        price = {"amount": fields.pop("amount", 1290), "currency": "USD"}
        return {"name": "Espresso cup", "description": "80 ml", "price": price, "category_id": category_id, **fields}

    async def revise(self, product: dict[str, Any], amount: int) -> None:
        body = await self.body(category_id=product["category_id"], amount=amount)
        answer = await self.http.put(f"/api/v1/products/{product['id']}", json=body, headers=self.seller)
        assert answer.status_code == 200, answer.text

    async def listed(self, **query: object) -> dict[str, Any]:
        answer = await self.http.get("/api/v1/products", params={"limit": 100, **query})  # type: ignore[dict-item]  # any plain value
        assert answer.status_code == 200, answer.text
        listed: dict[str, Any] = answer.json()
        return listed

    async def names(self, **query: object) -> list[str]:
        """Of the products that a list shows, in its order."""
        return [product["name"] for product in (await self.listed(**query))["data"]]

    async def details(self, product_id: int) -> dict[str, Any]:
        answer = await self.http.get(f"/api/v1/products/{product_id}")
        assert answer.status_code == 200, answer.text
        details: dict[str, Any] = answer.json()["data"]
        return details

    async def shown_price(self, product_id: int) -> int:
        amount: int = (await self.details(product_id))["product"]["price"]["amount"]
        return amount

    async def settled(self) -> None:
        """Returns when the service has heard all that it said."""
        looks = 0
        async with asyncio.timeout(30):
            while looks < 2:
                waiting = await self.rows("SELECT FROM outbox LIMIT 1")
                looks = 0 if waiting or _heard() < _said() else looks + 1
                await asyncio.sleep(0.005)

    async def hear(self, *payloads: Message, times: int = 1) -> None:
        """Receives events as the broker delivers them, each so often; returns when all have taken effect."""
        at = datetime.now(UTC)
        sent = [Event(uuid7(), "test", at, payload, {}) for payload in payloads]
        async with self.connection() as connection:
            await publish_events(self.settings.rabbitmq_url, sent * times)
            async with asyncio.timeout(30):
                while await connection.fetchval(_RECEIVED, [event.id for event in sent]) < len(sent):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    async def execute(self, statement: str, *arguments: object) -> None:
        """In the database, behind the service's back."""
        async with self.connection() as connection:
            await connection.execute(statement, *arguments)

    async def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """From the database, behind the service's back."""
        async with self.connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]

    def connection(self) -> AbstractAsyncContextManager[SqlConnection]:
        """Of the tests' own to the database."""
        return connect_to(self.settings)


_RECEIVED = "SELECT count(*) FROM inbox WHERE event_id = ANY($1)"


def _said() -> float:
    return sum(_samples("outbox_published_total", type=_CHANGED))


def _heard() -> float:
    outcomes = ("applied", "duplicate")
    return sum(value for o in outcomes for value in _samples("inbox_consumed_total", type=_CHANGED, outcome=o))


def _samples(name: str, **labels: str) -> Iterator[float]:
    """Of one metric: to collect them all, as `get_sample_value` does, takes longer than most requests."""
    for metric in REGISTRY.restricted_registry([name]).collect():
        yield from (sample.value for sample in metric.samples if sample.name == name and sample.labels == labels)


_CHANGED = "product.changed.v1"


@asynccontextmanager
async def shop_with_neighbours(database: DatabaseSettings) -> AsyncIterator[Shop]:
    issuer, neighbours = TokenIssuer(), Neighbours()
    async with (
        new_vhost() as broker_url,
        grpc_server(
            lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(FakeUsers(issuer, neighbours), server),
            lambda server: inventory_pb2_grpc.add_InventoryServiceServicer_to_server(FakeInventory(neighbours), server),
            lambda server: review_pb2_grpc.add_ReviewServiceServicer_to_server(FakeReviews(neighbours), server),
        ) as address,
    ):
        settings = Settings(
            **database.model_dump(),
            tenant=database.db_name,  # entries in the shared Redis are this run's own
            redis_url=environment_variable("TEST_REDIS_URL"),
            rabbitmq_url=broker_url,
            user_grpc=address,
            inventory_grpc=address,
            review_grpc=address,
            grpc_port=0,
            part_deadline_seconds=3,  # a busy machine is not a slow neighbour
            cache_deadline_seconds=5,
            cache_catch_up_seconds=0.05,
            withdrawal_sweep_seconds=0.05,
        )
        async with running_shop(settings, issuer, neighbours) as shop:
            yield shop


@asynccontextmanager
async def another(shop: Shop, **changes: object) -> AsyncIterator[Shop]:
    """One more process of the same shop, with other settings."""
    settings = shop.settings.model_copy(update=changes)
    async with running_shop(settings, shop.issuer, shop.neighbours) as other:
        yield other


@asynccontextmanager
async def running_shop(settings: Settings, issuer: TokenIssuer, neighbours: Neighbours) -> AsyncIterator[Shop]:
    async with run_service(await build(settings)) as service:
        channel = open_channel(f"127.0.0.1:{service.rpc_port}")
        yield Shop(service.http, product_pb2_grpc.ProductServiceStub(channel), issuer, neighbours, settings)
        await channel.close()
