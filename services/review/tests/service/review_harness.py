"""The running review service as tests call it, with fakes of its neighbours at the gRPC boundary."""

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
from chassis.grpc.client import call
from chassis.grpc.wire import CODE_KEY
from chassis.http.authentication import Role
from chassis.messaging import events
from chassis.messaging.events import Event
from chassis.settings import DatabaseSettings
from chassis.types.ids import uuid7
from chassis_testing.broker import new_vhost, publish_events, recorded_events
from chassis_testing.callers import KNOWN_CALLERS, OWN_TOKENS, open_caller_channel
from chassis_testing.databases import SqlConnection, connect_to
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.services import run_service
from chassis_testing.tokens import TokenIssuer
from chassis_testing.waiting import eventually
from grpc import aio
from review_service.app import SCHEMA, build
from review_service.handlers.grpc import ALLOWED_CALLERS
from review_service.settings import Settings
from shopapi.events.v1.events_pb2 import RatingChanged, UserErased
from shopapi.order.v1 import order_pb2, order_pb2_grpc
from shopapi.product.v1 import product_pb2, product_pb2_grpc
from shopapi.review.v1 import review_pb2, review_pb2_grpc
from shopapi.user.v1 import user_pb2, user_pb2_grpc

ADMIN, SELLER = 1, 7
NO_BUYERS_FROM = 1_000_000
"""Users with this number or a higher one have ordered nothing."""
NO_USERS_FROM = 500_000
"""Users with this number or a higher one do not exist, though they have ordered."""
UNKNOWN_FROM = 10_000
"""Products with this number or a higher one do not exist."""

Context = aio.ServicerContext[Any, Any]
_products = itertools.count(1)
_users = itertools.count(1_000)


@dataclass
class FakeProducts(product_pb2_grpc.ProductServiceServicer):
    """The product service at its gRPC boundary: seller 7 sells every product below 10,000."""

    before: Callable[[Context], Awaitable[None]] | None = None
    """Called before each call is answered; may abort it."""

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
    """The order service at its gRPC boundary: every user below 1,000,000 has ordered every product."""

    before: Callable[[Context], Awaitable[None]] | None = None

    async def HasBought(  # noqa: N802 - the contract's name
        self, request: order_pb2.HasBoughtRequest, context: Context
    ) -> order_pb2.HasBoughtResponse:
        if self.before is not None:
            await self.before(context)
        return order_pb2.HasBoughtResponse(has_bought=request.user_id < NO_BUYERS_FROM)

    async def GetOrderStates(self, request: object, context: object) -> order_pb2.GetOrderStatesResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError

    async def GetPayable(self, request: object, context: object) -> order_pb2.GetPayableResponse:  # noqa: N802 - the contract's name
        raise NotImplementedError


class FakeUsers(FakeUserService):
    """The user service at its gRPC boundary."""

    def __init__(self, issuer: TokenIssuer) -> None:
        super().__init__(issuer)
        self.before: Callable[[Context], Awaitable[None]] | None = None
        self.erased: set[int] = set()
        self.calls = 0

    async def GetUserNames(  # noqa: N802 - the contract's name
        self, request: user_pb2.GetUserNamesRequest, context: object
    ) -> user_pb2.GetUserNamesResponse:
        self.calls += 1
        if self.before is not None:
            await self.before(context)  # type: ignore[arg-type]
        existing = [user for user in request.user_ids if user < NO_USERS_FROM]
        names = {user: "Deleted user" if user in self.erased else f"User {user}" for user in existing}
        return user_pb2.GetUserNamesResponse(
            users=[user_pb2.GetUserResponse(user_id=user, display_name=name) for user, name in names.items()]
        )


async def unavailable(context: Context) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "unavailable")


def new_product() -> int:
    """Returns a product that no other test reviews."""
    return next(_products)


def new_user() -> int:
    """Returns a user that no other test uses."""
    return next(_users)


async def violations(database: Database) -> dict[str, list[dict[str, object]]]:
    """Returns the rows that violate each invariant, for the violated ones alone."""
    monitor = invariants.InvariantMonitor(database, "review_service")
    rows_by_name = {
        invariant.name: await monitor.violations(invariant)
        for invariant in invariants.load_invariants("review_service")
    }
    return {name: rows for name, rows in rows_by_name.items() if rows}


@dataclass(frozen=True)
class RunningReviewService:
    """The running service: HTTP in process, gRPC over loopback, its relay and consumer on the real broker."""

    http: httpx.AsyncClient
    rpc: review_pb2_grpc.ReviewServiceStub
    issuer: TokenIssuer
    users: FakeUsers
    products: FakeProducts
    orders: FakeOrders
    database_settings: DatabaseSettings
    database: Database
    broker_url: str
    received: dict[int, list[RatingChanged]] = field(default_factory=dict)
    """The rating events that were taken from the queue so far, by product."""

    def bearer(self, user: int, role: Role = Role.CUSTOMER) -> dict[str, str]:
        return self.issuer.bearer(user, role)

    async def post(self, product: int, author: int, rating: int = 5, **content: object) -> httpx.Response:
        body, headers = {"rating": rating, **content}, self.bearer(author)
        return await self.http.post(f"/api/v1/products/{product}/reviews", json=body, headers=headers)

    async def review(self, product: int, author: int, rating: int = 5, **content: object) -> dict[str, Any]:
        response = await self.post(product, author, rating, **content)
        assert response.status_code == 201, response.text
        review: dict[str, Any] = response.json()["data"]
        return review

    async def put(self, review: int, author: int, rating: int, role: Role = Role.CUSTOMER) -> httpx.Response:
        headers = self.bearer(author, role)
        return await self.http.put(f"/api/v1/reviews/{review}", json={"rating": rating}, headers=headers)

    async def delete(self, review: int, author: int, role: Role = Role.CUSTOMER) -> httpx.Response:
        return await self.http.delete(f"/api/v1/reviews/{review}", headers=self.bearer(author, role))

    async def listed(self, product: int, **query: object) -> list[dict[str, Any]]:
        response = await self.http.get(f"/api/v1/products/{product}/reviews", params={"limit": 100, **query})  # type: ignore[dict-item]
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        assert document["total"] == len(document["data"])
        listed: list[dict[str, Any]] = document["data"]
        return listed

    async def distribution(self, product: int) -> list[int]:
        """Returns how many reviews have 1, 2, 3, 4 and 5 stars, and checks that the average over gRPC is the same."""
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

    async def listed_by_status(self, status: str) -> list[int]:
        """Returns the newest reviews with a status, as an admin sees them."""
        headers = self.bearer(ADMIN, Role.ADMIN)
        response = await self.http.get("/api/v1/reviews", params={"status": status, "limit": 100}, headers=headers)
        assert response.status_code == 200, response.text
        return [review["id"] for review in response.json()["data"]]

    async def erase(self, *users: int) -> Sequence[Event]:
        """Erases the users' accounts, and waits until this service has handled the events."""
        self.users.erased.update(users)
        sent = [Event(uuid7(), str(user), datetime.now(UTC), UserErased(user_id=user), {}) for user in users]
        await self.deliver(sent)
        return sent

    async def deliver(self, sent: Sequence[Event]) -> None:
        """Publishes events, and waits until each has taken effect."""
        await publish_events(self.broker_url, sent)
        async with self.connection() as connection:

            async def all_are_stored() -> bool:
                ids = [event.id for event in sent]
                stored = await connection.fetchval("SELECT count(*) FROM inbox WHERE event_id = ANY($1)", ids)
                return bool(stored == len(set(ids)))

            await eventually(all_are_stored)

    async def rating_events(self, product: int, revision: int) -> list[RatingChanged]:
        """Returns the published events of a product's rating by revision, up to the one with this revision at least."""
        async with asyncio.timeout(30), await aio_pika.connect(self.broker_url) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=1)  # later events stay in the queue
            async with (await channel.get_queue("product")).iterator() as messages:
                while revision not in {event.revision for event in self.received.get(product, [])}:
                    message = await anext(messages)
                    await message.ack()
                    try:
                        payload = events.decode(message.body).payload
                    except MalformedEvent:  # published by the test of the dead-letter queue
                        continue
                    if isinstance(payload, RatingChanged):
                        self.received.setdefault(payload.product_id, []).append(payload)
        return sorted(self.received[product], key=lambda event: event.revision)

    async def rating(self, product: int) -> tuple[float, int]:
        """Returns the average and the number of reviews, as the product service reads them over gRPC."""
        response = await call(self.rpc.GetAvgRating, review_pb2.GetAvgRatingRequest(product_id=product))
        return response.average, response.count

    def connection(self) -> AbstractAsyncContextManager[SqlConnection]:
        """Opens a connection to the service's database."""
        return connect_to(self.database_settings)


@asynccontextmanager
async def run_review_service(database_settings: DatabaseSettings) -> AsyncIterator[RunningReviewService]:
    issuer, products, orders = TokenIssuer(), FakeProducts(), FakeOrders()
    users, database = FakeUsers(issuer), Database(database_settings, SCHEMA)
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
            **database_settings.model_dump(),
            rabbitmq_url=broker_url,
            user_grpc=address,
            product_grpc=address,
            order_grpc=address,
            grpc_port=0,
            grpc_tokens=OWN_TOKENS,
            grpc_callers=KNOWN_CALLERS,
            name_deadline_seconds=5,
        )
        async with run_service(await build(settings)) as service:
            channel = open_caller_channel(f"127.0.0.1:{service.rpc_port}", ALLOWED_CALLERS)
            stub = review_pb2_grpc.ReviewServiceStub(channel)
            yield RunningReviewService(
                service.http, stub, issuer, users, products, orders, database_settings, database, broker_url
            )
            await channel.close()
            await database.close()
