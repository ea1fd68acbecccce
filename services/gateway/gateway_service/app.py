"""The composition root: builds the gateway from its settings."""

import random
import time
from collections.abc import Callable
from uuid import uuid4

from chassis.grpc.client import open_channel
from chassis.http.app import Readiness, create_app
from chassis.http.authentication import Authenticator, TokenVerifier, fetch_keys_from
from chassis.http.middleware import RequestMiddleware
from chassis.runtime.process import Program, Service
from chassis.types.circuit_breaker import BreakerPolicy

from gateway_service.clients.answer_versions import AnswerVersions
from gateway_service.clients.ended_sessions import EndedSessionLookup
from gateway_service.clients.rate_limiter import RateLimiter
from gateway_service.clients.redis_pipeline import RedisPipeline, connect
from gateway_service.clients.upstream_client import UpstreamClient
from gateway_service.domain.client_address import TrustedProxies
from gateway_service.domain.rate_limits import parse_quotas
from gateway_service.domain.routes import Upstream
from gateway_service.handlers.access_control import AccessControl
from gateway_service.handlers.cors import with_cors
from gateway_service.handlers.own_pages import openapi_app, root_routes
from gateway_service.handlers.problems import PROBLEMS
from gateway_service.handlers.proxy import Proxy
from gateway_service.handlers.router import Router
from gateway_service.service.admission import AdmissionControl
from gateway_service.service.answer_cache import AnswerCache
from gateway_service.service.caller_limits import CallerLimits
from gateway_service.service.documentation import Documentation
from gateway_service.service.exchanges import Exchanges
from gateway_service.settings import Settings

TITLE = "E-commerce platform"
_CONFIRMED_SECONDS = 60.0
"""How long an answer whose data does not change is used without a new fetch."""
_FETCH_WAITS_SECONDS = 30.0
"""More than a fetch waits beside its deadline: for a slot, and for Redis."""


async def build(settings: Settings, clock: Callable[[], float] = time.monotonic) -> Service:
    version = settings.service_version
    users = open_channel(settings.user_grpc, settings.grpc_tokens["user"])
    auth = Authenticator(TokenVerifier(fetch_keys_from(users)))
    redis = RedisPipeline(connect(settings.redis_url, settings.redis_ca), clock, settings.limits_deadline_seconds)
    limiter = RateLimiter(redis, settings.tenant, parse_quotas(settings.rate_limits))
    access = AccessControl(auth, limiter, EndedSessionLookup(redis, settings.tenant))
    client = UpstreamClient(settings.base_urls(), lambda: random.uniform(0.5, 1))  # noqa: S311 - jitter is no secret
    admissions = {
        upstream: AdmissionControl(upstream, settings.upstream_slots, BreakerPolicy(), clock) for upstream in Upstream
    }
    exchanges = Exchanges(client, admissions, settings.upstream_deadline_seconds)
    versions = AnswerVersions(redis, settings.tenant, _record_seconds(settings), lambda: uuid4().hex)
    answers = AnswerCache(versions, exchanges.fetch, settings.answer_cache_bytes, settings.answer_cache_seconds)
    documentation = Documentation(TITLE, version, tuple(Upstream), client.document, clock)
    ready = Readiness()
    proxy = Proxy(
        exchanges,
        answers,
        access,
        CallerLimits(settings.caller_slots),
        settings.upstream_deadline_seconds,
    )

    proxies = TrustedProxies(settings.trusted_proxies)
    router = Router(
        proxies,
        own_pages=create_app(TITLE, version, [root_routes(TITLE, version)], PROBLEMS, ready, is_public=True),
        openapi=RequestMiddleware(openapi_app(documentation.current), PROBLEMS, is_public=True),
        proxy=RequestMiddleware(proxy, PROBLEMS, is_public=True, refuse=proxy.refuse),
    )
    return Service(
        http=with_cors(settings.cors_origins, router),
        ready=ready,
        is_proxy=proxies.is_trusted,
        closers=(answers.close, client.close, redis.close, users.close),
    )


def _record_seconds(settings: Settings) -> float:
    """Returns how long Redis keeps the version of an answer: longer than a fetch with its waits, and then its use."""
    return (
        settings.upstream_deadline_seconds + settings.answer_cache_seconds + _CONFIRMED_SECONDS + _FETCH_WAITS_SECONDS
    )


PROGRAM = Program("gateway", Settings, build)
