"""The composition root: builds the whole service by hand."""

from datetime import UTC, datetime

from chassis import http, rpc
from chassis.broker import Broker
from chassis.database import Database
from chassis.inbox import Inbox
from chassis.kernel.ids import uuid7
from chassis.outbox import Outbox
from chassis.process import Command, Service, every
from chassis.settings import Address, AmqpUrl, BackendSettings
from chassis.tokens import Authenticator, TokenVerifier, keys_from

from inventory_service.clients.products import GrpcProducts
from inventory_service.handlers.events import effects
from inventory_service.handlers.grpc import InventoryServicer
from inventory_service.handlers.http import routes
from inventory_service.handlers.problems import PROBLEMS
from inventory_service.service.stock import StockKeeping

SCHEMA = "0001"


class Settings(BackendSettings):
    user_grpc: Address
    rabbitmq_url: AmqpUrl
    product_grpc: Address
    expiry_sweep_seconds: float = 1.0
    """How often lapsed reservations are looked for."""


async def build(settings: Settings) -> Service:
    database = Database(settings, SCHEMA)
    broker = Broker(settings.rabbitmq_url, "inventory")
    outbox = Outbox(database, broker)
    users, products = rpc.channel(settings.user_grpc), rpc.channel(settings.product_grpc)
    stock = StockKeeping(database, outbox, GrpcProducts(products), lambda: datetime.now(UTC), uuid7)
    inbox = Inbox("inventory", database, effects(stock))
    auth = Authenticator(TokenVerifier(keys_from(users)))
    ready = http.Readiness(database.is_ready)

    return Service(
        http=http.app("Inventory", settings.service_version, [routes(stock, auth)], PROBLEMS, ready),
        ready=ready,
        rpc=rpc.Server(settings.grpc_port, PROBLEMS, [InventoryServicer(stock).register]),
        background={
            "relay": outbox.relay,
            "consumer": lambda: broker.consume(inbox.receive),
            "expiry": every(settings.expiry_sweep_seconds, stock.expire),
        },
        closers=(broker.close, users.close, products.close, database.close),
    )


COMMAND = Command("inventory", "inventory_service", Settings, build)
