"""Requests wait for a free slot: for long in a burst, briefly in an overload."""

import asyncio

import pytest
from gateway_harness import Clock
from gateway_service.service import slots
from gateway_service.service.slots import Slots

_NEVER = 300.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def busy(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Slots:
    """A single slot, which is taken. A request waits for it without end, and in an overload not at all."""
    monkeypatch.setattr(slots, "_SLOT_TIMEOUT_SECONDS", _NEVER)
    monkeypatch.setattr(slots, "_OVERLOAD_TIMEOUT_SECONDS", 0.0)
    taken = Slots(1, clock)
    assert await taken.acquire()
    return taken


async def _begin_waiting(busy: Slots) -> "asyncio.Task[bool]":
    waiting = asyncio.create_task(busy.acquire())
    await asyncio.sleep(0)  # it has begun to wait
    return waiting


async def test_while_a_queue_is_never_empty_requests_are_refused_soon(busy: Slots, clock: Clock) -> None:
    first = await _begin_waiting(busy)
    clock.now += 0.9
    second = await _begin_waiting(busy)
    clock.now += 0.2

    assert not await busy.acquire(), "requests have been waiting for more than a second"
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
    assert not await busy.acquire()
    busy.release()
    assert await first

    waiting = await _begin_waiting(busy)
    busy.release()

    assert await waiting, "the queue was empty"
