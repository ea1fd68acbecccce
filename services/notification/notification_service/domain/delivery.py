"""The rules of delivery: the state of a notification after an attempt to send it, and when the next attempt is due.

If the connection breaks between the last byte of a message and the provider's answer, the provider may have accepted
the message. Never sending it again would lose messages, and sending it until an answer comes would have no end. So it
is sent once more, and if the connection breaks at the same place again, an admin decides. A message is therefore sent
at most twice, and both copies of a mail have the same Message-ID.

A provider that is unavailable, or that refuses every message of ours, says nothing about this message: such an attempt
is excused and does not count. A notification of which no attempt counts fails only because of its age.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from notification_service.domain.notifications import Reason, Status

MAX_UNKNOWN_OUTCOMES = 2


class Outcome(StrEnum):
    """The outcome of an attempt."""

    ACCEPTED = "accepted"
    TRANSIENT = "transient"
    """The provider did not accept the message, and may accept it later."""
    PERMANENT = "permanent"
    """The provider will never accept the message."""
    UNKNOWN = "unknown"
    """The provider may have accepted the message."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """The result of handing a message to a provider.

    `error` is a class like `smtp_451`, never the provider's own text, which may quote addresses. `is_excused`: the
    attempt does not count.
    """

    outcome: Outcome
    error: str | None = None
    provider_id: str | None = None
    is_excused: bool = False


ACCEPTED = SendResult(Outcome.ACCEPTED)


def provider_unavailable(error: str) -> SendResult:
    """Returns the result when the provider was not reached, or would have accepted no message from us."""
    return SendResult(Outcome.TRANSIENT, error, is_excused=True)


@dataclass(frozen=True, slots=True)
class AttemptCounts:
    """How many attempts of the current round have begun so far, those without a known outcome included."""

    begun: int = 0
    unknown: int = 0
    excused: int = 0

    @property
    def counted(self) -> int:
        """The attempts that `RetryPolicy.max_attempts` limits."""
        return self.begun - self.excused


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and for how long the delivery of a notification is attempted."""

    max_attempts: int
    """Excused attempts do not count."""
    base_delay: timedelta
    max_delay: timedelta
    max_age: timedelta
    """The age at which a pending notification fails."""

    def retry_delay(self, begun: int, jitter: float) -> timedelta:
        """Returns the delay after the attempt number `begun`, which doubles with each attempt up to `max_delay`.

        `jitter` from 0 to 1 spreads the delay over its upper half.
        """
        return min(self.max_delay, self.base_delay * (1 << min(begun - 1, 30))) * (0.5 + jitter / 2)

    def deferral_delay(self, age: timedelta, jitter: float) -> timedelta:
        """Returns the delay until an unavailable service is called again for a notification of this age.

        It grows with the age, from half a second to a minute. `jitter` from 0 to 1 spreads it over its upper half.
        """
        return min(max(age / 10, timedelta(seconds=0.5)), timedelta(minutes=1)) * (0.5 + jitter / 2)


@dataclass(frozen=True, slots=True)
class NextState:
    """The state that a notification goes to. A pending one is due again at `due_at`."""

    status: Status
    reason: str | None = None
    due_at: datetime | None = None


def permanent_failure(attempts: AttemptCounts, age: timedelta, policy: RetryPolicy) -> NextState | None:
    """Returns the failed state if a notification that is due must not be sent (again), otherwise None.

    Attempts that a crashed process began count too.
    """
    if attempts.unknown >= MAX_UNKNOWN_OUTCOMES:
        return NextState(Status.FAILED, Reason.OUTCOME_UNKNOWN)
    if age > policy.max_age:
        return NextState(Status.FAILED, Reason.TOO_OLD)
    return None


def state_after_attempt(
    result: SendResult, attempts: AttemptCounts, policy: RetryPolicy, at: datetime, jitter: Callable[[], float]
) -> NextState:
    """Returns the state of a notification after an attempt that ended at `at` with `result`.

    `attempts` includes that attempt, as unknown or excused only if it was that.
    """
    if result.outcome is Outcome.ACCEPTED:
        return NextState(Status.SENT)
    if attempts.unknown >= MAX_UNKNOWN_OUTCOMES:
        return NextState(Status.FAILED, Reason.OUTCOME_UNKNOWN)
    is_exhausted = attempts.counted >= policy.max_attempts and not result.is_excused
    if result.outcome is Outcome.PERMANENT or is_exhausted:
        return NextState(Status.FAILED, result.error)
    return NextState(Status.PENDING, None, at + policy.retry_delay(attempts.begun, jitter()))
