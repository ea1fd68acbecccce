"""The composition root: builds the whole service by hand."""

from datetime import UTC, datetime
from typing import Annotated

from chassis import http, invariants, rpc
from chassis.broker import Broker
from chassis.database import Database
from chassis.inbox import PRUNE_SECONDS, Inbox
from chassis.kernel.ids import uuid7
from chassis.outbox import Outbox
from chassis.process import Program, Service, every
from chassis.settings import Address, AmqpUrl, BackendSettings
from chassis.tokens import Authenticator, TokenVerifier, keys_from
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
    rabbitmq_url: AmqpUrl
    product_grpc: Address
    order_grpc: Address
    name_deadline_seconds: Annotated[float, Field(gt=0)] = 0.5
    """How long an answer waits for the names of authors; without them it is given all the same."""


async def build(settings: Settings) -> Service:
    database = Database(settings, SCHEMA)
    broker = Broker(settings.rabbitmq_url, "review")
    outbox = Outbox(database, broker)
    users, products, orders = (
        rpc.channel(address) for address in (settings.user_grpc, settings.product_grpc, settings.order_grpc)
    )
    reviews = Reviews(
        database,
        outbox,
        Users(users, settings.name_deadline_seconds),
        Products(products),
        Orders(orders),
        lambda: datetime.now(UTC),
        uuid7,
    )
    inbox = Inbox("review", database, effects(reviews), applied=outbox.nudge)
    auth = Authenticator(TokenVerifier(keys_from(users)))
    routers = [routes(reviews, auth), moderation_routes(reviews, auth)]
    ready = http.Readiness(database.is_ready)

    return Service(
        http=http.app("Review", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=rpc.Server(settings.grpc_port, PROBLEMS, [ReviewServicer(reviews).register]),
        background={
            "relay": outbox.relay,
            "consumer": lambda: broker.consume(inbox.receive),
            "inbox": every(PRUNE_SECONDS, inbox.forget),
            "ratings": every(_MENDING_SECONDS, reviews.mend),
            "invariants": invariants.Books(database, "review_service").watch,
        },
        closers=(broker.close, users.close, products.close, orders.close, database.close),
    )


PROGRAM = Program("review", Settings, build)
