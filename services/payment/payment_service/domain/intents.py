"""A payment as its provider sees it, and what to do about the difference. Pure."""

from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto

from chassis.types.money import Money

from payment_service.domain.payments import Failure, FailureCode, Payment, PaymentStatus


class IntentState(StrEnum):
    AWAITING = "awaiting"
    """Not confirmed, or declined: nothing is charged, and it can be confirmed."""
    ACTION = "action"
    """The customer must do something first, such as 3-D Secure."""
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class NextAction:
    """What the customer must do; `redirect_url` where it is done on another page."""

    type: str
    redirect_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Intent:
    """`received` is what was captured. `failure` says why the last confirmation was in vain."""

    id: str
    state: IntentState
    received: Money | None = None
    failure: Failure | None = None
    client_secret: str | None = field(default=None, repr=False)
    next_action: NextAction | None = None


class Step(Enum):
    WAIT = auto()
    PROCESS = auto()
    """Record that money is under way."""
    CONFIRM = auto()
    CLOSE = auto()
    """Record the failure; the intent is cancelled next."""
    CANCEL = auto()
    FAIL = auto()
    COMPLETE = auto()
    INVESTIGATE = auto()
    """The provider has captured something else than the order costs: for people to look at."""


def next_step(payment: Payment, intent: Intent) -> Step:
    """What brings an open payment and its intent together. The intent is what counts: states follow it, never the other way."""
    if intent.state is IntentState.SUCCEEDED:
        return Step.COMPLETE if intent.received == payment.amount else Step.INVESTIGATE
    if intent.state is IntentState.CANCELED:
        return Step.FAIL
    if payment.is_closing:
        return Step.CANCEL
    if payment.status is PaymentStatus.PENDING:
        return Step.PROCESS if intent.state is IntentState.PROCESSING else Step.WAIT
    if intent.state is IntentState.AWAITING:
        return Step.CONFIRM if intent.failure is None and payment.method is not None else Step.CLOSE
    return Step.WAIT


def why_failed(payment: Payment, intent: Intent) -> Failure:
    """An intent that nobody here wanted dead was cancelled at the provider, by hand or for its age."""
    return payment.failure or intent.failure or Failure(FailureCode.CANCELLED, "by_provider")
