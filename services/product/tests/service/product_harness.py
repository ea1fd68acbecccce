"""Runs the product service for its tests, with fakes of other services at the gRPC boundary and a proxy to Redis."""

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
from chassis.http.authentication import Role
from chassis.messaging.events import Event
from chassis.settings import DatabaseSettings
from chassis.types.ids import uuid7
from chassis_testing.broker import new_vhost, publish_events
from chassis_testing.callers import KNOWN_CALLERS, OWN_TOKENS, open_caller_channel
from chassis_testing.databases import SqlConnection, connect_to
from chassis_testing.environment import environment_variable
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.services import run_service
from chassis_testing.tokens import TokenIssuer
from google.protobuf.message import Message
from grpc import aio
from product_service.app import build
from product_service.handlers.grpc import ALLOWED_CALLERS
from product_service.settings import Settings
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
class FakeNeighbours:
    """The faults of the fake services: by part of the product details, what to do before the response."""

    exact_stock_up_to: int | None = None
    """The largest number of units that the public is told; None if inventory is of the release before."""
    faults: dict[str, Callable[[aio.ServicerContext[Any, Any]], Awaitable[None]]] = field(default_factory=dict)
    refusal: grpc.StatusCode | None = None
    """The status with which methods that read many values are refused; None if they are served."""
    calls: list[str] = field(default_factory=list)
    """The parts that were read, one for each call."""
    change_counts: dict[str, int] = field(default_factory=lambda: {"user": 11, "inventory": 12, "review": 13})

    async def inject_fault(self, part: str, context: aio.ServicerContext[Any, Any]) -> None:
        self.calls.append(part)
        if part in self.faults:
            await self.faults[part](context)

    async def inject_batch_fault(self, part: str, context: aio.ServicerContext[Any, Any]) -> None:
        if self.refusal is not None:
            await context.abort(self.refusal, "not served")
        await self.inject_fault(part, context)


async def unavailable(context: aio.ServicerContext[Any, Any]) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable")


async def internal_error(context: aio.ServicerContext[Any, Any]) -> None:
    await context.abort(grpc.StatusCode.INTERNAL, "internal error")


async def not_found(context: aio.ServicerContext[Any, Any]) -> None:
    await context.abort(grpc.StatusCode.NOT_FOUND, "not found")


async def slow(_context: aio.ServicerContext[Any, Any]) -> None:
    await asyncio.sleep(SLOW_SECONDS)


class FakeUsers(FakeUserService):
    def __init__(self, issuer: TokenIssuer, neighbours: FakeNeighbours) -> None:
        super().__init__(issuer)
        self._neighbours = neighbours

    async def GetUser(self, request: user_pb2.GetUserRequest, context: Any) -> user_pb2.GetUserResponse:  # noqa: N802
        await self._neighbours.inject_fault("seller", context)
        return await super().GetUser(request, context)

    async def GetChangeCount(  # noqa: N802
        self, request: user_pb2.GetChangeCountRequest, context: Any
    ) -> user_pb2.GetChangeCountResponse:
        return user_pb2.GetChangeCountResponse(count=self._neighbours.change_counts["user"])

    async def GetUserNames(  # noqa: N802
        self, request: user_pb2.GetUserNamesRequest, context: Any
    ) -> user_pb2.GetUserNamesResponse:
        await self._neighbours.inject_batch_fault("seller", context)
        return await super().GetUserNames(request, context)


class FakeInventory(inventory_pb2_grpc.InventoryServiceServicer):
    """A fake inventory service in which each product has as many units as its id says.

    It tells the public at most `exact_stock_up_to` of them; without a limit it is of the release before.
    """

    def __init__(self, neighbours: FakeNeighbours) -> None:
        self._neighbours = neighbours

    async def GetStock(  # noqa: N802 - the contract's name
        self, request: inventory_pb2.GetStockRequest, context: aio.ServicerContext[Any, Any]
    ) -> inventory_pb2.GetStockResponse:
        await self._neighbours.inject_fault("stock", context)
        return self._stock(request.product_id)

    async def GetStocks(  # noqa: N802 - the contract's name
        self, request: inventory_pb2.GetStocksRequest, context: aio.ServicerContext[Any, Any]
    ) -> inventory_pb2.GetStocksResponse:
        await self._neighbours.inject_batch_fault("stock", context)
        return inventory_pb2.GetStocksResponse(stocks=map(self._stock, request.product_ids))

    async def GetChangeCount(self, request: object, context: object) -> inventory_pb2.GetChangeCountResponse:  # noqa: N802
        return inventory_pb2.GetChangeCountResponse(count=self._neighbours.change_counts["inventory"])

    async def Reserve(self, request: object, context: object) -> inventory_pb2.ReserveResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    async def Release(self, request: object, context: object) -> inventory_pb2.ReleaseResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    def _stock(self, units: int) -> inventory_pb2.GetStockResponse:
        limit = self._neighbours.exact_stock_up_to
        shown = None if limit is None else min(units, limit)
        return inventory_pb2.GetStockResponse(product_id=units, available=units, shown_available=shown)


class FakeReviews(review_pb2_grpc.ReviewServiceServicer):
    def __init__(self, neighbours: FakeNeighbours) -> None:
        self._neighbours = neighbours

    async def GetAvgRating(  # noqa: N802 - the contract's name
        self, request: review_pb2.GetAvgRatingRequest, context: aio.ServicerContext[Any, Any]
    ) -> review_pb2.GetAvgRatingResponse:
        await self._neighbours.inject_fault("rating", context)
        return _rating(request.product_id)

    async def GetAvgRatings(  # noqa: N802 - the contract's name
        self, request: review_pb2.GetAvgRatingsRequest, context: aio.ServicerContext[Any, Any]
    ) -> review_pb2.GetAvgRatingsResponse:
        await self._neighbours.inject_batch_fault("rating", context)
        return review_pb2.GetAvgRatingsResponse(ratings=map(_rating, request.product_ids))

    async def GetChangeCount(self, request: object, context: object) -> review_pb2.GetChangeCountResponse:  # noqa: N802
        return review_pb2.GetChangeCountResponse(count=self._neighbours.change_counts["review"])


def _rating(product_id: int) -> review_pb2.GetAvgRatingResponse:
    return review_pb2.GetAvgRatingResponse(product_id=product_id, average=4.5, count=2)


class StallingProxy:
    """A TCP proxy to a server that can stall (nothing passes, nothing closes) and resume."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pumps: set[asyncio.Task[None]] = set()

    def stall(self) -> None:
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[str]:
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
async def redis_proxy() -> AsyncIterator[tuple[StallingProxy, str]]:
    """Runs a proxy to the test Redis; yields it and its URL."""
    server = urlsplit(environment_variable("TEST_REDIS_URL"))
    proxy = StallingProxy(server.hostname or "", server.port or 6379)
    async with proxy.listen() as address:
        yield proxy, f"redis://{address}{server.path}"


@dataclass(frozen=True)
class Catalogue:
    """The running product service: HTTP in process, gRPC over loopback."""

    http: httpx.AsyncClient
    rpc: product_pb2_grpc.ProductServiceStub
    issuer: TokenIssuer
    neighbours: FakeNeighbours
    settings: Settings

    @property
    def admin(self) -> dict[str, str]:
        return self.issuer.bearer(ADMIN, Role.ADMIN)

    @property
    def seller(self) -> dict[str, str]:
        return self.issuer.bearer(SELLER, Role.SELLER)

    async def add_category(self, name: str | None = None, parent: int | None = None) -> int:
        body = {"name": name or f"Category {next(_numbers)}", "parent_id": parent}
        response = await self.http.post("/api/v1/categories", json=body, headers=self.admin)
        assert response.status_code == 201, response.text
        category_id: int = response.json()["data"]["id"]
        return category_id

    async def add_product(self, **fields: object) -> dict[str, Any]:
        """Adds a product and waits until its product.changed is consumed, which could evict it from the cache later."""
        response = await self.http.post("/api/v1/products", json=await self.product_body(**fields), headers=self.seller)
        assert response.status_code == 201, response.text
        product: dict[str, Any] = response.json()["data"]
        await self.wait_until_consumed()
        return product

    async def product_body(self, **fields: object) -> dict[str, Any]:
        """Returns a request body for a product, in a new category unless one is given."""
        category_id = fields.pop("category_id", None) or await self.add_category()
        price = {"amount": fields.pop("amount", 1290), "currency": "USD"}
        return {"name": "Espresso cup", "description": "80 ml", "price": price, "category_id": category_id, **fields}

    async def revise_product(self, product: dict[str, Any], amount: int) -> None:
        body = await self.product_body(category_id=product["category_id"], amount=amount)
        response = await self.http.put(f"/api/v1/products/{product['id']}", json=body, headers=self.seller)
        assert response.status_code == 200, response.text

    async def list_products(self, **query: object) -> dict[str, Any]:
        response = await self.http.get("/api/v1/products", params={"limit": 100, **query})  # type: ignore[dict-item]  # any plain value
        assert response.status_code == 200, response.text
        listed: dict[str, Any] = response.json()
        return listed

    async def list_names(self, **query: object) -> list[str]:
        """Returns the names of listed products, in the order of the list."""
        return [product["name"] for product in (await self.list_products(**query))["data"]]

    async def get_details(self, product_id: int) -> dict[str, Any]:
        response = await self.http.get(f"/api/v1/products/{product_id}")
        assert response.status_code == 200, response.text
        details: dict[str, Any] = response.json()["data"]
        return details

    async def displayed_price(self, product_id: int) -> int:
        amount: int = (await self.get_details(product_id))["product"]["price"]["amount"]
        return amount

    async def wait_until_consumed(self) -> None:
        """Waits until the service has consumed all events that it published."""
        idle_checks = 0
        async with asyncio.timeout(30):
            while idle_checks < 2:
                waiting = await self.rows("SELECT FROM outbox LIMIT 1")
                is_idle = not waiting and _consumed() >= _published()
                idle_checks = idle_checks + 1 if is_idle else 0
                await asyncio.sleep(0.005)

    async def deliver_events(self, *payloads: Message, times: int = 1) -> None:
        """Publishes each event `times` times; returns when the service has consumed all of them."""
        at = datetime.now(UTC)
        sent = [Event(uuid7(), f"test-{number}", at, payload, {}) for number, payload in enumerate(payloads)]
        async with self.connection() as connection:
            await publish_events(self.settings.rabbitmq_url, sent * times)
            async with asyncio.timeout(30):
                while await connection.fetchval(_RECEIVED, [event.id for event in sent]) < len(sent):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    async def execute(self, statement: str, *arguments: object) -> None:
        """Executes a statement directly in the service's database."""
        async with self.connection() as connection:
            await connection.execute(statement, *arguments)

    async def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Returns rows directly from the service's database."""
        async with self.connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]

    def connection(self) -> AbstractAsyncContextManager[SqlConnection]:
        """Opens a connection to the service's database."""
        return connect_to(self.settings)


_RECEIVED = "SELECT count(*) FROM inbox WHERE event_id = ANY($1)"


def _published() -> float:
    return sum(_samples("outbox_published_total", type=_CHANGED))


def _consumed() -> float:
    outcomes = ("applied", "duplicate")
    return sum(value for o in outcomes for value in _samples("inbox_consumed_total", type=_CHANGED, outcome=o))


def _samples(name: str, **labels: str) -> Iterator[float]:
    """Yields the samples of one metric. `get_sample_value` collects all metrics, which is slower than most requests."""
    for metric in REGISTRY.restricted_registry([name]).collect():
        yield from (sample.value for sample in metric.samples if sample.name == name and sample.labels == labels)


_CHANGED = "product.changed.v1"


@asynccontextmanager
async def catalogue_with_neighbours(database: DatabaseSettings) -> AsyncIterator[Catalogue]:
    issuer, neighbours = TokenIssuer(), FakeNeighbours()
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
            tenant=database.db_name,  # keeps its entries in the shared Redis apart
            redis_url=environment_variable("TEST_REDIS_URL"),
            rabbitmq_url=broker_url,
            user_grpc=address,
            inventory_grpc=address,
            review_grpc=address,
            grpc_port=0,
            grpc_tokens=OWN_TOKENS,
            grpc_callers=KNOWN_CALLERS,
            part_deadline_seconds=3,  # even a busy machine responds in time
            cache_deadline_seconds=5,
            cache_catch_up_seconds=0.05,
            withdrawal_sweep_seconds=0.05,
        )
        async with run_catalogue(settings, issuer, neighbours) as catalogue:
            yield catalogue


@asynccontextmanager
async def another_process(catalogue: Catalogue, **changes: object) -> AsyncIterator[Catalogue]:
    """Runs another process of the same service with changed settings."""
    settings = catalogue.settings.model_copy(update=changes)
    async with run_catalogue(settings, catalogue.issuer, catalogue.neighbours) as other:
        yield other


@asynccontextmanager
async def run_catalogue(
    settings: Settings, issuer: TokenIssuer, neighbours: FakeNeighbours
) -> AsyncIterator[Catalogue]:
    async with run_service(await build(settings)) as service:
        channel = open_caller_channel(f"127.0.0.1:{service.rpc_port}", ALLOWED_CALLERS)
        yield Catalogue(service.http, product_pb2_grpc.ProductServiceStub(channel), issuer, neighbours, settings)
        await channel.close()
