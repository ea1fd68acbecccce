"""The composition root: builds the whole service by hand."""

import time
from datetime import UTC, datetime
from uuid import uuid4

from chassis import http, rpc
from chassis.database import Database
from chassis.process import Command, Service, every
from chassis.settings import Address, BackendSettings, RedisUrl
from chassis.tokens import Authenticator, TokenVerifier, keys_from

from product_service.clients.neighbours import Neighbours
from product_service.handlers.grpc import ProductServicer
from product_service.handlers.http import category_routes, product_routes
from product_service.handlers.problems import PROBLEMS
from product_service.repository.cache import ProductCache, connect
from product_service.service.categories import Categories
from product_service.service.details import ProductPages
from product_service.service.products import Products

SCHEMA = "0001"


class Settings(BackendSettings):
    user_grpc: Address
    redis_url: RedisUrl
    inventory_grpc: Address
    review_grpc: Address
    cache_catch_up_seconds: float = 0.5
    """How often deletions that Redis did not confirm are repeated."""


async def build(settings: Settings) -> Service:
    database = Database(settings, SCHEMA)
    cache = ProductCache(connect(settings.redis_url), settings.tenant, uuid4, time.monotonic)
    users, inventory, reviews = (
        rpc.channel(address) for address in (settings.user_grpc, settings.inventory_grpc, settings.review_grpc)
    )
    products = Products(database, cache, lambda: datetime.now(UTC))
    pages = ProductPages(products, Neighbours(users, inventory, reviews))
    auth = Authenticator(TokenVerifier(keys_from(users)))
    routers = [category_routes(Categories(database), auth), product_routes(products, pages, auth)]
    ready = http.Readiness(database.is_ready)

    return Service(
        http=http.app("Product", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=rpc.Server(settings.grpc_port, PROBLEMS, [ProductServicer(products).register]),
        background={"cache": every(settings.cache_catch_up_seconds, cache.catch_up)},
        closers=(users.close, inventory.close, reviews.close, cache.close, database.close),
    )


COMMAND = Command("product", "product_service", Settings, build)
