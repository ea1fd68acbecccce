"""A circuit breaker: a target that fails repeatedly gets no requests during a cooldown, and then a single probe."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

_BUCKETS = 10


class CircuitState(IntEnum):
    """The numbers are the values of the metric."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a circuit opens, and for how long. It opens if failures reach both `min_failures` and `failure_ratio`."""

    min_failures: int = 5
    failure_ratio: float = 0.5
    """The share of all attempts in the window."""
    window_seconds: float = 10.0
    cooldown_seconds: float = 1.0
    """How long an open circuit admits nothing."""
    max_cooldown_seconds: float | None = None
    """The cooldown doubles with each failed probe, up to this; None: it stays the same."""


class CircuitBreaker:
    """Decides whether an attempt may be made.

    Call `admit` before each attempt, and report its result to the `Attempt`.
    """

    def __init__(
        self, policy: BreakerPolicy, clock: Callable[[], float], jitter: Callable[[], float] = lambda: 1.0
    ) -> None:
        """`clock` returns seconds, and never goes back. `jitter` returns the share of a cooldown that is waited."""
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._cooldown = policy.cooldown_seconds
        self._state = CircuitState.CLOSED
        self._epoch = 0
        self._cooldown_ends_at = float("-inf")
        self._window = _SlidingWindow(policy.window_seconds)

    @property
    def state(self) -> CircuitState:
        return self._state

    @property
    def remaining_cooldown(self) -> float:
        """Seconds until an attempt may be admitted again."""
        return max(0.0, self._cooldown_ends_at - self._clock())

    def admit(self) -> "Attempt | None":
        """Returns an attempt, or None while the circuit is open or a probe is running."""
        if self._state is CircuitState.OPEN and self.remaining_cooldown == 0.0:
            self._change_state(CircuitState.HALF_OPEN)
            return Attempt(self, self._epoch)
        return Attempt(self, self._epoch) if self._state is CircuitState.CLOSED else None

    def record(self, epoch: int, succeeded: bool | None) -> None:
        """Records the result of an attempt that was admitted in `epoch`; None: it was abandoned.

        Results of attempts that were admitted before the last change of state are ignored.
        """
        if epoch != self._epoch:
            return
        if self._state is CircuitState.HALF_OPEN:
            self._record_probe(succeeded)
        elif succeeded is not None:
            self._window.add(self._clock(), succeeded)
            if not succeeded and self._is_threshold_reached():
                self._cooldown = self._policy.cooldown_seconds
                self._open(self._cooldown)

    def _record_probe(self, succeeded: bool | None) -> None:
        if succeeded:
            self._window = _SlidingWindow(self._policy.window_seconds)
            self._change_state(CircuitState.CLOSED)
        elif succeeded is None:
            self._open(0.0)
        else:
            self._cooldown = min(2 * self._cooldown, self._policy.max_cooldown_seconds or self._cooldown)
            self._open(self._cooldown)

    def _is_threshold_reached(self) -> bool:
        succeeded, failed = self._window.counts(self._clock())
        return failed >= self._policy.min_failures and failed >= self._policy.failure_ratio * (succeeded + failed)

    def _open(self, cooldown: float) -> None:
        self._cooldown_ends_at = self._clock() + cooldown * self._jitter()
        self._change_state(CircuitState.OPEN)

    def _change_state(self, state: CircuitState) -> None:
        self._state = state
        self._epoch += 1


class Attempt:
    """One admitted attempt. Only the first result that is reported counts."""

    __slots__ = ("_breaker", "_epoch", "_is_reported")

    def __init__(self, breaker: CircuitBreaker, epoch: int) -> None:
        self._breaker = breaker
        self._epoch = epoch
        self._is_reported = False

    def succeeded(self) -> None:
        self._report(True)

    def failed(self) -> None:
        self._report(False)

    def abandoned(self) -> None:
        """Reports that the attempt ended without showing whether its target works."""
        self._report(None)

    def _report(self, succeeded: bool | None) -> None:
        if not self._is_reported:
            self._is_reported = True
            self._breaker.record(self._epoch, succeeded)


class _SlidingWindow:
    """Counts the successes and failures of the last `seconds`, in buckets of a tenth of it."""

    def __init__(self, seconds: float) -> None:
        self._bucket_seconds = seconds / _BUCKETS
        self._buckets = [(-1, 0, 0)] * (_BUCKETS + 1)

    def add(self, now: float, succeeded: bool) -> None:
        number = int(now / self._bucket_seconds)
        index = number % len(self._buckets)
        stored_number, successes, failures = self._buckets[index]
        if stored_number != number:
            successes = failures = 0
        self._buckets[index] = (number, successes + succeeded, failures + (not succeeded))

    def counts(self, now: float) -> tuple[int, int]:
        first = int(now / self._bucket_seconds) - _BUCKETS
        recent = [(successes, failures) for number, successes, failures in self._buckets if number >= max(first, 0)]
        return sum(successes for successes, _ in recent), sum(failures for _, failures in recent)
