"""A payment as the provider sees it, and the step that brings the payment and its intent together. Pure."""

from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto

from chassis.types.money import Money

from payment_service.domain.failures import Failure, FailureCode
from payment_service.domain.payments import Payment, PaymentStatus


class IntentState(StrEnum):
    AWAITING_CONFIRMATION = "awaiting"
    """Not confirmed, or declined: nothing is charged, and it can be confirmed."""
    REQUIRES_ACTION = "action"
    """The customer must do something first, such as 3-D Secure."""
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class NextAction:
    """The action that the customer must take; `redirect_url` is set if it takes place on another page."""

    type: str
    redirect_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Intent:
    """The provider's record of a payment.

    `received` is what was captured; `failure` is why the last confirmation failed.
    """

    id: str
    state: IntentState
    received: Money | None = None
    failure: Failure | None = None
    client_secret: str | None = field(default=None, repr=False)
    next_action: NextAction | None = None


class Step(Enum):
    """The next step for an open payment."""

    WAIT = auto()
    RECORD_PROCESSING = auto()
    """Record that the provider is processing the charge."""
    CONFIRM = auto()
    CLOSE = auto()
    """Record the failure; the intent is cancelled next."""
    CANCEL_INTENT = auto()
    FAIL = auto()
    COMPLETE = auto()
    REJECT_CAPTURE = auto()
    """Record that another amount was captured than the order costs; it is refunded, and the payment has failed."""


def next_step(payment: Payment, intent: Intent) -> Step:
    """Returns the step that brings an open payment in line with its intent.

    The payment follows the intent, never the reverse.
    """
    if intent.state is IntentState.SUCCEEDED:
        return Step.COMPLETE if intent.received == payment.amount else Step.REJECT_CAPTURE
    if intent.state is IntentState.CANCELED:
        return Step.FAIL
    if payment.is_closing:
        return Step.CANCEL_INTENT
    if payment.status is PaymentStatus.PENDING:
        return Step.RECORD_PROCESSING if intent.state is IntentState.PROCESSING else Step.WAIT
    if intent.state is IntentState.AWAITING_CONFIRMATION:
        return Step.CONFIRM if intent.failure is None and payment.method is not None else Step.CLOSE
    return Step.WAIT


def failure_of(payment: Payment, intent: Intent) -> Failure:
    """Returns why a payment fails: the failure recorded first, or else the intent's.

    An intent that was canceled with neither was canceled at the provider, by hand or for its age.
    """
    return payment.failure or intent.failure or Failure(FailureCode.CANCELLED, "by_provider")
