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
    rabbitmq_url: AmqpUrl
    product_grpc: Address
    expiry_sweep_seconds: float = 1.0
    """How often lapsed reservations are looked for."""
    low_stock_threshold: Annotated[int, Field(ge=0)] = 5
    """Below what a product is low in stock whose seller has not said so."""


async def build(settings: Settings) -> Service:
    database = Database(settings, SCHEMA)
    broker = Broker(settings.rabbitmq_url, "inventory")
    outbox = Outbox(database, broker)
    users, products = rpc.channel(settings.user_grpc), rpc.channel(settings.product_grpc)
    books = Books(outbox, settings.low_stock_threshold, _now, uuid7)
    stock = StockKeeping(database, outbox, GrpcProducts(products), books, _now, uuid7)
    reservations = Reservations(database, outbox, books, _now, uuid7)
    inbox = Inbox("inventory", database, effects(reservations), applied=outbox.nudge)
    auth = Authenticator(TokenVerifier(keys_from(users)))
    ready = http.Readiness(database.is_ready)

    return Service(
        http=http.app("Inventory", settings.service_version, [routes(stock, auth)], PROBLEMS, ready),
        ready=ready,
        rpc=rpc.Server(settings.grpc_port, PROBLEMS, [InventoryServicer(stock, reservations).register]),
        background={
            "relay": outbox.relay,
            "consumer": lambda: broker.consume(inbox.receive),
            "inbox": every(PRUNE_SECONDS, inbox.forget),
            "expiry": every(settings.expiry_sweep_seconds, reservations.expire),
            "announcements": every(_ANNOUNCEMENT_SECONDS, stock.announce),
            "forgotten keys": every(_KEY_SWEEP_SECONDS, stock.forget_keys),
            "invariants": invariants.Books(database, "inventory_service").watch,
        },
        closers=(broker.close, users.close, products.close, database.close),
    )


def _now() -> datetime:
    return datetime.now(UTC)


PROGRAM = Program("inventory", Settings, build)
