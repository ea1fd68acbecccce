"""The review service as its tests drive it, with fakes of product and order at the gRPC boundary."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aio_pika
import grpc
import httpx
from chassis.database import invariants
from chassis.database.engine import Database
from chassis.errors import MalformedEvent
from chassis.grpc.client import call, open_channel
from chassis.grpc.wire import CODE_KEY
from chassis.http.authentication import Role
from chassis.messaging import events
from chassis.messaging.events import Event
from chassis.settings import DatabaseSettings
from chassis.types.ids import uuid7
from chassis_testing.broker import new_vhost, publish_events, recorded_events
from chassis_testing.databases import SqlConnection, connect_to
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.services import run_service
from chassis_testing.tokens import TokenIssuer
from chassis_testing.waiting import eventually
from grpc import aio
from review_service.app import SCHEMA, Settings, build
from shopapi.events.v1.events_pb2 import RatingChanged, UserErased
from shopapi.order.v1 import order_pb2, order_pb2_grpc
from shopapi.product.v1 import product_pb2, product_pb2_grpc
from shopapi.review.v1 import review_pb2, review_pb2_grpc
from shopapi.user.v1 import user_pb2, user_pb2_grpc

ADMIN, SELLER = 1, 7
NO_BUYERS_FROM = 1_000_000
"""Users from this number on have ordered nothing."""
NO_USERS_FROM = 500_000
"""Users from this number on do not exist, though they have ordered."""
UNKNOWN_FROM = 10_000
"""Products from this number on do not exist."""

Context = aio.ServicerContext[Any, Any]
_products = itertools.count(1)
_users = itertools.count(1_000)


@dataclass
class FakeProducts(product_pb2_grpc.ProductServiceServicer):
    """The product service at its gRPC boundary: seller 7 sells every product below 10,000."""

    before: Callable[[Context], Awaitable[None]] | None = None

    async def GetPrices(self, request: object, context: object) -> product_pb2.GetPricesResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    async def GetSeller(  # noqa: N802 - the contract's name
        self, request: product_pb2.GetSellerRequest, context: Context
    ) -> product_pb2.GetSellerResponse:
        if self.before is not None:
            await self.before(context)
        if request.product_id >= UNKNOWN_FROM:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such product", ((CODE_KEY, "unknown_product"),))
        return product_pb2.GetSellerResponse(product_id=request.product_id, seller_id=SELLER)


@dataclass
class FakeOrders(order_pb2_grpc.OrderServiceServicer):
    """The order service at its gRPC boundary: everybody below user 1,000,000 has ordered everything."""

    before: Callable[[Context], Awaitable[None]] | None = None

    async def HasBought(  # noqa: N802 - the contract's name
        self, request: order_pb2.HasBoughtRequest, context: Context
    ) -> order_pb2.HasBoughtResponse:
        if self.before is not None:
            await self.before(context)
        return order_pb2.HasBoughtResponse(has_bought=request.user_id < NO_BUYERS_FROM)

    async def GetPayable(self, request: object, context: object) -> order_pb2.GetPayableResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError


class FakeUsers(FakeUserService):
    """The user service at its gRPC boundary."""

    def __init__(self, issuer: TokenIssuer) -> None:
        super().__init__(issuer)
        self.before: Callable[[Context], Awaitable[None]] | None = None
        self.erased: set[int] = set()
        self.asked = 0

    async def GetUser(  # noqa: N802 - the contract's name
        self, request: user_pb2.GetUserRequest, context: object
    ) -> user_pb2.GetUserResponse:
        self.asked += 1
        if self.before is not None:
            await self.before(context)  # type: ignore[arg-type]
        if request.user_id >= NO_USERS_FROM:
            await away_for_good(context)  # type: ignore[arg-type]
        if request.user_id in self.erased:
            return user_pb2.GetUserResponse(user_id=request.user_id, display_name="Deleted user")
        return await super().GetUser(request, context)


async def away_for_good(context: Context) -> None:
    await context.abort(grpc.StatusCode.NOT_FOUND, "no such user", ((CODE_KEY, "unknown_user"),))


async def away(context: Context) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "away")


def a_product() -> int:
    """One that no other test reviews."""
    return next(_products)


def a_user() -> int:
    """One that no other test knows."""
    return next(_users)


async def broken(database: Database) -> dict[str, list[dict[str, object]]]:
    """The rows that break each invariant, of those that are broken."""
    books = invariants.InvariantMonitor(database, "review_service")
    found = {
        invariant.name: await books.violations(invariant) for invariant in invariants.load_invariants("review_service")
    }
    return {name: rows for name, rows in found.items() if rows}


@dataclass(frozen=True)
class Shop:
    """The running service: HTTP in process, gRPC over loopback, its relay and consumer on the real broker."""

    http: httpx.AsyncClient
    rpc: review_pb2_grpc.ReviewServiceStub
    issuer: TokenIssuer
    users: FakeUsers
    products: FakeProducts
    orders: FakeOrders
    database: DatabaseSettings
    books: Database
    broker_url: str
    told: dict[int, list[RatingChanged]] = field(default_factory=dict)
    """What the shop was told of each product, as far as it was looked at."""

    def bearer(self, user: int, role: Role = Role.CUSTOMER) -> dict[str, str]:
        return self.issuer.bearer(user, role)

    async def post(self, product: int, author: int, rating: int = 5, **words: object) -> httpx.Response:
        body, headers = {"rating": rating, **words}, self.bearer(author)
        return await self.http.post(f"/api/v1/products/{product}/reviews", json=body, headers=headers)

    async def review(self, product: int, author: int, rating: int = 5, **words: object) -> dict[str, Any]:
        answer = await self.post(product, author, rating, **words)
        assert answer.status_code == 201, answer.text
        review: dict[str, Any] = answer.json()["data"]
        return review

    async def put(self, review: int, author: int, rating: int, role: Role = Role.CUSTOMER) -> httpx.Response:
        headers = self.bearer(author, role)
        return await self.http.put(f"/api/v1/reviews/{review}", json={"rating": rating}, headers=headers)

    async def delete(self, review: int, author: int, role: Role = Role.CUSTOMER) -> httpx.Response:
        return await self.http.delete(f"/api/v1/reviews/{review}", headers=self.bearer(author, role))

    async def listed(self, product: int, **query: object) -> list[dict[str, Any]]:
        answer = await self.http.get(f"/api/v1/products/{product}/reviews", params={"limit": 100, **query})  # type: ignore[dict-item]
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        assert document["total"] == len(document["data"])
        listed: list[dict[str, Any]] = document["data"]
        return listed

    async def distribution(self, product: int) -> list[int]:
        """How many gave 1, 2, 3, 4 and 5 stars."""
        data = (await self.http.get(f"/api/v1/products/{product}/rating")).json()["data"]
        assert (data["average"], data["count"]) == await self.rating(product)
        return [data["distribution"][str(stars)] for stars in range(1, 6)]

    async def vote(self, review: int, user: int) -> httpx.Response:
        return await self.http.post(f"/api/v1/reviews/{review}/helpful", headers=self.bearer(user))

    async def unvote(self, review: int, user: int) -> httpx.Response:
        return await self.http.delete(f"/api/v1/reviews/{review}/helpful", headers=self.bearer(user))

    async def moderate(self, review: int, status: str, reason: str | None = None) -> httpx.Response:
        body, headers = {"status": status, "reason": reason}, self.bearer(ADMIN, Role.ADMIN)
        return await self.http.put(f"/api/v1/reviews/{review}/moderation", json=body, headers=headers)

    async def queued(self, status: str) -> list[int]:
        """The newest reviews of a status, as an admin sees them."""
        headers = self.bearer(ADMIN, Role.ADMIN)
        answer = await self.http.get("/api/v1/reviews", params={"status": status, "limit": 100}, headers=headers)
        assert answer.status_code == 200, answer.text
        return [review["id"] for review in answer.json()["data"]]

    async def erase(self, *users: int) -> Sequence[Event]:
        """Their accounts are gone, and this service has heard of it."""
        self.users.erased.update(users)
        sent = [Event(uuid7(), str(user), datetime.now(UTC), UserErased(user_id=user), {}) for user in users]
        await self.deliver(sent)
        return sent

    async def deliver(self, sent: Sequence[Event]) -> None:
        """Returns when each has taken effect."""
        await publish_events(self.broker_url, sent)
        async with self.connection() as connection:

            async def all_are_stored() -> bool:
                ids = [event.id for event in sent]
                stored = await connection.fetchval("SELECT count(*) FROM inbox WHERE event_id = ANY($1)", ids)
                return bool(stored == len(set(ids)))

            await eventually(all_are_stored)

    async def told_until(self, product: int, revision: int) -> list[RatingChanged]:
        """What the shop was told of a product's rating, by revision; waits for this one, and for nothing after it."""
        async with asyncio.timeout(30), await aio_pika.connect(self.broker_url) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=1)  # what comes after it stays in the queue
            async with (await channel.get_queue("product")).iterator() as messages:
                while revision not in {told.revision for told in self.told.get(product, [])}:
                    message = await anext(messages)
                    await message.ack()
                    try:
                        payload = events.decode(message.body).payload
                    except MalformedEvent:  # a test's, for the dead letters
                        continue
                    if isinstance(payload, RatingChanged):
                        self.told.setdefault(payload.product_id, []).append(payload)
        return sorted(self.told[product], key=lambda told: told.revision)

    async def rating(self, product: int) -> tuple[float, int]:
        """As the product page gets it."""
        answer = await call(self.rpc.GetAvgRating, review_pb2.GetAvgRatingRequest(product_id=product))
        return answer.average, answer.count

    def connection(self) -> AbstractAsyncContextManager[SqlConnection]:
        """To the database, past the service."""
        return connect_to(self.database)


@asynccontextmanager
async def running_shop(database: DatabaseSettings) -> AsyncIterator[Shop]:
    issuer, products, orders = TokenIssuer(), FakeProducts(), FakeOrders()
    users, books = FakeUsers(issuer), Database(database, SCHEMA)
    async with (
        new_vhost() as broker_url,
        grpc_server(
            lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(users, server),
            lambda server: product_pb2_grpc.add_ProductServiceServicer_to_server(products, server),
            lambda server: order_pb2_grpc.add_OrderServiceServicer_to_server(orders, server),
        ) as address,
        recorded_events(broker_url, "product"),
    ):
        settings = Settings(
            **database.model_dump(),
            rabbitmq_url=broker_url,
            user_grpc=address,
            product_grpc=address,
            order_grpc=address,
            grpc_port=0,
            name_deadline_seconds=5,
        )
        async with run_service(await build(settings)) as service:
            channel = open_channel(f"127.0.0.1:{service.rpc_port}")
            stub = review_pb2_grpc.ReviewServiceStub(channel)
            yield Shop(service.http, stub, issuer, users, products, orders, database, books, broker_url)
            await channel.close()
            await books.close()
