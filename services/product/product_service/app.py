"""The composition root: builds the whole service by hand."""

import time
from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

from chassis import http, rpc
from chassis.broker import Broker
from chassis.database import Database
from chassis.inbox import PRUNE_SECONDS, Inbox
from chassis.invariants import Books
from chassis.kernel.ids import uuid7
from chassis.outbox import Outbox
from chassis.process import Program, Service, every
from chassis.settings import Address, AmqpUrl, BackendSettings, RedisUrl
from chassis.tokens import Authenticator, TokenVerifier, keys_from
from pydantic import Field

from product_service.clients.neighbours import Neighbours
from product_service.handlers.events import effects
from product_service.handlers.grpc import ProductServicer
from product_service.handlers.http import category_routes, finding_routes, product_routes
from product_service.handlers.problems import PROBLEMS
from product_service.repository.cache import ProductCache, connect
from product_service.service.categories import Categories
from product_service.service.details import ProductPages
from product_service.service.products import Products
from product_service.service.recommendations import Recommending
from product_service.service.search import Finding
from product_service.service.sellers import Sellers

SCHEMA = "0003"


class Settings(BackendSettings):
    user_grpc: Address
    redis_url: RedisUrl
    rabbitmq_url: AmqpUrl
    inventory_grpc: Address
    review_grpc: Address
    part_deadline_seconds: Annotated[float, Field(gt=0)] = 0.5
    """How long a product page waits for a part that a neighbour has; without it the page is given all the same."""
    cache_deadline_seconds: Annotated[float, Field(gt=0)] = 0.1
    """How long Redis may take for one command before the database is read instead."""
    cache_catch_up_seconds: float = 0.5
    """How often deletions that Redis did not confirm are repeated."""
    withdrawal_sweep_seconds: float = 1.0
    """How often products of sellers whose accounts were erased are looked for."""
    words_sweep_seconds: float = 86_400.0
    """How often words are looked for that no product has any more."""


async def build(settings: Settings) -> Service:
    database = Database(settings, SCHEMA)
    broker = Broker(settings.rabbitmq_url, "product")
    outbox = Outbox(database, broker)
    cache = ProductCache(
        connect(settings.redis_url), settings.tenant, settings.cache_deadline_seconds, uuid4, time.monotonic
    )
    users, inventory, reviews = (
        rpc.channel(address) for address in (settings.user_grpc, settings.inventory_grpc, settings.review_grpc)
    )
    products = Products(database, outbox, cache, _now, uuid7)
    sellers = Sellers(database, products, _now)
    pages = ProductPages(products, Neighbours(users, inventory, reviews, settings.part_deadline_seconds))
    inbox = Inbox("product", database, effects(products, sellers), applied=outbox.nudge)
    books = Books(database, "product_service")
    finding = Finding(database)
    auth = Authenticator(TokenVerifier(keys_from(users)))
    routers = [
        category_routes(Categories(database), auth),
        finding_routes(finding, Recommending(database, products)),
        product_routes(products, pages, auth),
    ]
    ready = http.Readiness(database.is_ready)

    return Service(
        http=http.app("Product", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=rpc.Server(settings.grpc_port, PROBLEMS, [ProductServicer(products).register]),
        background={
            "relay": outbox.relay,
            "consumer": lambda: broker.consume(inbox.receive),
            "inbox": every(PRUNE_SECONDS, inbox.forget),
            "cache": every(settings.cache_catch_up_seconds, cache.catch_up),
            "withdrawal": every(settings.withdrawal_sweep_seconds, sellers.withdraw),
            "words": every(settings.words_sweep_seconds, finding.forget_words),
            "invariants": books.watch,
        },
        closers=(broker.close, users.close, inventory.close, reviews.close, cache.close, database.close),
    )


def _now() -> datetime:
    return datetime.now(UTC)


PROGRAM = Program("product", Settings, build)
