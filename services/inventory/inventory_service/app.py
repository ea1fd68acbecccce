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

from inventory_service.clients.products import GrpcProducts
from inventory_service.handlers.events import effects
from inventory_service.handlers.grpc import InventoryServicer
from inventory_service.handlers.http import routes
from inventory_service.handlers.problems import PROBLEMS
from inventory_service.service.books import Books
from inventory_service.service.reservations import Reservations
from inventory_service.service.stock import StockKeeping

SCHEMA = "0002"
_ANNOUNCEMENT_SECONDS = 10.0
_KEY_SWEEP_SECONDS = 3600.0


class Settings(BackendSettings):
    user_grpc: Address
    product_grpc: Address
    expiry_sweep_seconds: float = 1.0
    """How often lapsed reservations are looked for."""
    low_stock_threshold: Annotated[int, Field(ge=0)] = 5
    """Below what a product is low in stock whose seller has not said so."""


async def build(settings: Settings) -> Service:
    backend = Backend("inventory", settings, SCHEMA)
    database, outbox = backend.database, backend.outbox
    users, products = open_channel(settings.user_grpc), open_channel(settings.product_grpc)
    books = Books(outbox, settings.low_stock_threshold, backend.now, uuid7)
    stock = StockKeeping(database, outbox, GrpcProducts(products), books, backend.now, uuid7)
    reservations = Reservations(database, outbox, books, backend.now, uuid7)
    auth = Authenticator(TokenVerifier(fetch_keys_from(users)))
    ready = Readiness(database.is_ready)

    return Service(
        http=create_app("Inventory", settings.service_version, [routes(stock, auth)], PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(settings.grpc_port, PROBLEMS, [InventoryServicer(stock, reservations).register]),
        background={
            **backend.loops(effects(reservations), prunes_idempotency_keys=True),
            "expiry": repeat_every(settings.expiry_sweep_seconds, reservations.expire),
            "announcements": repeat_every(_ANNOUNCEMENT_SECONDS, stock.announce),
        },
        closers=(users.close, products.close, backend.close),
    )


PROGRAM = Program("inventory", Settings, build)
