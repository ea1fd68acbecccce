"""The composition root: builds the whole service by hand."""

import secrets
from datetime import timedelta

from chassis.grpc.client import open_channel
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.runtime.backend import Backend
from chassis.runtime.process import Program, Service, repeat_every
from chassis.types.ids import uuid7

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
    backend = Backend("order", settings, SCHEMA)
    database, outbox = backend.database, backend.outbox
    users, product_channel, inventory_channel = (
        open_channel(address) for address in (settings.user_grpc, settings.product_grpc, settings.inventory_grpc)
    )
    products, inventory = (
        GrpcProducts(product_channel),
        GrpcInventory(inventory_channel, settings.look_deadline_seconds),
    )

    journal = Journal(outbox, uuid7)
    placing = Placing(database, journal, products, inventory, _terms(settings), backend.now, uuid7)
    ordering = Ordering(database, journal, backend.now)
    shopping = Carts(database, products, inventory, backend.now, uuid7, _new_token)
    sales = Sales(database, backend.now)
    books = AddressBooks(database, backend.now, uuid7)

    auth = Authenticator(TokenVerifier(fetch_keys_from(users)))
    callers = Callers(auth, shopping)
    ready = Readiness(database.is_ready)
    routers = [
        orders.routes(placing, ordering, callers, auth),
        carts.routes(shopping, callers),
        addresses.routes(books, callers),
        analytics.routes(sales, auth),
    ]
    return Service(
        http=create_app("Orders", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(settings.grpc_port, PROBLEMS, [OrderServicer(ordering).register]),
        background={
            **backend.loops(effects(ordering, sales), prunes_idempotency_keys=True),
            "expiry": repeat_every(settings.expiry_sweep_seconds, ordering.expire),
            "carts": repeat_every(_HOUR, shopping.forget_untouched),
        },
        closers=(users.close, product_channel.close, inventory_channel.close, backend.close),
    )


def _terms(settings: Settings) -> Terms:
    hold, payable = settings.reservation_hold_seconds, settings.order_ttl_seconds
    return Terms(timedelta(seconds=hold), timedelta(seconds=payable), settings.tariff)


def _new_token() -> CartToken:
    return CartToken(secrets.token_urlsafe(32))


PROGRAM = Program("order", Settings, build)
