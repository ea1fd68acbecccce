"""The composition root: builds the whole service by hand."""

import time
from typing import Annotated
from uuid import uuid4

from chassis.grpc.client import open_channel
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.runtime.backend import Backend
from chassis.runtime.process import Program, Service, repeat_every
from chassis.settings import Address, BackendSettings, RedisUrl
from chassis.types.ids import uuid7
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
    backend = Backend("product", settings, SCHEMA)
    database, outbox = backend.database, backend.outbox
    cache = ProductCache(
        connect(settings.redis_url), settings.tenant, settings.cache_deadline_seconds, uuid4, time.monotonic
    )
    users, inventory, reviews = (
        open_channel(address) for address in (settings.user_grpc, settings.inventory_grpc, settings.review_grpc)
    )
    products = Products(database, outbox, cache, backend.now, uuid7)
    sellers = Sellers(database, products, backend.now)
    pages = ProductPages(products, Neighbours(users, inventory, reviews, settings.part_deadline_seconds))
    finding = Finding(database)
    auth = Authenticator(TokenVerifier(fetch_keys_from(users)))
    routers = [
        category_routes(Categories(database), auth),
        finding_routes(finding, Recommending(database, products)),
        product_routes(products, pages, auth),
    ]
    ready = Readiness(database.is_ready)

    return Service(
        http=create_app("Product", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(settings.grpc_port, PROBLEMS, [ProductServicer(products).register]),
        background={
            **backend.loops(effects(products, sellers)),
            "cache": repeat_every(settings.cache_catch_up_seconds, cache.catch_up),
            "withdrawal": repeat_every(settings.withdrawal_sweep_seconds, sellers.withdraw),
            "words": repeat_every(settings.words_sweep_seconds, finding.forget_words),
        },
        closers=(users.close, inventory.close, reviews.close, cache.close, backend.close),
    )


PROGRAM = Program("product", Settings, build)
