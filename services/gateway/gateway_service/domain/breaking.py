"""Circuit breaking: who fails again and again is left alone for a moment, and then tried with one request. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

_SLOTS = 10


class State(IntEnum):
    """Numbered as the metric has them."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """When a breaker opens, and for how long."""

    failures: int = 5
    """So many of `window` seconds open it, ..."""
    share: float = 0.5
    """... if they are at least this share of all there was."""
    window: float = 10.0
    rest: float = 1.0
    """Seconds until one request tries again."""


class Breaker:
    """Ask `admit` before each attempt, and tell the attempt how it went."""

    def __init__(self, rule: Rule, clock: Callable[[], float]) -> None:
        """`clock` counts seconds and never goes back."""
        self._rule = rule
        self._clock = clock
        self._state = State.CLOSED
        self._epoch = 0
        self._opens_at = float("-inf")
        self._counts = _Counts(rule.window)

    @property
    def state(self) -> State:
        return self._state

    @property
    def rest(self) -> float:
        """Seconds until an attempt may be admitted again."""
        return max(0.0, self._opens_at - self._clock())

    def admit(self) -> "Attempt | None":
        """None while open, and while another attempt is trying."""
        if self._state is State.OPEN and self.rest == 0.0:
            self._become(State.HALF_OPEN)
            return Attempt(self, self._epoch)
        return Attempt(self, self._epoch) if self._state is State.CLOSED else None

    def settle(self, epoch: int, succeeded: bool | None) -> None:
        """What an attempt of an earlier state has to tell is no news. None: it showed nothing."""
        if epoch != self._epoch:
            return
        if self._state is State.HALF_OPEN:
            self._settle_trial(succeeded)
        elif succeeded is not None:
            self._counts.add(self._clock(), succeeded)
            if not succeeded and self._has_failed_too_often():
                self._open(self._rule.rest)

    def _settle_trial(self, succeeded: bool | None) -> None:
        if succeeded:
            self._counts = _Counts(self._rule.window)
            self._become(State.CLOSED)
        else:
            self._open(0.0 if succeeded is None else self._rule.rest)

    def _has_failed_too_often(self) -> bool:
        succeeded, failed = self._counts.within(self._clock())
        return failed >= self._rule.failures and failed >= self._rule.share * (succeeded + failed)

    def _open(self, rest: float) -> None:
        self._opens_at = self._clock() + rest
        self._become(State.OPEN)

    def _become(self, state: State) -> None:
        self._state = state
        self._epoch += 1


class Attempt:
    """One admitted attempt. The first that it tells counts."""

    __slots__ = ("_breaker", "_epoch", "_is_settled")

    def __init__(self, breaker: Breaker, epoch: int) -> None:
        self._breaker = breaker
        self._epoch = epoch
        self._is_settled = False

    def succeeded(self) -> None:
        self._settle(True)

    def failed(self) -> None:
        self._settle(False)

    def abandoned(self) -> None:
        """It ended without showing anything of whom it was meant for."""
        self._settle(None)

    def _settle(self, succeeded: bool | None) -> None:
        if not self._is_settled:
            self._is_settled = True
            self._breaker.settle(self._epoch, succeeded)


class _Counts:
    """How many attempts of the last `window` seconds succeeded and failed, to a tenth of it."""

    def __init__(self, window: float) -> None:
        self._length = window / _SLOTS
        self._slots = [(-1, 0, 0)] * (_SLOTS + 1)

    def add(self, now: float, succeeded: bool) -> None:
        number = int(now / self._length)
        index = number % len(self._slots)
        then, good, bad = self._slots[index]
        if then != number:
            good = bad = 0
        self._slots[index] = (number, good + succeeded, bad + (not succeeded))

    def within(self, now: float) -> tuple[int, int]:
        first = int(now / self._length) - _SLOTS
        recent = [(good, bad) for number, good, bad in self._slots if number >= max(first, 0)]
        return sum(good for good, _ in recent), sum(bad for _, bad in recent)
