"""The settings of the gateway, read from environment variables."""

from collections.abc import Callable
from typing import Annotated

from chassis.settings import Address, GrpcCallerSettings, HttpUrl, RedisSettings, ServiceSettings
from pydantic import AfterValidator, Field

from gateway_service.domain.client_address import TrustedProxies
from gateway_service.domain.rate_limits import parse_quotas
from gateway_service.domain.routes import Upstream


def _parsed_by(parse: Callable[[str], object]) -> AfterValidator:
    """Validates a text by parsing it. The setting keeps the text."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


class Settings(ServiceSettings, GrpcCallerSettings, RedisSettings):
    user_grpc: Address
    """The gRPC address of the user service, for the public keys that verify access tokens."""
    user_url: HttpUrl
    """The URL of the user service."""
    product_url: HttpUrl
    """The URL of the product service."""
    order_url: HttpUrl
    """The URL of the order service."""
    inventory_url: HttpUrl
    """The URL of the inventory service."""
    review_url: HttpUrl
    """The URL of the review service."""
    payment_url: HttpUrl
    """The URL of the payment service."""
    notification_url: HttpUrl
    """The URL of the notification service."""
    upstream_deadline_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """How long a response may take, retries included; and before that, how long the request body."""
    upstream_slots: Annotated[int, Field(ge=1, le=10_000)] = 32
    """How many requests one process sends to one service at once.

    More slots make each response slower in an overload, and serve no more requests. Increase it if a payment provider
    takes seconds to answer.
    """
    caller_slots: Annotated[int, Field(ge=1, le=10_000)] = 16
    """How many requests of one user, or of one address without a valid token, one process handles at once."""
    rate_limits: Annotated[str, _parsed_by(parse_quotas)] = ""
    """`off`, or the quotas that differ from the defaults in domain/rate_limits.py.

    auth=30/60,read=off means 30 requests in 60 seconds for `auth`, and no limit for `read`.
    """
    limits_deadline_seconds: Annotated[float, Field(gt=0, le=10)] = 0.25
    """How long Redis may take for a request before it passes uncounted, and its session counts as active.

    The default is long enough that a gateway which is short of processor time does not take Redis for unavailable.
    """
    answer_cache_bytes: Annotated[int, Field(ge=0, le=1024**3)] = 16 * 1024**2
    """How much memory answers to public reads may occupy in one process; 0 turns the answer cache off.

    All replicas must have it on, or all off: one that has it off does not tell the others of changes.
    """
    answer_cache_seconds: Annotated[float, Field(gt=0, le=10)] = 1.0
    """The age in seconds at which an answer to a public read is used no longer, though no change has ended it."""
    trusted_proxies: Annotated[str, _parsed_by(TrustedProxies)] = ""
    """The networks of proxies whose X-Forwarded-* headers are believed, separated by commas; none by default."""
    cors_origins: str = ""
    """The origins of web pages that may call the API, separated by commas, or `*`; none by default."""

    def base_urls(self) -> dict[Upstream, str]:
        return {upstream: str(getattr(self, f"{upstream}_url")) for upstream in Upstream}
