"""The composition root: builds the whole service by hand."""

import random
import time
from collections.abc import Callable
from typing import Annotated

from chassis.grpc.client import open_channel
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.http.middleware import RequestMiddleware
from chassis.runtime.process import Program, Service
from chassis.settings import Address, HttpUrl, RedisUrl, ServiceSettings
from pydantic import AfterValidator, Field
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from gateway_service.clients.limiter import RateLimiter, connect
from gateway_service.clients.upstreams import Upstreams
from gateway_service.domain import limits
from gateway_service.domain.breaking import Rule
from gateway_service.domain.callers import TrustedProxies
from gateway_service.domain.routes import Upstream
from gateway_service.handlers.entry import Entry, document, welcome
from gateway_service.handlers.problems import PROBLEMS
from gateway_service.handlers.proxy import Proxy
from gateway_service.handlers.sentry import Sentry
from gateway_service.service.admission import Admission
from gateway_service.service.documentation import Documentation

TITLE = "E-commerce platform"


def _readable_by(parse: Callable[[str], object]) -> AfterValidator:
    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


class Settings(ServiceSettings):
    user_grpc: Address
    """Where the public keys that verify access tokens come from."""
    user_url: HttpUrl
    product_url: HttpUrl
    order_url: HttpUrl
    inventory_url: HttpUrl
    review_url: HttpUrl
    payment_url: HttpUrl
    notification_url: HttpUrl
    redis_url: RedisUrl
    """Where requests are counted, for all replicas together."""
    upstream_deadline_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """How long an answer may take, retries included; and before that, how long the beginning of a body."""
    upstream_slots: Annotated[int, Field(ge=1, le=10_000)] = 256
    """How many requests one process has at one service at once."""
    rate_limits: Annotated[str, _readable_by(limits.parse)] = ""
    """`off`, or what differs from the defaults in domain/limits.py: auth=30/60,read=off means 30 in 60 seconds, and no limit."""
    limits_deadline_seconds: Annotated[float, Field(gt=0, le=10)] = 0.25
    """How long Redis may take to count a request before it passes uncounted: long enough that a gateway which is itself short of
    time does not take that for Redis being away.
    """
    trusted_proxies: Annotated[str, _readable_by(TrustedProxies)] = ""
    """Networks whose X-Forwarded-* headers say where a request comes from, with commas between them; none by default."""
    cors_origins: str = ""
    """Which web pages may call the API, as origins with commas between them, or `*`; none by default."""

    def bases(self) -> dict[Upstream, str]:
        return {upstream: str(getattr(self, f"{upstream}_url")) for upstream in Upstream}


async def build(settings: Settings, clock: Callable[[], float] = time.monotonic) -> Service:
    users = open_channel(settings.user_grpc)
    auth = Authenticator(TokenVerifier(fetch_keys_from(users)))
    quotas = limits.parse(settings.rate_limits)
    limiter = RateLimiter(connect(settings.redis_url), settings.tenant, quotas, clock, settings.limits_deadline_seconds)
    upstreams = Upstreams(settings.bases(), lambda: random.uniform(0.5, 1))  # noqa: S311 - jitter is no secret
    admissions = {upstream: Admission(upstream, settings.upstream_slots, Rule(), clock) for upstream in Upstream}
    documentation = Documentation(TITLE, settings.service_version, tuple(Upstream), upstreams.document, clock)
    ready = Readiness()

    entry = Entry(
        TrustedProxies(settings.trusted_proxies),
        create_app(TITLE, settings.service_version, [welcome(TITLE, settings.service_version)], PROBLEMS, ready),
        RequestMiddleware(document(documentation.current), PROBLEMS),
        RequestMiddleware(
            Proxy(upstreams, admissions, Sentry(auth, limiter), settings.upstream_deadline_seconds), PROBLEMS
        ),
    )
    return Service(
        http=_open_to(settings.cors_origins, entry),
        ready=ready,
        closers=(upstreams.close, limiter.close, users.close),
    )


def _open_to(origins: str, entry: ASGIApp) -> ASGIApp:
    """Cross-origin resource sharing, where the settings ask for it."""
    allowed = [origin.strip() for origin in origins.split(",") if origin.strip()]
    if not allowed:
        return entry
    return CORSMiddleware(
        entry,
        allow_origins=allowed,
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["Authorization", "Cart-Token", "Content-Type", "Idempotency-Key", "X-Request-Id"],
        expose_headers=["Cart-Token", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id"],
    )


PROGRAM = Program("gateway", Settings, build)
