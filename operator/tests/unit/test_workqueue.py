import asyncio

import pytest

from platform_operator.errors import DeposedError
from platform_operator.workqueue import WorkQueue, work


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def queue(clock: Clock | None = None) -> WorkQueue[str]:
    return WorkQueue(clock or Clock(), jitter=lambda: 0.0)


async def take(waiting: WorkQueue[str]) -> str:
    return await asyncio.wait_for(waiting.take(), 0.1)


async def test_a_key_is_queued_once() -> None:
    waiting = queue()
    for key in "aab":
        waiting.add(key)
    assert [await take(waiting), await take(waiting)] == ["a", "b"]
    assert waiting.depth() == 0


async def test_a_key_being_worked_on_comes_again_and_never_twice_at_a_time() -> None:
    waiting = queue()
    waiting.add("a")
    await take(waiting)
    waiting.add("a")
    with pytest.raises(TimeoutError):
        await take(waiting)
    waiting.done("a")
    assert await take(waiting) == "a"


async def test_of_several_delays_the_earliest_counts() -> None:
    clock = Clock()
    waiting = queue(clock)
    for delay in (30.0, 10.0, 20.0):
        waiting.add_after("a", delay)
    clock.now = 10.0
    assert await take(waiting) == "a"
    waiting.done("a")
    clock.now = 60.0
    with pytest.raises(TimeoutError):
        await take(waiting)


def test_failures_are_retried_ever_more_slowly_up_to_a_bound() -> None:
    waiting = queue()
    delays = [waiting.retry("a") for _ in range(12)]
    assert delays[:4] == [0.25, 0.5, 1.0, 2.0]
    assert delays[-1] == 60.0
    waiting.succeeded("a")
    assert waiting.retry("a") == 0.25


async def test_a_key_that_fails_does_not_hold_up_the_others() -> None:
    waiting, seen = queue(), []

    async def reconcile(key: str) -> None:
        seen.append(key)
        if key == "bad":
            raise ValueError(key)

    waiting.add("bad")
    waiting.add("good")
    worker = asyncio.create_task(work(waiting, reconcile))
    await asyncio.sleep(0.01)
    worker.cancel()
    assert seen == ["bad", "good"]


async def test_a_deposed_leader_stops_working() -> None:
    waiting = queue()

    async def reconcile(_: str) -> None:
        raise DeposedError

    waiting.add("a")
    with pytest.raises(DeposedError):
        await asyncio.wait_for(work(waiting, reconcile), 1)
