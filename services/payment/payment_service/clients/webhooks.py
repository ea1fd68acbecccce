"""Stripe's webhooks: whether one is Stripe's, and what it is about. https://docs.stripe.com/webhooks/signature"""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from payment_service.domain.errors import BadSignature, MalformedWebhook, WebhooksNotConfigured


@dataclass(frozen=True, slots=True)
class Hint:
    """Ask the provider about these; all None for an event that concerns nothing of ours."""

    event_id: str
    event_type: str
    payment_id: UUID | None = None
    intent_id: str | None = None
    refund_id: UUID | None = None
    refund_ref: str | None = None


class StripeWebhooks:
    def __init__(self, secret: str | None, tolerance: int) -> None:
        """`tolerance`: seconds that a signature is good for, so that a stolen one soon is not."""
        self._secret = secret
        self._tolerance = tolerance

    def read(self, body: bytes, signature: str | None) -> Hint:
        """Raises WebhooksNotConfigured, BadSignature, MalformedWebhook."""
        if self._secret is None:
            raise WebhooksNotConfigured("no webhook secret is set: set STRIPE_WEBHOOK_SECRET")
        import stripe  # only who is told a secret needs it, and it costs memory

        try:
            stripe.WebhookSignature.verify_header(body, signature, self._secret, self._tolerance)
        except (stripe.SignatureVerificationError, ValueError):
            raise BadSignature("the Stripe-Signature does not fit the body, or is too old") from None
        try:
            return _hint(_Event.model_validate_json(body))
        except ValidationError:
            raise MalformedWebhook("the body is no event of Stripe's") from None


_Token = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[\x21-\x7E]+$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Object(_Part):
    """A PaymentIntent, a Refund, a Charge, or something that is not ours."""

    kind: Annotated[str, Field(alias="object")] = ""
    id: str = ""
    payment_intent: str | None = None
    metadata: dict[str, str] | None = None


class _Data(_Part):
    object: _Object


class _Event(_Part):
    id: _Token
    type: _Token
    data: _Data


def _hint(event: _Event) -> Hint:
    about, metadata = event.data.object, event.data.object.metadata or {}
    if about.kind == "payment_intent":
        return Hint(event.id, event.type, payment_id=_uuid(metadata.get("payment_id")), intent_id=_known(about.id))
    if about.kind == "refund":
        return Hint(
            event.id,
            event.type,
            refund_id=_uuid(metadata.get("refund_id")),
            refund_ref=_known(about.id),
            intent_id=_known(about.payment_intent),
        )
    if about.kind == "charge":
        return Hint(event.id, event.type, intent_id=_known(about.payment_intent))
    return Hint(event.id, event.type)


def _uuid(written: str | None) -> UUID | None:
    try:
        return None if written is None else UUID(written)
    except ValueError:
        return None


def _known(reference: str | None) -> str | None:
    """A reference that the database could hold."""
    return reference if reference and "\x00" not in reference and reference.isascii() else None
