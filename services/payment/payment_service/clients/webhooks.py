"""Verifies and parses Stripe's webhooks, and parses the events that Stripe lists.

https://docs.stripe.com/webhooks/signature, /api/events
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from payment_service.domain.errors import InvalidSignature, MalformedWebhook, WebhooksNotConfigured


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """The payment or refund that an event of the provider concerns; all are None if it concerns none of ours.

    It only says what to check at the provider, never what became of it.
    """

    event_id: str
    event_type: str
    payment_id: UUID | None = None
    intent_id: str | None = None
    refund_id: UUID | None = None
    refund_ref: str | None = None


class StripeWebhookParser:
    def __init__(self, secret: str | None, tolerance: int) -> None:
        """`tolerance` is how many seconds a signature is valid, so that a stolen one soon expires."""
        self._secret = secret
        self._tolerance = tolerance

    def parse(self, body: bytes, signature: str | None) -> WebhookEvent:
        """Verifies the signature and returns the event.

        Raises WebhooksNotConfigured, InvalidSignature, MalformedWebhook.
        """
        if self._secret is None:
            raise WebhooksNotConfigured("no webhook secret is set: set STRIPE_WEBHOOK_SECRET")
        import stripe  # costs memory, and is not needed without a secret

        try:
            stripe.WebhookSignature.verify_header(body, signature, self._secret, self._tolerance)
        except (stripe.SignatureVerificationError, ValueError):
            raise InvalidSignature("the Stripe-Signature does not match the body, or is too old") from None
        try:
            return _webhook_event(_Event.model_validate_json(body))
        except ValidationError:
            raise MalformedWebhook("the body is not a Stripe event") from None


def event_of(listed: Mapping[str, object]) -> WebhookEvent:
    """Returns an event that Stripe lists, as its webhook would report it."""
    return _webhook_event(_Event.model_validate(listed))


_Token = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[\x21-\x7E]+$")]


class _StripeModel(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Object(_StripeModel):
    """A PaymentIntent, a Refund, a Charge, or an object of another type."""

    kind: Annotated[str, Field(alias="object")] = ""
    id: str = ""
    payment_intent: str | None = None
    metadata: dict[str, str] | None = None


class _Data(_StripeModel):
    object: _Object


class _Event(_StripeModel):
    id: _Token
    type: _Token
    data: _Data


def _webhook_event(event: _Event) -> WebhookEvent:
    subject, metadata = event.data.object, event.data.object.metadata or {}
    if subject.kind == "payment_intent":
        return WebhookEvent(
            event.id, event.type, payment_id=_uuid(metadata.get("payment_id")), intent_id=_storable(subject.id)
        )
    if subject.kind == "refund":
        return WebhookEvent(
            event.id,
            event.type,
            refund_id=_uuid(metadata.get("refund_id")),
            refund_ref=_storable(subject.id),
            intent_id=_storable(subject.payment_intent),
        )
    if subject.kind == "charge":
        return WebhookEvent(event.id, event.type, intent_id=_storable(subject.payment_intent))
    return WebhookEvent(event.id, event.type)


def _uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None


def _storable(reference: str | None) -> str | None:
    """Returns the reference if PostgreSQL can store it, else None."""
    return reference if reference and "\x00" not in reference and reference.isascii() else None
