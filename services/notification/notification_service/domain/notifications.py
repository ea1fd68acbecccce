"""A notification: one message to one user, on one channel, about one event in the shop; and its states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from chassis.types.ids import UserId

Facts = Mapping[str, object]
"""The values for a template, as JSON: ids, amounts, times. Never a secret, an address or the name of a person."""


class Channel(StrEnum):
    EMAIL = "email"
    SMS = "sms"


class Kind(StrEnum):
    """The kinds of notifications that a user switches on and off. `security` cannot be switched off."""

    SECURITY = "security"
    ORDER_UPDATES = "order_updates"
    STOCK_ALERTS = "stock_alerts"


class Template(StrEnum):
    WELCOME = "welcome"
    EMAIL_VERIFICATION = "email_verification"
    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of a template
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of a template
    EMAIL_CHANGED = "email_changed"
    EMAIL_REPLACED = "email_replaced"
    """The notice of a changed address that goes to the former one."""
    NEW_DEVICE = "new_device"
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
    def requires_token(self) -> bool:
        """Returns whether the mail has no purpose without its link.

        A welcome is also sent to users whose address is verified.
        """
        return self in (Template.EMAIL_VERIFICATION, Template.PASSWORD_RESET)

    @property
    def is_awaited(self) -> bool:
        """Returns whether the recipient waits for the mail, so that it is sent before the others."""
        return self in (Template.WELCOME, Template.EMAIL_VERIFICATION, Template.PASSWORD_RESET)


_KINDS = {
    Template.WELCOME: Kind.SECURITY,
    Template.EMAIL_VERIFICATION: Kind.SECURITY,
    Template.PASSWORD_RESET: Kind.SECURITY,
    Template.PASSWORD_CHANGED: Kind.SECURITY,
    Template.EMAIL_CHANGED: Kind.SECURITY,
    Template.EMAIL_REPLACED: Kind.SECURITY,
    Template.NEW_DEVICE: Kind.SECURITY,
    Template.STOCK_LOW: Kind.STOCK_ALERTS,
}


class Status(StrEnum):
    """`pending → sent → delivered | failed`.

    A pending notification that is no longer needed is `cancelled`, and is never sent. One that the shop has no provider
    for is `not_sent`.
    """

    PENDING = "pending"
    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOT_SENT = "not_sent"


class Reason(StrEnum):
    """Why a notification was cancelled or not sent, or failed without an error of the provider."""

    ERASED = "erased"
    RECIPIENT_GONE = "recipient_gone"
    OBSOLETE = "obsolete"
    SWITCHED_OFF = "switched_off"
    NO_PHONE = "no_phone"
    NO_MAIL_SERVER = "no_mail_server"
    """The shop has no mail server: `SMTP_HOST` is unset."""
    NO_SMS_PROVIDER = "no_sms_provider"
    """The shop has no provider of SMS: `SMS_PROVIDER` is `log`."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    TOO_OLD = "too_old"
    UNDELIVERED = "undelivered"


@dataclass(frozen=True, slots=True)
class Cause:
    """The event in the shop that causes a notification, the user who is notified, and the template.

    `key` identifies what happened (the shipment of an order, a refund), not the event message that reported it: one
    message that is delivered twice and two messages about the same fact both cause one notification.
    """

    key: str
    user_id: UserId
    template: Template
    facts: Facts


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to hand a message to its provider.

    Without an outcome it has begun, and its end is not known (yet).
    """

    number: int
    at: datetime
    outcome: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification with its attempts."""

    id: UUID
    user_id: UserId
    channel: Channel
    template: Template
    template_version: int
    facts: Facts
    status: Status
    reason: str | None
    round: int
    """1, and one more with each retry by an admin."""
    created_at: datetime
    waiting_since: datetime
    """When its current round began."""
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


class NotificationPosition(NamedTuple):
    """The position of a notification in a list, which is ordered by id: a UUIDv7, which begins with its time."""

    id: UUID

    @classmethod
    def of(cls, notification: Notification) -> "NotificationPosition":
        return cls(notification.id)


@dataclass(frozen=True, slots=True)
class NotificationQuery:
    """The notifications that a list shows; a field that is None does not restrict it."""

    user_id: UserId | None = None
    status: Status | None = None
