"""The request and response bodies, and the query parameters, of the HTTP API."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from chassis.http.schemas import Id, RequestBody, ResponseBody
from fastapi import Header, Query
from pydantic import Field

from notification_service.domain.notifications import Channel, Kind, Status, Template
from notification_service.domain.preferences import Preferences

RecipientQuery = Annotated[
    Id | None, Query(description="The user whose notifications are listed; only an admin may name another user")
]
NotificationQuery = Annotated[UUID, Query(description="The notification whose message Twilio reports on")]
SignatureHeader = Annotated[
    str, Header(alias="X-Twilio-Signature", description="HMAC-SHA1 of the URL and the form, with the account's token")
]


class AttemptResponse(ResponseBody):
    """One attempt to send a message. Without an outcome it has begun, and its end is not known."""

    number: int
    at: datetime
    outcome: Literal["accepted", "transient", "permanent", "unknown"] | None
    error: Annotated[str | None, Field(description="The class of the error, like `smtp_451`")]


class NotificationResponse(ResponseBody):
    """A notification and its state, without the text of its message, which may contain secrets."""

    id: UUID
    user_id: int
    template: Template
    kind: Kind
    channel: Channel
    status: Annotated[Status, Field(description="`not_sent`: the shop has no provider for the channel")]
    reason: Annotated[str | None, Field(description="Why it was cancelled or not sent, or has failed")]
    order_id: UUID | None
    product_id: int | None
    created_at: datetime
    sent_at: datetime | None
    attempts: list[AttemptResponse]


class OrderUpdates(RequestBody):
    """The channels on which the user receives updates on their orders."""

    email: bool
    sms: bool


class StockAlerts(RequestBody):
    """The channels on which a seller receives alerts on low stock."""

    email: bool


class Security(RequestBody):
    """Mails that protect the account, which cannot be switched off."""

    email: Literal[True] = True


class PreferencesDocument(RequestBody):
    """The preferences of a user. SMS are sent only if the user's profile has a phone number."""

    order_updates: OrderUpdates
    stock_alerts: StockAlerts
    security: Security = Security()

    @classmethod
    def of(cls, preferences: Preferences) -> "PreferencesDocument":
        return cls(
            order_updates=OrderUpdates(
                email=preferences.allow(Kind.ORDER_UPDATES, Channel.EMAIL),
                sms=preferences.allow(Kind.ORDER_UPDATES, Channel.SMS),
            ),
            stock_alerts=StockAlerts(email=preferences.allow(Kind.STOCK_ALERTS, Channel.EMAIL)),
        )

    def choices(self) -> Mapping[tuple[Kind, Channel], bool]:
        return {
            (Kind.ORDER_UPDATES, Channel.EMAIL): self.order_updates.email,
            (Kind.ORDER_UPDATES, Channel.SMS): self.order_updates.sms,
            (Kind.STOCK_ALERTS, Channel.EMAIL): self.stock_alerts.email,
        }
