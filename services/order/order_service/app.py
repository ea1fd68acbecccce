"""The composition root: builds the whole service by hand."""

import secrets
from datetime import UTC, datetime, timedelta

from chassis import http, rpc
from chassis.broker import Broker
from chassis.database import Database
from chassis.inbox import PRUNE_SECONDS, Inbox
from chassis.invariants import Books
from chassis.kernel.ids import uuid7
from chassis.outbox import Outbox
from chassis.process import Program, Service, every
from chassis.tokens import Authenticator, TokenVerifier, keys_from

from order_service.clients.inventory import GrpcInventory
from order_service.clients.products import GrpcProducts
from order_service.domain.carts import CartToken
from order_service.handlers import addresses, analytics, carts, orders
from order_service.handlers.callers import Callers
from order_service.handlers.events import effects
from order_service.handlers.grpc import OrderServicer
from order_service.handlers.problems import PROBLEMS
from order_service.service.addresses import AddressBooks
from order_service.service.carts import Carts
from order_service.service.journal import Journal
from order_service.service.orders import Ordering
from order_service.service.placing import Placing, Terms
from order_service.service.sales import Sales
from order_service.settings import Settings

SCHEMA = "0003"
_HOUR = 3600.0


async def build(settings: Settings) -> Service:
    database = Database(settings, SCHEMA)
    broker = Broker(settings.rabbitmq_url, "order")
    outbox = Outbox(database, broker)
    users, product_channel, inventory_channel = (
        rpc.channel(address) for address in (settings.user_grpc, settings.product_grpc, settings.inventory_grpc)
    )
    products, inventory = (
        GrpcProducts(product_channel),
        GrpcInventory(inventory_channel, settings.look_deadline_seconds),
    )

    journal = Journal(outbox, uuid7)
    placing = Placing(database, journal, products, inventory, _terms(settings), _now, uuid7)
    ordering = Ordering(database, journal, _now)
    shopping = Carts(database, products, inventory, _now, uuid7, _new_token)
    sales = Sales(database, _now)
    books = AddressBooks(database, _now, uuid7)

    auth = Authenticator(TokenVerifier(keys_from(users)))
    callers = Callers(auth, shopping)
    inbox = Inbox("order", database, effects(ordering, sales), applied=outbox.nudge)
    ready = http.Readiness(database.is_ready)
    routers = [
        orders.routes(placing, ordering, callers, auth),
        carts.routes(shopping, callers),
        addresses.routes(books, callers),
        analytics.routes(sales, auth),
    ]
    return Service(
        http=http.app("Orders", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=rpc.Server(settings.grpc_port, PROBLEMS, [OrderServicer(ordering).register]),
        background={
            "relay": outbox.relay,
            "consumer": lambda: broker.consume(inbox.receive),
            "inbox": every(PRUNE_SECONDS, inbox.forget),
            "expiry": every(settings.expiry_sweep_seconds, ordering.expire),
            "keys": every(_HOUR, placing.forget_keys),
            "carts": every(_HOUR, shopping.forget_untouched),
            "invariants": Books(database, "order_service").watch,
        },
        closers=(broker.close, users.close, product_channel.close, inventory_channel.close, database.close),
    )


def _terms(settings: Settings) -> Terms:
    hold, payable = settings.reservation_hold_seconds, settings.order_ttl_seconds
    return Terms(timedelta(seconds=hold), timedelta(seconds=payable), settings.tariff)


def _now() -> datetime:
    return datetime.now(UTC)


def _new_token() -> CartToken:
    return CartToken(secrets.token_urlsafe(32))


PROGRAM = Program("order", Settings, build)
