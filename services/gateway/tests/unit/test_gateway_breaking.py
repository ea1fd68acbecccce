from gateway_service.domain.breaking import Attempt, Breaker, Rule, State

RULE = Rule(failures=3, share=0.5, window=10.0, rest=2.0)


class Bench:
    """A breaker, and a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.breaker = Breaker(RULE, lambda: self.now)

    def admit(self) -> Attempt:
        attempt = self.breaker.admit()
        assert attempt is not None
        return attempt

    def state(self) -> State:
        return self.breaker.state

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.admit().failed()

    def succeed(self, times: int = 1) -> None:
        for _ in range(times):
            self.admit().succeeded()


def test_it_opens_after_so_many_failures_and_not_before() -> None:
    bench = Bench()
    bench.fail(2)
    assert bench.state() is State.CLOSED
    bench.fail()
    assert bench.state() is State.OPEN
    assert bench.breaker.admit() is None
    assert bench.breaker.rest == 2.0


def test_few_failures_among_many_successes_do_not_open_it() -> None:
    bench = Bench()
    bench.succeed(4)
    bench.fail(3)
    assert bench.state() is State.CLOSED
    bench.fail()
    assert bench.state() is State.OPEN


def test_failures_are_forgotten_in_time() -> None:
    bench = Bench()
    bench.fail(2)
    bench.now += 11.1
    bench.fail(2)
    assert bench.state() is State.CLOSED
    bench.fail()
    assert bench.state() is State.OPEN


def test_one_request_tries_whether_all_is_well_again() -> None:
    bench = Bench()
    bench.fail(3)
    bench.now += 1.9
    assert bench.breaker.admit() is None
    bench.now += 0.1
    trial = bench.admit()
    assert bench.state() is State.HALF_OPEN
    assert bench.breaker.admit() is None
    trial.succeeded()
    assert bench.state() is State.CLOSED
    bench.fail(2)
    assert bench.state() is State.CLOSED


def test_a_trial_that_fails_opens_it_for_another_rest() -> None:
    bench = Bench()
    bench.fail(3)
    bench.now += 2.0
    bench.admit().failed()
    assert bench.state() is State.OPEN
    assert bench.breaker.rest == 2.0
    bench.now += 2.0
    bench.succeed()
    assert bench.state() is State.CLOSED


def test_a_trial_that_shows_nothing_leaves_the_next_one_to_try() -> None:
    bench = Bench()
    bench.fail(3)
    bench.now += 2.0
    bench.admit().abandoned()
    bench.succeed()
    assert bench.state() is State.CLOSED


def test_news_from_before_is_no_news() -> None:
    bench = Bench()
    early, earlier = bench.admit(), bench.admit()
    bench.fail(3)
    early.succeeded()
    assert bench.state() is State.OPEN
    bench.now += 2.0
    trial = bench.admit()
    earlier.failed()
    assert bench.state() is State.HALF_OPEN
    trial.succeeded()
    assert bench.state() is State.CLOSED


def test_an_attempt_tells_once() -> None:
    bench = Bench()
    attempt = bench.admit()
    attempt.succeeded()
    for _ in range(9):
        attempt.failed()
    attempt.abandoned()
    assert bench.state() is State.CLOSED
