"""The composition root: builds the whole service by hand."""

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Literal

from chassis.grpc.client import open_channel
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.runtime.backend import Backend
from chassis.runtime.process import Program, Service, repeat_every
from chassis.settings import Address, BackendSettings, HttpUrl
from chassis.types.ids import uuid7
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from payment_service.clients.orders import GrpcOrders
from payment_service.clients.provider import Provider
from payment_service.clients.simulated import SimulatedProvider
from payment_service.clients.webhooks import StripeWebhooks
from payment_service.handlers.events import effects
from payment_service.handlers.http import method_routes, routes, webhook_routes
from payment_service.handlers.problems import PROBLEMS
from payment_service.service.paying import Paying
from payment_service.service.refunding import Refunding
from payment_service.service.settling import Settlement, Tools
from payment_service.service.sweeping import Sweeper
from payment_service.service.wallets import Wallets
from payment_service.service.webhooks import Webhooks

SCHEMA = "0001"
_HOUR = 3600.0


class Settings(BackendSettings):
    user_grpc: Address
    order_grpc: Address
    payment_provider: Literal["simulated", "stripe"]
    """`simulated` moves no money: for development and demonstration."""
    stripe_secret_key: Annotated[str | None, Field(repr=False, validate_default=True)] = None
    stripe_webhook_secret: Annotated[str | None, Field(repr=False, validate_default=True)] = None
    stripe_api_base: HttpUrl | None = None
    stripe_webhook_tolerance_seconds: Annotated[int, Field(ge=1, le=3600)] = 300
    provider_deadline_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """How long a call of the provider may take, its repetitions included."""
    sweep_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    """How often what is due is looked for."""
    sweep_patience_seconds: Annotated[float, Field(gt=0, le=3600)] = 15.0
    """How long a request may work on a payment or refund by itself; longer than the provider's deadline."""

    @field_validator("stripe_secret_key", "stripe_webhook_secret")
    @classmethod
    def _stripe_needs_it(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("payment_provider") == "stripe":
            raise PydanticCustomError("missing", "needed where PAYMENT_PROVIDER is stripe")
        return value


async def build(settings: Settings) -> Service:
    backend = Backend("payment", settings, SCHEMA)
    database, outbox = backend.database, backend.outbox
    users, orders = open_channel(settings.user_grpc), open_channel(settings.order_grpc)
    provider, close_provider = _provider(settings, backend)
    patience = timedelta(seconds=settings.sweep_patience_seconds)
    tools = Tools(database, outbox, provider, backend.now, uuid7, patience)
    settlement, wallets = Settlement(tools), Wallets(tools)
    paying, refunding = Paying(tools, settlement, GrpcOrders(orders)), Refunding(tools, settlement)
    webhooks = Webhooks(
        tools, StripeWebhooks(settings.stripe_webhook_secret, settings.stripe_webhook_tolerance_seconds)
    )
    sweeper = Sweeper(tools, settlement, wallets, random.random)
    auth = Authenticator(TokenVerifier(fetch_keys_from(users)))
    ready = Readiness(database.is_ready)
    routers = [routes(paying, refunding, auth), method_routes(wallets, auth), webhook_routes(webhooks)]

    return Service(
        http=create_app("Payments", settings.service_version, routers, PROBLEMS, ready),
        ready=ready,
        rpc=GrpcServer(settings.grpc_port, PROBLEMS, []),
        background={
            **backend.loops(effects(settlement, wallets), prunes_idempotency_keys=True),
            "sweeper": repeat_every(settings.sweep_seconds, sweeper.sweep),
            "webhooks": repeat_every(_HOUR, webhooks.forget),
        },
        closers=(users.close, orders.close, close_provider, backend.close),
    )


def _provider(settings: Settings, backend: Backend) -> tuple[Provider, Callable[[], Awaitable[None]]]:
    """Stripe's library is imported by those alone who use it: it costs memory."""
    if settings.payment_provider == "stripe":
        from payment_service.clients.stripe import StripeProvider

        stripe = StripeProvider(
            settings.stripe_secret_key or "", settings.stripe_api_base, settings.provider_deadline_seconds
        )
        return stripe, stripe.close
    simulated = SimulatedProvider(backend.database, backend.now)
    return simulated, simulated.close


PROGRAM = Program("payment", Settings, build)
