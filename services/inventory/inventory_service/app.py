"""The composition root: builds the whole service by hand."""

from chassis.database.change_counts import COMPACTION_INTERVAL_SECONDS, ChangeCount
from chassis.grpc.access import CallerAuthorization
from chassis.grpc.client import open_channel
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.runtime.backend import Backend
from chassis.runtime.process import Program, Service, repeat_every
from chassis.types.ids import uuid7

from inventory_service.clients.orders import GrpcOrders
from inventory_service.clients.products import GrpcProducts
from inventory_service.handlers.consumers import event_handlers
from inventory_service.handlers.grpc import ALLOWED_CALLERS, InventoryServicer
from inventory_service.handlers.http import movements, stock
from inventory_service.handlers.problems import PROBLEMS
from inventory_service.service.expiry import ReservationExpiry
from inventory_service.service.published_events import PublishedEvents
from inventory_service.service.reservations import ReservationService
from inventory_service.service.stock import StockService
from inventory_service.service.stock_ledger import StockLedger
from inventory_service.settings import Settings

SCHEMA = "0005"
_ANNOUNCEMENT_SECONDS = 10.0


async def build(settings: Settings) -> Service:
    backend = Backend("inventory", settings, SCHEMA)
    database, now = backend.database, backend.now
    users, products, orders = (
        open_channel(address, settings.grpc_tokens[name])
        for name, address in (
            ("user", settings.user_grpc),
            ("product", settings.product_grpc),
            ("order", settings.order_grpc),
        )
    )
    events = PublishedEvents(backend.outbox, uuid7)
    ledger = StockLedger(events, settings.low_stock_threshold, now)
    exact_up_to = settings.exact_stock_up_to
    stock_service = StockService(database, GrpcProducts(products), ledger, exact_up_to, now, uuid7)
    reservations = ReservationService(database, ledger, events, exact_up_to, now)
    expiry = ReservationExpiry(database, reservations, GrpcOrders(orders), now)
    auth = Authenticator(TokenVerifier(fetch_keys_from(users)))
    routers = [stock.routes(stock_service, auth), movements.routes(stock_service, auth)]
    changes = ChangeCount(database)
    ready = Readiness(database.is_ready)

    return Service(
        http=create_app("Inventory", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(
            settings.grpc_port,
            PROBLEMS,
            [InventoryServicer(stock_service, reservations, changes).register],
            CallerAuthorization.of(ALLOWED_CALLERS, settings),
        ),
        background={
            **backend.loops(event_handlers(reservations), prunes_idempotency_keys=True),
            "change counts": repeat_every(COMPACTION_INTERVAL_SECONDS, changes.compact),
            "expiry": repeat_every(settings.expiry_sweep_seconds, expiry.expire_overdue),
            "announcements": repeat_every(_ANNOUNCEMENT_SECONDS, stock_service.publish_missing_availability),
        },
        closers=(users.close, products.close, orders.close, backend.close),
    )


PROGRAM = Program("inventory", Settings, build)
