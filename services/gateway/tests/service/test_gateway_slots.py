"""Requests wait for a free slot: all of them in a burst, few of them in an overload, and payments always and first."""

import asyncio

import pytest
from gateway_harness import Clock
from gateway_service.domain.routes import Priority
from gateway_service.service import slots
from gateway_service.service.slots import Slots

_LONG_SECONDS = 30.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def busy(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Slots:
    """A single slot, which is taken. A request waits for it for longer than a test takes."""
    monkeypatch.setattr(slots, "_SLOT_TIMEOUT_SECONDS", _LONG_SECONDS)
    taken = Slots(1, clock)
    assert await taken.acquire(Priority.READ)
    return taken


async def _acquires(busy: Slots) -> bool:
    """Returns whether a request gets a slot. It raises TimeoutError if the request waits for one instead."""
    async with asyncio.timeout(10):
        return await busy.acquire(Priority.READ)


async def _begin_waiting(busy: Slots, priority: Priority = Priority.READ) -> "asyncio.Task[bool]":
    waiting = asyncio.create_task(busy.acquire(priority))
    await asyncio.sleep(0)  # it has begun to wait
    return waiting


async def test_while_a_queue_is_never_served_to_its_end_requests_are_refused_at_once(busy: Slots, clock: Clock) -> None:
    first = await _begin_waiting(busy)
    clock.now += 0.9
    second = await _begin_waiting(busy)
    clock.now += 0.2

    assert not await _acquires(busy), "requests have been waiting for more than a second"
    assert not first.done()
    assert not second.done()
    busy.release()
    busy.release()
    assert await first
    assert await second


async def test_the_first_to_wait_for_slow_requests_is_in_no_overload(busy: Slots, clock: Clock) -> None:
    clock.now += 60

    waiting = await _begin_waiting(busy)
    busy.release()

    assert await waiting


async def test_an_overload_ends_with_its_queue(busy: Slots, clock: Clock) -> None:
    first = await _begin_waiting(busy)
    clock.now += 2
    assert not await _acquires(busy)
    busy.release()
    assert await first

    waiting = await _begin_waiting(busy)
    busy.release()

    assert await waiting, "the queue was empty"


async def test_requests_that_waited_in_vain_do_not_end_an_overload(
    busy: Slots, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "_SLOT_TIMEOUT_SECONDS", 0.0)
    assert not await _acquires(busy)
    clock.now += 2

    assert busy.is_overloaded


async def test_the_further_a_purchase_is_the_sooner_it_gets_a_slot(busy: Slots) -> None:
    served: list[Priority] = []

    async def take(priority: Priority) -> None:
        assert await busy.acquire(priority)
        served.append(priority)
        busy.release()

    async with asyncio.TaskGroup() as group:
        for priority in reversed(Priority):
            group.create_task(take(priority))
        await asyncio.sleep(0)  # all wait
        busy.release()

    assert served == [Priority.PAYMENT, Priority.ORDER, Priority.WRITE, Priority.READ]


async def test_in_an_overload_few_wait_but_no_payment_is_refused(busy: Slots, clock: Clock) -> None:
    waiting = [await _begin_waiting(busy)]
    clock.now += 2

    assert not busy.may_wait(Priority.READ), "one waits for the one slot"
    waiting.append(await _begin_waiting(busy, Priority.ORDER))
    assert not busy.may_wait(Priority.ORDER)
    assert not busy.may_wait(Priority.WRITE)
    waiting += [await _begin_waiting(busy, Priority.PAYMENT) for _ in range(20)]

    for _ in waiting:
        busy.release()
    assert all(await asyncio.gather(*waiting))


@pytest.mark.parametrize("has_its_turn", [True, False])
async def test_a_request_that_is_cancelled_while_it_waits_leaves_the_slot_to_others(
    busy: Slots, has_its_turn: bool
) -> None:
    leaving = await _begin_waiting(busy)
    if has_its_turn:
        busy.release()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    if not has_its_turn:
        busy.release()

    assert await _acquires(busy)
