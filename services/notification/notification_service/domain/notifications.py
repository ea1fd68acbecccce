"""A notification: one message to one person on one channel about one thing that happened, and the states it goes through. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from chassis.types.ids import UserId

Facts = Mapping[str, object]
"""What a template tells, as JSON values: identifiers, amounts, times. Never a secret, an address or the name of a person."""


class Channel(StrEnum):
    EMAIL = "email"
    SMS = "sms"


class Kind(StrEnum):
    """What people switch on and off."""

    SECURITY = "security"
    ORDER_UPDATES = "order_updates"
    STOCK_ALERTS = "stock_alerts"


class Template(StrEnum):
    WELCOME = "welcome"
    EMAIL_VERIFICATION = "email_verification"
    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of a template
    ORDER_PLACED = "order_placed"
    ORDER_PAID = "order_paid"
    ORDER_SHIPPED = "order_shipped"
    ORDER_CANCELLED = "order_cancelled"
    PAYMENT_REFUNDED = "payment_refunded"
    STOCK_LOW = "stock_low"

    @property
    def kind(self) -> Kind:
        return _KINDS.get(self, Kind.ORDER_UPDATES)

    @property
    def channels(self) -> tuple[Channel, ...]:
        return (Channel.EMAIL, Channel.SMS) if self is Template.ORDER_SHIPPED else (Channel.EMAIL,)

    @property
    def is_void_without_token(self) -> bool:
        """Whether the mail is about its link and nothing else. A welcome also welcomes those who have proven their address."""
        return self in (Template.EMAIL_VERIFICATION, Template.PASSWORD_RESET)


_KINDS = {
    Template.WELCOME: Kind.SECURITY,
    Template.EMAIL_VERIFICATION: Kind.SECURITY,
    Template.PASSWORD_RESET: Kind.SECURITY,
    Template.STOCK_LOW: Kind.STOCK_ALERTS,
}


class Status(StrEnum):
    """`pending → sent → delivered | failed`. A pending one that nobody needs any more is `cancelled`, and is never sent."""

    PENDING = "pending"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """Why a notification is cancelled, or failed without a last word of the carrier."""

    ERASED = "erased"
    RECIPIENT_GONE = "recipient_gone"
    OBSOLETE = "obsolete"
    SWITCHED_OFF = "switched_off"
    NO_PHONE = "no_phone"
    OUTCOME_UNKNOWN = "outcome_unknown"
    TOO_OLD = "too_old"
    UNDELIVERED = "undelivered"


@dataclass(frozen=True, slots=True)
class Cause:
    """What happened, to whom it is told and with which template.

    `key` names the fact itself (an order's shipment, a refund), not the event that told it: one event delivered twice and two
    events about one fact both make one notification.
    """

    key: str
    user_id: UserId
    template: Template
    facts: Facts


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to hand a message to its carrier. No outcome: begun, and not (yet) known how it ended."""

    number: int
    at: datetime
    outcome: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Notification:
    id: UUID
    user_id: UserId
    channel: Channel
    template: Template
    template_version: int
    facts: Facts
    status: Status
    reason: str | None
    round: int
    """1, and one more with each time that an admin said to try again."""
    created_at: datetime
    waiting_since: datetime
    """When its round began."""
    due_at: datetime
    sent_at: datetime | None
    attempts: Sequence[Attempt] = field(default_factory=tuple)

    @property
    def kind(self) -> Kind:
        return self.template.kind

    @property
    def order_id(self) -> object | None:
        return self.facts.get("order_id")

    @property
    def product_id(self) -> object | None:
        return self.facts.get("product_id")
