"""The port to whoever moves the money. Two adapters speak it: `stripe` and `simulated`.

Every call has a deadline and may be repeated: what it makes is known to the provider by our id. Each raises ProviderUnavailable where
nobody can say what the provider did, and ProviderRefused where it did nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from chassis.types.ids import UserId
from chassis.types.money import Money

from payment_service.domain.intents import Intent
from payment_service.domain.payments import Method, Payment, Refund


class RefundState(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ProviderRefund:
    """A refund as the provider sees it. `made_as` is our id of it; None where other hands made it, in the provider's dashboard."""

    id: str
    state: RefundState
    amount: Money
    reason: str | None = None
    made_as: str | None = None


@dataclass(frozen=True, slots=True)
class SavedCard:
    """A payment method that the provider keeps for a customer: its reference, and what may be shown of it."""

    ref: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int


class Provider(Protocol):
    @property
    def name(self) -> str: ...

    async def create_intent(self, payment: Payment) -> Intent:
        """The payment's intent, made now or before; nothing is charged."""

    async def intent(self, intent_id: str) -> Intent:
        """As it is now."""

    async def confirm(self, payment: Payment, intent_id: str, method: Method) -> Intent:
        """Charges once, however often it is called. Raises Declined, InvalidMethod."""

    async def resume(self, intent_id: str) -> Intent:
        """The customer says that they did what the next action asked for."""

    async def cancel(self, intent_id: str) -> Intent:
        """As it is afterwards: succeeded, where the charge was faster."""

    async def refund(self, refund: Refund, intent_id: str, *, is_repeated: bool) -> ProviderRefund:
        """Gives back once, however often it is called; `is_repeated` looks first for what an earlier call has done.

        A refusal is for good: no call before this one, and none on its way, has given anything back.
        """

    async def refund_state(self, provider_ref: str) -> ProviderRefund:
        """As it is now. Never raises ProviderRefused: what cannot be looked at is not known to have failed."""

    async def refunds(self, intent_id: str) -> Sequence[ProviderRefund]:
        """All of an intent, whoever made them. Never raises ProviderRefused."""

    async def create_customer(self, user_id: UserId) -> str:
        """The reference of this user's customer, made now or before. Holds no personal data."""

    async def attach(self, customer: str, method: str) -> SavedCard:
        """Raises Declined, InvalidMethod."""

    async def detach(self, method: str) -> None:
        """One that is detached already stays so."""

    async def erase_customer(self, customer: str) -> None:
        """With all that is saved for them; one that is gone already stays so."""
