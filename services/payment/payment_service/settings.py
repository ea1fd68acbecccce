"""The settings of the payment service, read from the environment."""

from typing import Annotated, Literal

from chassis.settings import Address, BackendSettings, GrpcCalleeSettings, GrpcCallerSettings, HttpUrl
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class Settings(BackendSettings, GrpcCallerSettings, GrpcCalleeSettings):
    user_grpc: Address
    """host:port of the user service's gRPC API, which has the keys that access tokens are verified with."""
    order_grpc: Address
    """host:port of the order service's gRPC API, which says what an order costs and whether it may be paid."""
    payment_provider: Literal["simulated", "stripe"]
    """The payment provider.

    `simulated` moves no money: it is for development and demonstration. There is no default, so that it is never used
    by mistake.
    """
    stripe_secret_key: Annotated[str | None, Field(repr=False, validate_default=True)] = None
    """The secret key of the Stripe account; required with the provider `stripe`."""
    stripe_webhook_secret: Annotated[str | None, Field(repr=False, validate_default=True)] = None
    """The secret that Stripe signs webhooks with; required with the provider `stripe`.

    Without it webhooks are refused.
    """
    stripe_api_base: HttpUrl | None = None
    """The base URL of Stripe's API, if it is not Stripe's own: for tests."""
    stripe_webhook_tolerance_seconds: Annotated[int, Field(ge=1, le=3600)] = 300
    """How many seconds a webhook's signature is valid. The default is Stripe's own."""
    provider_deadline_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """How many seconds a call to the provider may take, its retries included.

    After this timeout its outcome is unknown.
    """
    provider_events_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0
    """The longest time between two listings of the provider's events, in seconds. They find what no webhook said."""
    order_comparison_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """How many seconds lie at most between two rounds that compare payments with orders, a thousand in each."""
    unknown_order_refund_seconds: Annotated[float, Field(ge=0, le=90 * 86400)] = 7 * 86400.0
    """How many seconds the order service must say that an order does not exist until its payment is refunded.

    Until then the payment is held, and its order may be restored. With 0 it is held until a person decides.
    """
    sweep_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    """How many seconds lie between two sweeps, which look for payments and refunds that are due for a check."""
    sweep_after_seconds: Annotated[float, Field(gt=0, le=3600)] = 15.0
    """How many seconds a payment or refund is left to its request before the sweeper checks it.

    It must be longer than PROVIDER_DEADLINE_SECONDS, so that a call of the request has ended by then.
    """

    @field_validator("stripe_secret_key", "stripe_webhook_secret")
    @classmethod
    def _require_for_stripe(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("payment_provider") == "stripe":
            raise PydanticCustomError("missing", "is required if PAYMENT_PROVIDER is stripe")
        return value
