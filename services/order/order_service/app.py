"""The composition root: builds the whole service by hand."""

import random
import secrets
from datetime import timedelta

from chassis.grpc.access import CallerAuthorization
from chassis.grpc.client import open_channel
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.runtime.backend import Backend
from chassis.runtime.process import Program, Service, repeat_every
from chassis.types.ids import uuid7

from order_service.clients.inventory import GrpcInventory
from order_service.clients.payments import GrpcPayments
from order_service.clients.products import GrpcProducts
from order_service.domain.carts import CartToken
from order_service.domain.open_orders import OpenOrderLimits
from order_service.handlers.consumers import event_handlers
from order_service.handlers.dependencies import CallerDependencies
from order_service.handlers.grpc import ALLOWED_CALLERS, OrderServicer
from order_service.handlers.http import addresses, analytics, carts, orders
from order_service.handlers.problems import PROBLEMS
from order_service.service.addresses import AddressService
from order_service.service.carts import CartService
from order_service.service.comparison import PaymentComparison
from order_service.service.expiry import OrderExpiry
from order_service.service.orders import OrderService
from order_service.service.placement import OrderPlacement, PlacementPolicy
from order_service.service.published_events import OrderEvents
from order_service.service.sales import SalesReports
from order_service.settings import Settings

SCHEMA = "0007"
_HOUR = 3600.0


async def build(settings: Settings) -> Service:
    backend = Backend("order", settings, SCHEMA)
    database = backend.database
    users, product_channel, inventory_channel, payment_channel = (
        open_channel(address, settings.grpc_tokens[name])
        for name, address in (
            ("user", settings.user_grpc),
            ("product", settings.product_grpc),
            ("inventory", settings.inventory_grpc),
            ("payment", settings.payment_grpc),
        )
    )
    products = GrpcProducts(product_channel)
    inventory = GrpcInventory(inventory_channel, settings.look_deadline_seconds)

    events = OrderEvents(backend.outbox, uuid7)
    placement = OrderPlacement(database, events, products, inventory, _policy(settings), backend.now, uuid7)
    order_service = OrderService(database, events, settings.expiry, backend.now)
    payments = GrpcPayments(payment_channel)
    expiry = OrderExpiry(database, order_service, payments, settings.expiry, backend.now)
    interval = timedelta(seconds=settings.payment_comparison_seconds)
    comparison = PaymentComparison(database, order_service, payments, backend.now, random.random, interval)
    cart_service = CartService(database, products, inventory, backend.now, uuid7, _new_cart_token)
    address_service = AddressService(database, backend.now, uuid7)
    reports = SalesReports(database, settings.report_timezone, backend.now)

    auth = Authenticator(TokenVerifier(fetch_keys_from(users)))
    callers = CallerDependencies(auth, cart_service)
    ready = Readiness(database.is_ready)
    routers = [
        orders.routes(placement, order_service, callers, auth),
        carts.routes(cart_service, callers),
        addresses.routes(address_service, callers),
        analytics.routes(reports, auth),
    ]
    return Service(
        http=create_app("Orders", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(
            settings.grpc_port,
            PROBLEMS,
            [OrderServicer(order_service).register],
            CallerAuthorization.of(ALLOWED_CALLERS, settings),
        ),
        background={
            **backend.loops(event_handlers(order_service, reports), prunes_idempotency_keys=True),
            "expiry": repeat_every(settings.expiry_sweep_seconds, expiry.expire_unpaid),
            "payment comparison": repeat_every(settings.payment_comparison_seconds / 2, comparison.compare_next),
            "carts": repeat_every(_HOUR, cart_service.prune_guest_carts),
            "cart keys": repeat_every(_HOUR, cart_service.prune_keys),
        },
        closers=(users.close, product_channel.close, inventory_channel.close, payment_channel.close, backend.close),
    )


def _policy(settings: Settings) -> PlacementPolicy:
    hold, ttl = settings.reservation_hold_seconds, settings.order_ttl_seconds
    limits = OpenOrderLimits(settings.open_orders_per_buyer, settings.open_units_per_product)
    return PlacementPolicy(timedelta(seconds=hold), timedelta(seconds=ttl), limits, settings.pricing)


def _new_cart_token() -> CartToken:
    return CartToken(secrets.token_urlsafe(32))


PROGRAM = Program("order", Settings, build)
