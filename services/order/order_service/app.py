"""The composition root: builds the whole service by hand."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from chassis import http, rpc
from chassis.broker import Broker
from chassis.database import Database
from chassis.inbox import Inbox
from chassis.kernel.ids import uuid7
from chassis.outbox import Outbox
from chassis.process import Command, Service, every
from chassis.settings import Address, AmqpUrl, BackendSettings
from chassis.tokens import Authenticator, TokenVerifier, keys_from
from pydantic import Field

from order_service.clients.inventory import GrpcInventory
from order_service.clients.products import GrpcProducts
from order_service.handlers.events import effects
from order_service.handlers.grpc import OrderServicer
from order_service.handlers.http import routes
from order_service.handlers.problems import PROBLEMS
from order_service.service.orders import Ordering, Terms

SCHEMA = "0001"
_HOUR = 3600.0


class Settings(BackendSettings):
    user_grpc: Address
    rabbitmq_url: AmqpUrl
    product_grpc: Address
    inventory_grpc: Address
    reservation_hold_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0
    """How long stock is set aside for an order that is being placed; a crash in between holds it no longer than this."""
    order_ttl_seconds: Annotated[float, Field(gt=0, le=30 * 86_400)] = 1800.0
    """How long an order may stay unpaid."""
    expiry_sweep_seconds: float = 1.0
    """How often unpaid orders whose time is over are looked for."""


async def build(settings: Settings) -> Service:
    database = Database(settings, SCHEMA)
    broker = Broker(settings.rabbitmq_url, "order")
    outbox = Outbox(database, broker)
    users, products, inventory = (
        rpc.channel(address) for address in (settings.user_grpc, settings.product_grpc, settings.inventory_grpc)
    )
    terms = Terms(timedelta(seconds=settings.reservation_hold_seconds), timedelta(seconds=settings.order_ttl_seconds))
    ordering = Ordering(
        database, outbox, GrpcProducts(products), GrpcInventory(inventory), terms, lambda: datetime.now(UTC), uuid7
    )
    inbox = Inbox("order", database, effects(ordering))
    auth = Authenticator(TokenVerifier(keys_from(users)))
    ready = http.Readiness(database.is_ready)

    return Service(
        http=http.app("Orders", settings.service_version, [routes(ordering, auth)], PROBLEMS, ready),
        ready=ready,
        rpc=rpc.Server(settings.grpc_port, PROBLEMS, [OrderServicer(ordering).register]),
        background={
            "relay": outbox.relay,
            "consumer": lambda: broker.consume(inbox.receive),
            "expiry": every(settings.expiry_sweep_seconds, ordering.expire),
            "keys": every(_HOUR, ordering.forget_keys),
        },
        closers=(broker.close, users.close, products.close, inventory.close, database.close),
    )


COMMAND = Command("order", "order_service", Settings, build)
