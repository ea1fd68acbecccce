"""The port to the payment provider. Its adapters are `stripe` and `simulated`.

Every call has a deadline and may be repeated: the provider knows everything that it created by our id. Each call raises
ProviderUnavailable where its outcome is unknown, and ProviderRefused where the provider did nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from chassis.types.charges import ChargeRules
from chassis.types.ids import UserId
from chassis.types.money import Money

from payment_service.clients.webhooks import WebhookEvent
from payment_service.domain.intents import Intent
from payment_service.domain.payment_methods import PaymentMethod
from payment_service.domain.payments import Payment, Refund, RefundStatus


@dataclass(frozen=True, slots=True)
class ProviderRefund:
    """A refund as the provider sees it.

    `refund_id` is our id of it; None if it was made in the provider's dashboard. `amount` is None if minor units cannot
    represent it.
    """

    id: str
    status: RefundStatus
    amount: Money | None
    reason: str | None = None
    refund_id: str | None = None


@dataclass(frozen=True, slots=True)
class SavedCard:
    """A payment method that the provider keeps for a customer: its reference, and the details that may be shown."""

    ref: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of the provider's events, the newest first.

    `next_after` is the id of its last event if a page follows, else None.
    """

    events: Sequence[WebhookEvent]
    next_after: str | None = None


class Provider(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def charge_rules(self) -> ChargeRules:
        """The amounts that it can charge and refund."""

    async def create_intent(self, payment: Payment) -> Intent:
        """Returns the payment's intent, created now or by an earlier call; nothing is charged."""

    async def get_intent(self, intent_id: str) -> Intent:
        """Returns the intent in its current state."""

    async def confirm_intent(self, payment: Payment, intent_id: str, method: PaymentMethod) -> Intent:
        """Charges the method once, however often it is called. Raises CardDeclined, InvalidPaymentMethod."""

    async def resume_intent(self, intent_id: str) -> Intent:
        """Continues after the customer has done what the next action required."""

    async def cancel_intent(self, intent_id: str) -> Intent:
        """Cancels the intent, and returns its state after that: succeeded, if the charge was faster."""

    async def create_refund(self, refund: Refund, intent_id: str, *, is_repeated: bool) -> ProviderRefund:
        """Pays a refund once, however often it is called.

        With `is_repeated` it first looks for the refund of an earlier call.

        A refusal is final: no earlier call, and none that is still under way, has paid anything back.
        """

    async def get_refund(self, provider_ref: str) -> ProviderRefund:
        """Returns the refund in its current state.

        Never raises ProviderRefused: a refund that cannot be retrieved is not known to have failed.
        """

    async def list_refunds(self, intent_id: str) -> Sequence[ProviderRefund]:
        """Lists all refunds of an intent, also those made in the provider's dashboard. Never raises ProviderRefused."""

    async def list_events(self, since: datetime, after: str | None) -> EventPage:
        """Lists one page of the events since a time: those that webhooks report, the newest first.

        `after` is the id of the event after which the page begins. Never raises ProviderRefused.
        """

    async def create_customer(self, user_id: UserId, shop_id: UUID) -> str:
        """Returns the reference of the user's customer, created now or by an earlier call.

        Shops that share an account of the provider have different ids. The customer holds no personal data.
        """

    async def attach_method(self, customer: str, method: str) -> SavedCard:
        """Saves a payment method for a customer. Raises CardDeclined, InvalidPaymentMethod."""

    async def detach_method(self, method: str) -> None:
        """Removes a saved payment method. Does nothing if it is detached already."""

    async def erase_customer(self, customer: str) -> None:
        """Deletes a customer with all that is saved for them. Does nothing if it is deleted already."""
