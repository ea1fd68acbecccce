"""The review service as its tests drive it, with fakes of product and order at the gRPC boundary."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
import httpx
from chassis import rpc, testing
from chassis.settings import DatabaseSettings
from chassis.tokens import Role
from grpc import aio
from review_service.app import Settings, build
from shopapi.order.v1 import order_pb2, order_pb2_grpc
from shopapi.product.v1 import product_pb2, product_pb2_grpc
from shopapi.review.v1 import review_pb2, review_pb2_grpc
from shopapi.user.v1 import user_pb2_grpc

ADMIN, SELLER = 1, 7
NO_BUYERS_FROM = 1_000_000
"""Users from this number on have ordered nothing."""
UNKNOWN_FROM = 10_000
"""Products from this number on do not exist."""

Context = aio.ServicerContext[Any, Any]
_products = itertools.count(1)


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
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such product", ((rpc.CODE_KEY, "unknown_product"),))
        return product_pb2.GetSellerResponse(product_id=request.product_id, seller_id=SELLER)


@dataclass
class FakeOrders(order_pb2_grpc.OrderServiceServicer):
    """The order service at its gRPC boundary: everybody below user 1,000,000 has ordered everything."""

    before: Callable[[Context], Awaitable[None]] | None = None

    async def HasOrdered(  # noqa: N802 - the contract's name
        self, request: order_pb2.HasOrderedRequest, context: Context
    ) -> order_pb2.HasOrderedResponse:
        if self.before is not None:
            await self.before(context)
        return order_pb2.HasOrderedResponse(has_ordered=request.user_id < NO_BUYERS_FROM)


async def away(context: Context) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "away")


def a_product() -> int:
    """One that no other test reviews."""
    return next(_products)


@dataclass(frozen=True)
class Shop:
    """The running service: HTTP in process, gRPC over loopback."""

    http: httpx.AsyncClient
    rpc: review_pb2_grpc.ReviewServiceStub
    issuer: testing.TokenIssuer
    products: FakeProducts
    orders: FakeOrders
    database: DatabaseSettings

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

    async def rating(self, product: int) -> tuple[float, int]:
        """As the product page gets it."""
        answer = await rpc.call(self.rpc.GetAvgRating, review_pb2.GetAvgRatingRequest(product_id=product))
        return answer.average, answer.count

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """To the database, past the service."""
        connection = await asyncpg.connect(
            host=self.database.db_host,
            port=self.database.db_port,
            user=self.database.db_user,
            password=self.database.db_password,
            database=self.database.db_name,
        )
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def running_shop(database: DatabaseSettings) -> AsyncIterator[Shop]:
    issuer, products, orders = testing.TokenIssuer(), FakeProducts(), FakeOrders()
    async with testing.grpc_server(
        lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(testing.FakeUserService(issuer), server),
        lambda server: product_pb2_grpc.add_ProductServiceServicer_to_server(products, server),
        lambda server: order_pb2_grpc.add_OrderServiceServicer_to_server(orders, server),
    ) as address:
        settings = Settings(
            **database.model_dump(), user_grpc=address, product_grpc=address, order_grpc=address, grpc_port=0
        )
        async with testing.running(await build(settings)) as service:
            channel = rpc.channel(f"127.0.0.1:{service.rpc_port}")
            stub = review_pb2_grpc.ReviewServiceStub(channel)
            yield Shop(service.http, stub, issuer, products, orders, database)
            await channel.close()
