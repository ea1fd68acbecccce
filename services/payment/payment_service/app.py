"""The composition root: builds the whole service by hand."""

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

from chassis.grpc.access import CallerAuthorization
from chassis.grpc.client import open_channel
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.runtime.backend import Backend
from chassis.runtime.process import Program, Service, repeat_every
from chassis.types.ids import uuid7

from payment_service.clients.orders import GrpcOrders
from payment_service.clients.provider import Provider
from payment_service.clients.simulated import SimulatedProvider
from payment_service.clients.webhooks import StripeWebhookParser
from payment_service.handlers.consumers import event_handlers
from payment_service.handlers.grpc import ALLOWED_CALLERS, PaymentServicer
from payment_service.handlers.http import payment_methods, payments, webhooks
from payment_service.handlers.problems import PROBLEMS
from payment_service.service.checkout import CheckoutService
from payment_service.service.event_listing import EventLister
from payment_service.service.order_cancellation import OrderCancellation
from payment_service.service.orphans import OrphanSearch
from payment_service.service.payment_methods import PaymentMethodService
from payment_service.service.payment_reconciler import PaymentReconciler
from payment_service.service.payment_states import PaymentStates
from payment_service.service.payments import PaymentQueries
from payment_service.service.published_events import PublishedEvents
from payment_service.service.refund_reconciler import RefundReconciler
from payment_service.service.refunds import RefundService
from payment_service.service.sweeper import PaymentSweeper
from payment_service.service.webhooks import WebhookService
from payment_service.settings import Settings

SCHEMA = "0005"
_WEBHOOK_PRUNE_SECONDS = 3600.0


async def build(settings: Settings) -> Service:
    backend = Backend("payment", settings, SCHEMA)
    database, now = backend.database, backend.now
    users = open_channel(settings.user_grpc, settings.grpc_tokens["user"])
    orders = open_channel(settings.order_grpc, settings.grpc_tokens["order"])
    provider, close_provider = _provider(settings, backend)
    sweep_after = timedelta(seconds=settings.sweep_after_seconds)

    order_client = GrpcOrders(orders)
    events = PublishedEvents(backend.outbox, uuid7)
    refund_reconciler = RefundReconciler(database, provider, events, now, uuid7, sweep_after)
    reconciler = PaymentReconciler(database, provider, events, refund_reconciler, now)
    checkout = CheckoutService(database, order_client, reconciler, now, uuid7, sweep_after)
    queries = PaymentQueries(database, provider, now)
    states = PaymentStates(database, reconciler, now)
    refunds = RefundService(database, refund_reconciler, now, uuid7, sweep_after)
    methods = PaymentMethodService(database, provider, now, uuid7, sweep_after)
    parser = StripeWebhookParser(settings.stripe_webhook_secret, settings.stripe_webhook_tolerance_seconds)
    webhook_service = WebhookService(database, parser, now)
    events_interval = timedelta(seconds=settings.provider_events_seconds)
    lister = EventLister(database, provider, webhook_service, now, random.random, events_interval)
    cancellation = OrderCancellation(refund_reconciler, now)
    orphans = OrphanSearch(
        database,
        order_client,
        cancellation,
        now,
        random.random,
        timedelta(seconds=settings.order_comparison_seconds),
        timedelta(seconds=settings.unknown_order_refund_seconds) or None,
    )
    sweeper = PaymentSweeper(database, reconciler, refund_reconciler, methods, now, random.random)

    auth = Authenticator(TokenVerifier(fetch_keys_from(users)))
    ready = Readiness(database.is_ready)
    routers = [
        payments.routes(checkout, queries, refunds, auth),
        payment_methods.routes(methods, auth),
        webhooks.routes(webhook_service),
    ]
    return Service(
        http=create_app("Payments", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(
            settings.grpc_port,
            PROBLEMS,
            [PaymentServicer(states).register],
            CallerAuthorization.of(ALLOWED_CALLERS, settings),
        ),
        background={
            **backend.loops(event_handlers(cancellation, methods), prunes_idempotency_keys=True),
            "payment_sweeper": repeat_every(settings.sweep_seconds, sweeper.sweep_payments),
            "refund_sweeper": repeat_every(settings.sweep_seconds, sweeper.sweep_refunds),
            "method_sweeper": repeat_every(settings.sweep_seconds, sweeper.sweep_methods),
            "provider_events": repeat_every(settings.provider_events_seconds / 2, lister.list_events),
            "orphans": repeat_every(settings.order_comparison_seconds / 2, orphans.search_next),
            "webhooks": repeat_every(_WEBHOOK_PRUNE_SECONDS, webhook_service.prune),
        },
        closers=(users.close, orders.close, close_provider, backend.close),
    )


def _provider(settings: Settings, backend: Backend) -> tuple[Provider, Callable[[], Awaitable[None]]]:
    """Builds the provider's adapter. Stripe's library is imported only if it is used, since it costs memory."""
    if settings.payment_provider == "stripe":
        from payment_service.clients.stripe import StripeProvider

        stripe = StripeProvider(
            settings.stripe_secret_key or "", settings.stripe_api_base, settings.provider_deadline_seconds
        )
        return stripe, stripe.close
    simulated = SimulatedProvider(backend.database, backend.now)
    return simulated, simulated.close


PROGRAM = Program("payment", Settings, build)
