import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY

from platform_operator.errors import NAMESPACE_TERMINATING, ApiError, LeadershipLostError
from platform_operator.workqueue import MAX_CONFLICTS, Requeue, WorkQueue, run_worker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def queue(clock: Clock | None = None) -> WorkQueue[str]:
    return WorkQueue(clock or Clock(), jitter=lambda: 0.0)


@asynccontextmanager
async def working(waiting: WorkQueue[str], reconcile: Callable[[str], Awaitable[Requeue]]) -> AsyncIterator[None]:
    """Runs a worker until the context ends."""
    worker = asyncio.create_task(run_worker(waiting, reconcile))
    try:
        yield
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


def records_of(caplog: pytest.LogCaptureFixture, key: str) -> list[logging.LogRecord]:
    """Returns what was logged about a key."""
    return [one for one in caplog.records if one.__dict__.get("key") == key]


async def get(waiting: WorkQueue[str]) -> str:
    return await asyncio.wait_for(waiting.get(), 0.1)


async def test_a_key_is_queued_once() -> None:
    waiting = queue()
    for key in "aab":
        waiting.add(key)
    assert [await get(waiting), await get(waiting)] == ["a", "b"]
    assert waiting.depth() == 0


async def test_a_key_added_while_it_is_processed_is_processed_again_afterwards() -> None:
    waiting = queue()
    waiting.add("a")
    await get(waiting)
    waiting.add("a")
    with pytest.raises(TimeoutError):
        await get(waiting)
    waiting.done("a")
    assert await get(waiting) == "a"


async def test_many_changes_in_a_row_share_a_turn_and_the_first_one_has_it_at_once() -> None:
    clock = Clock()
    waiting = queue(clock)
    waiting.add_spaced("a")
    assert await get(waiting) == "a"
    for now in (0.1, 0.5, 0.9):
        clock.now = now
        waiting.add_spaced("a")
    waiting.done("a")
    with pytest.raises(TimeoutError):
        await get(waiting)
    clock.now = waiting.spacing
    assert await get(waiting) == "a"
    waiting.done("a")
    clock.now = 60.0
    with pytest.raises(TimeoutError):
        await get(waiting)
    waiting.add_spaced("a")
    assert await get(waiting) == "a"


async def test_what_is_not_spaced_does_not_wait_for_what_is() -> None:
    waiting = queue()
    waiting.add("a")
    await get(waiting)
    waiting.done("a")
    waiting.add_spaced("a")
    waiting.add("a")
    assert await get(waiting) == "a"


async def test_of_several_delays_the_earliest_counts() -> None:
    clock = Clock()
    waiting = queue(clock)
    for delay in (30.0, 10.0, 20.0):
        waiting.add_after("a", delay)
    clock.now = 10.0
    assert await get(waiting) == "a"
    waiting.done("a")
    clock.now = 60.0
    with pytest.raises(TimeoutError):
        await get(waiting)


def test_failures_are_retried_with_bounded_exponential_backoff() -> None:
    waiting = queue()
    delays = [waiting.add_rate_limited("a") for _ in range(12)]
    assert delays[:4] == [0.25, 0.5, 1.0, 2.0]
    assert delays[-1] == 60.0
    waiting.forget("a")
    assert waiting.add_rate_limited("a") == 0.25


def test_a_retry_waits_as_long_as_the_server_asks_up_to_the_longest_delay() -> None:
    waiting = queue()
    assert [waiting.add_rate_limited(key, seconds) for key, seconds in (("a", 7.0), ("b", 3600.0))] == [7.0, 60.0]


async def test_a_failing_key_does_not_block_the_others() -> None:
    waiting, seen = queue(), []

    async def reconcile(key: str) -> Requeue:
        seen.append(key)
        if key == "bad":
            raise ValueError(key)
        return Requeue.never()

    waiting.add("bad")
    waiting.add("good")
    async with working(waiting, reconcile):
        await asyncio.sleep(0.01)
    assert seen == ["bad", "good"]


async def test_a_worker_stops_when_leadership_is_lost() -> None:
    waiting = queue()

    async def reconcile(_: str) -> Requeue:
        raise LeadershipLostError

    waiting.add("a")
    with pytest.raises(LeadershipLostError):
        await asyncio.wait_for(run_worker(waiting, reconcile), 1)


async def test_a_namespace_that_is_being_deleted_is_one_line_and_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    waiting, failures = queue(clock), REGISTRY.get_sample_value(FAILURES)
    passes = asyncio.Queue[str]()

    async def reconcile(key: str) -> Requeue:
        passes.put_nowait(key)
        raise ApiError(403, NAMESPACE_TERMINATING, "because it is being terminated")

    waiting.add("a")
    async with working(waiting, reconcile):
        await passes.get()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(passes.get(), 0.05)  # no pass comes before its time
        clock.now = 61.0
        waiting.add("b")
        assert {await passes.get(), await passes.get()} == {"a", "b"}
    lines = [one.message for one in records_of(caplog, "a")]
    assert lines == ["nothing is created, since the namespace is being deleted"]
    assert not any(one.exc_info for one in caplog.records)
    assert REGISTRY.get_sample_value(FAILURES) == failures


FAILURES = "ecommerce_operator_reconcile_failures_total"


async def test_a_conflict_is_no_failure_until_it_comes_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock, passes = Clock(), asyncio.Queue[str]()
    waiting, failures = queue(clock), REGISTRY.get_sample_value(FAILURES)
    assert failures is not None

    async def reconcile(key: str) -> Requeue:
        passes.put_nowait(key)
        raise ApiError(409, "Conflict", "the object has been modified")

    waiting.add("a")
    async with working(waiting, reconcile):
        for _ in range(MAX_CONFLICTS):
            await passes.get()
            clock.now += 60.0
            waiting.add("a")
        await passes.get()
        waiting.add("b")
        await passes.get()
    lines = records_of(caplog, "a")
    assert [one.levelname for one in lines] == ["INFO"] * MAX_CONFLICTS + ["ERROR"]
    assert REGISTRY.get_sample_value(FAILURES) == failures + 1


@pytest.mark.parametrize(
    "before", [[503] * MAX_CONFLICTS, [409] * MAX_CONFLICTS + [503], [409] * MAX_CONFLICTS + [200]]
)
async def test_only_conflicts_in_a_row_count(caplog: pytest.LogCaptureFixture, before: list[int]) -> None:
    caplog.set_level("INFO")
    passes, answers, waiting = asyncio.Queue[str](), iter([*before, 409]), queue()

    async def reconcile(key: str) -> Requeue:
        passes.put_nowait(key)
        status = next(answers) if key == "a" else 200
        if status != 200:
            raise ApiError(status, "Refused", f"status {status}")
        return Requeue.never()

    async with working(waiting, reconcile):
        for _ in range(len(before) + 1):
            waiting.add("a")
            await passes.get()
        waiting.add("b")
        await passes.get()
    last = records_of(caplog, "a")[-1]
    assert (last.levelname, last.getMessage()) == ("INFO", "a pass is repeated: status 409")
