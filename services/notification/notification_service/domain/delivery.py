"""What becomes of a notification after a try to send it. Pure.

A message whose hand-over broke off between its last byte and the carrier's answer may have been taken. Not to send it again would
lose mail, to go on would send it for ever: it is tried once more, and if that breaks off at the same place it is left to an
admin. So a message goes out at most twice, and both carry the same Message-ID.

A carrier that is away, or turns us away whatever we bring, says nothing about the message: such a try is excused and does not
count. Only its age ends the waiting of a message that nobody has looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from notification_service.domain.notifications import Reason, Status

MAX_UNKNOWN = 2


class Result(StrEnum):
    ACCEPTED = "accepted"
    TRANSIENT = "transient"
    PERMANENT = "permanent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a carrier took a message. `error` is a class like `smtp_451`, never the carrier's own words: they quote addresses."""

    result: Result
    error: str | None = None
    provider_id: str | None = None
    is_excused: bool = False


ACCEPTED = Outcome(Result.ACCEPTED)


def away(error: str) -> Outcome:
    """The carrier was not there, or would have taken no message from us."""
    return Outcome(Result.TRANSIENT, error, is_excused=True)


@dataclass(frozen=True, slots=True)
class Tries:
    """The tries of this round so far, those without a known outcome included."""

    begun: int = 0
    unknown: int = 0
    excused: int = 0

    @property
    def counted(self) -> int:
        return self.begun - self.excused


@dataclass(frozen=True, slots=True)
class Patience:
    """How often (`attempts` that count) and how long a message is tried."""

    attempts: int
    base: timedelta
    longest: timedelta
    give_up_after: timedelta

    def pause(self, begun: int, jitter: float) -> timedelta:
        """Doubles with each try up to `longest`; `jitter` from 0 to 1 spreads it over the upper half."""
        return min(self.longest, self.base * (1 << min(begun - 1, 30))) * (0.5 + jitter / 2)

    def wait(self, age: timedelta, jitter: float) -> timedelta:
        """Until a neighbour is asked again: the longer it is away, the less often."""
        return min(max(age / 10, timedelta(seconds=0.5)), timedelta(minutes=1)) * (0.5 + jitter / 2)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state a notification goes to; pending ones are due again at `due_at`."""

    status: Status
    reason: str | None = None
    due_at: datetime | None = None


def hopeless(tries: Tries, age: timedelta, patience: Patience) -> Verdict | None:
    """Why a notification that is due is not tried (again): what a process that died left behind counts too."""
    if tries.unknown >= MAX_UNKNOWN:
        return Verdict(Status.FAILED, Reason.OUTCOME_UNKNOWN)
    if age > patience.give_up_after:
        return Verdict(Status.FAILED, Reason.TOO_OLD)
    return None


def judge(outcome: Outcome, tries: Tries, patience: Patience, at: datetime, jitter: Callable[[], float]) -> Verdict:
    """`tries` includes the one that ended with `outcome`, as unknown or excused only if that it is."""
    if outcome.result is Result.ACCEPTED:
        return Verdict(Status.SENT)
    if tries.unknown >= MAX_UNKNOWN:
        return Verdict(Status.FAILED, Reason.OUTCOME_UNKNOWN)
    is_spent = tries.counted >= patience.attempts and not outcome.is_excused
    if outcome.result is Result.PERMANENT or is_spent:
        return Verdict(Status.FAILED, outcome.error)
    return Verdict(Status.PENDING, None, at + patience.pause(tries.begun, jitter()))
