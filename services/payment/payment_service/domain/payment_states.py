"""The state of an order's payment, as the order service asks for it: before an order expires, and to compare. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from payment_service.domain.intents import Intent, IntentState
from payment_service.domain.payments import Payment, Refund

_ACTION_TIMEOUT = timedelta(minutes=15)
"""How long the customer may take for an action such as 3-D Secure while an order waits for its payment."""


class PaymentState(StrEnum):
    NONE = "none"
    """Nothing is captured, and nothing will be unless the buyer confirms a payment."""
    IN_PROCESS = "in_process"
    """The provider may capture, or its answer is not known."""
    CAPTURED = "captured"
    """The total was captured, whether or not it was refunded since."""


@dataclass(frozen=True, slots=True)
class OrderPayment:
    """The state of an order's payment, and the payment if it is captured, with its refunds that succeeded.

    `is_closed` says that nothing may be captured for the order, as far as is known here.
    """

    state: PaymentState
    captured: Payment | None = None
    refunds: Sequence[Refund] = ()
    is_closed: bool = False

    @classmethod
    def of(cls, payment: Payment, intent: Intent | None, at: datetime) -> "OrderPayment":
        """Describes a payment, given its intent as the provider has it now; None if it has none."""
        state = _state(payment, intent, at)
        return cls(state, payment if state is PaymentState.CAPTURED else None)

    def with_records(self, refunds: Sequence[Refund], *, is_closed: bool) -> "OrderPayment":
        return replace(self, refunds=refunds, is_closed=is_closed)


def _state(payment: Payment, intent: Intent | None, at: datetime) -> PaymentState:
    if payment.captured:
        return PaymentState.CAPTURED
    if not payment.is_open:
        return PaymentState.NONE
    intent_state = IntentState.AWAITING_CONFIRMATION if intent is None else intent.state
    if payment.is_confirmable and intent_state is IntentState.AWAITING_CONFIRMATION:
        return PaymentState.NONE
    if intent_state is IntentState.REQUIRES_ACTION and at >= payment.updated_at + _ACTION_TIMEOUT:
        return PaymentState.NONE
    return PaymentState.IN_PROCESS
