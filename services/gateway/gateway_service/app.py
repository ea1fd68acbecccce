"""The composition root: builds the whole service by hand."""

import random
import time
from typing import Annotated

from chassis import http, rpc
from chassis.http import Edge
from chassis.process import Command, Service
from chassis.settings import Address, HttpUrl, ServiceSettings
from chassis.tokens import Authenticator, TokenVerifier, keys_from
from pydantic import Field
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from gateway_service.clients.upstreams import Upstreams
from gateway_service.domain.routes import Upstream
from gateway_service.handlers.entry import Entry, document, welcome
from gateway_service.handlers.problems import PROBLEMS
from gateway_service.handlers.proxy import Proxy
from gateway_service.service.documentation import Documentation

TITLE = "E-commerce platform"


class Settings(ServiceSettings):
    user_grpc: Address
    """Where the public keys that verify access tokens come from."""
    user_url: HttpUrl
    product_url: HttpUrl
    order_url: HttpUrl
    inventory_url: HttpUrl
    review_url: HttpUrl
    upstream_deadline_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """How long an answer may take, retries and both bodies included."""
    cors_origins: str = ""
    """Which web pages may call the API, as origins with commas between them, or `*`; none by default."""

    def bases(self) -> dict[Upstream, str]:
        return {
            Upstream.USER: self.user_url,
            Upstream.PRODUCT: self.product_url,
            Upstream.ORDER: self.order_url,
            Upstream.INVENTORY: self.inventory_url,
            Upstream.REVIEW: self.review_url,
        }


async def build(settings: Settings) -> Service:
    users = rpc.channel(settings.user_grpc)
    auth = Authenticator(TokenVerifier(keys_from(users)))
    upstreams = Upstreams(settings.bases(), lambda: random.uniform(0.01, 0.05))  # noqa: S311 - jitter is no secret
    documentation = Documentation(TITLE, settings.service_version, tuple(Upstream), upstreams.document, time.monotonic)
    ready = http.Readiness()

    entry = Entry(
        http.app(TITLE, settings.service_version, [welcome(TITLE, settings.service_version)], PROBLEMS, ready),
        Edge(document(documentation.current), PROBLEMS),
        Edge(Proxy(upstreams, auth, settings.upstream_deadline_seconds), PROBLEMS),
    )
    return Service(
        http=_open_to(settings.cors_origins, entry),
        ready=ready,
        closers=(upstreams.close, users.close),
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
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"],
        expose_headers=["X-Request-Id", "Retry-After"],
    )


COMMAND = Command("gateway", "gateway_service", Settings, build)
