from dataclasses import replace

from chassis.types.circuit_breaker import Attempt, BreakerPolicy, CircuitBreaker, CircuitState

POLICY = BreakerPolicy(min_failures=3, failure_ratio=0.5, window_seconds=10.0, cooldown_seconds=2.0)


class Harness:
    """A circuit breaker with a clock and a jitter that the test sets."""

    def __init__(self, policy: BreakerPolicy = POLICY) -> None:
        self.now = 1000.0
        self.jitter = 1.0
        self.breaker = CircuitBreaker(policy, lambda: self.now, lambda: self.jitter)

    def admit(self) -> Attempt:
        attempt = self.breaker.admit()
        assert attempt is not None
        return attempt

    def state(self) -> CircuitState:
        return self.breaker.state

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.admit().failed()

    def succeed(self, times: int = 1) -> None:
        for _ in range(times):
            self.admit().succeeded()


def test_the_circuit_opens_at_the_minimum_of_failures() -> None:
    harness = Harness()
    harness.fail(2)
    assert harness.state() is CircuitState.CLOSED
    harness.fail()
    assert harness.state() is CircuitState.OPEN
    assert harness.breaker.admit() is None
    assert harness.breaker.remaining_cooldown == 2.0


def test_the_circuit_stays_closed_below_the_failure_ratio() -> None:
    harness = Harness()
    harness.succeed(4)
    harness.fail(3)
    assert harness.state() is CircuitState.CLOSED
    harness.fail()
    assert harness.state() is CircuitState.OPEN


def test_failures_outside_the_window_do_not_count() -> None:
    harness = Harness()
    harness.fail(2)
    harness.now += 11.1
    harness.fail(2)
    assert harness.state() is CircuitState.CLOSED
    harness.fail()
    assert harness.state() is CircuitState.OPEN


def test_a_successful_probe_closes_the_circuit() -> None:
    harness = Harness()
    harness.fail(3)
    harness.now += 1.9
    assert harness.breaker.admit() is None
    harness.now += 0.1
    probe = harness.admit()
    assert harness.state() is CircuitState.HALF_OPEN
    assert harness.breaker.admit() is None
    probe.succeeded()
    assert harness.state() is CircuitState.CLOSED
    harness.fail(2)
    assert harness.state() is CircuitState.CLOSED


def test_a_failed_probe_opens_the_circuit_for_another_cooldown() -> None:
    harness = Harness()
    harness.fail(3)
    harness.now += 2.0
    harness.admit().failed()
    assert harness.state() is CircuitState.OPEN
    assert harness.breaker.remaining_cooldown == 2.0
    harness.now += 2.0
    harness.succeed()
    assert harness.state() is CircuitState.CLOSED


def test_after_an_abandoned_probe_the_next_request_is_a_probe() -> None:
    harness = Harness()
    harness.fail(3)
    harness.now += 2.0
    harness.admit().abandoned()
    harness.succeed()
    assert harness.state() is CircuitState.CLOSED


def test_results_from_before_the_last_change_of_state_are_ignored() -> None:
    harness = Harness()
    early, earlier = harness.admit(), harness.admit()
    harness.fail(3)
    early.succeeded()
    assert harness.state() is CircuitState.OPEN
    harness.now += 2.0
    probe = harness.admit()
    earlier.failed()
    assert harness.state() is CircuitState.HALF_OPEN
    probe.succeeded()
    assert harness.state() is CircuitState.CLOSED


def test_only_the_first_result_of_an_attempt_counts() -> None:
    harness = Harness()
    attempt = harness.admit()
    attempt.succeeded()
    for _ in range(9):
        attempt.failed()
    attempt.abandoned()
    assert harness.state() is CircuitState.CLOSED


def test_the_cooldown_doubles_with_each_failed_probe_up_to_its_maximum() -> None:
    harness = Harness(replace(POLICY, max_cooldown_seconds=7.0))
    harness.fail(3)
    cooldowns = [harness.breaker.remaining_cooldown]
    for _ in range(3):
        harness.now += cooldowns[-1]
        harness.fail()
        cooldowns.append(harness.breaker.remaining_cooldown)
    assert cooldowns == [2.0, 4.0, 7.0, 7.0]


def test_the_cooldown_is_short_again_after_the_circuit_closed() -> None:
    harness = Harness(replace(POLICY, max_cooldown_seconds=8.0))
    harness.fail(3)
    harness.now += 2.0
    harness.fail()
    harness.now += 4.0
    harness.succeed()
    harness.fail(3)
    assert harness.breaker.remaining_cooldown == 2.0


def test_an_abandoned_probe_does_not_lengthen_the_cooldown() -> None:
    harness = Harness(replace(POLICY, max_cooldown_seconds=8.0))
    harness.fail(3)
    harness.now += 2.0
    harness.admit().abandoned()
    harness.fail()
    assert harness.breaker.remaining_cooldown == 4.0


def test_jitter_shortens_a_cooldown_and_not_the_ones_after_it() -> None:
    harness = Harness(replace(POLICY, max_cooldown_seconds=8.0))
    harness.jitter = 0.5
    harness.fail(3)
    assert harness.breaker.remaining_cooldown == 1.0
    harness.now += 1.0
    harness.jitter = 1.0
    harness.fail()
    assert harness.breaker.remaining_cooldown == 4.0
