"""The composition root: builds the whole service by hand."""

from datetime import UTC, datetime

from chassis import http, rpc
from chassis.database import Database
from chassis.process import Command, Service
from chassis.settings import Address, BackendSettings
from chassis.tokens import Authenticator, TokenVerifier, keys_from

from review_service.clients.orders import Orders
from review_service.clients.products import Products
from review_service.handlers.grpc import ReviewServicer
from review_service.handlers.http import routes
from review_service.handlers.problems import PROBLEMS
from review_service.service.reviews import Reviews

SCHEMA = "0001"


class Settings(BackendSettings):
    user_grpc: Address
    product_grpc: Address
    order_grpc: Address


async def build(settings: Settings) -> Service:
    database = Database(settings, SCHEMA)
    users, products, orders = (
        rpc.channel(address) for address in (settings.user_grpc, settings.product_grpc, settings.order_grpc)
    )
    reviews = Reviews(database, Products(products), Orders(orders), lambda: datetime.now(UTC))
    auth = Authenticator(TokenVerifier(keys_from(users)))
    ready = http.Readiness(database.is_ready)

    return Service(
        http=http.app("Review", settings.service_version, [routes(reviews, auth)], PROBLEMS, ready),
        ready=ready,
        rpc=rpc.Server(settings.grpc_port, PROBLEMS, [ReviewServicer(reviews).register]),
        closers=(users.close, products.close, orders.close, database.close),
    )


COMMAND = Command("review", "review_service", Settings, build)
