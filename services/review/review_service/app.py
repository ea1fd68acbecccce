"""The composition root: builds the whole service by hand."""

from typing import Annotated

from chassis.grpc.client import open_channel
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.runtime.backend import Backend
from chassis.runtime.process import Program, Service, repeat_every
from chassis.settings import Address, BackendSettings
from chassis.types.ids import uuid7
from pydantic import Field

from review_service.clients.orders import Orders
from review_service.clients.products import Products
from review_service.clients.users import Users
from review_service.handlers.events import effects
from review_service.handlers.grpc import ReviewServicer
from review_service.handlers.http import moderation_routes, routes
from review_service.handlers.problems import PROBLEMS
from review_service.service.reviews import Reviews

SCHEMA = "0003"
_MENDING_SECONDS = 10.0


class Settings(BackendSettings):
    user_grpc: Address
    product_grpc: Address
    order_grpc: Address
    name_deadline_seconds: Annotated[float, Field(gt=0)] = 0.5
    """How long an answer waits for the names of authors; without them it is given all the same."""


async def build(settings: Settings) -> Service:
    backend = Backend("review", settings, SCHEMA)
    database, outbox = backend.database, backend.outbox
    users, products, orders = (
        open_channel(address) for address in (settings.user_grpc, settings.product_grpc, settings.order_grpc)
    )
    reviews = Reviews(
        database,
        outbox,
        Users(users, settings.name_deadline_seconds),
        Products(products),
        Orders(orders),
        backend.now,
        uuid7,
    )
    auth = Authenticator(TokenVerifier(fetch_keys_from(users)))
    routers = [routes(reviews, auth), moderation_routes(reviews, auth)]
    ready = Readiness(database.is_ready)

    return Service(
        http=create_app("Review", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(settings.grpc_port, PROBLEMS, [ReviewServicer(reviews).register]),
        background={
            **backend.loops(effects(reviews)),
            "ratings": repeat_every(_MENDING_SECONDS, reviews.mend),
        },
        closers=(users.close, products.close, orders.close, backend.close),
    )


PROGRAM = Program("review", Settings, build)
