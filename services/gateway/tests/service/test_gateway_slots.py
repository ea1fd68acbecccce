"""Requests wait for a free slot: for long in a burst, briefly in an overload."""

import asyncio

import pytest
from gateway_harness import Clock
from gateway_service.service import slots
from gateway_service.service.slots import Slots

_NEVER = 300.0


async def _begin_waiting(busy: Slots) -> "asyncio.Task[bool]":
    waiting = asyncio.create_task(busy.acquire())
    await asyncio.sleep(0)  # it has begun to wait
    return waiting


async def test_while_a_queue_is_never_empty_requests_are_refused_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_SLOT_TIMEOUT_SECONDS", _NEVER)
    monkeypatch.setattr(slots, "_OVERLOAD_TIMEOUT_SECONDS", 0.01)
    clock = Clock()
    busy = Slots(1, clock)
    assert await busy.acquire()
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


async def test_the_first_to_wait_for_slow_requests_is_in_no_overload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_SLOT_TIMEOUT_SECONDS", _NEVER)
    monkeypatch.setattr(slots, "_OVERLOAD_TIMEOUT_SECONDS", 0.0)
    clock = Clock()
    busy = Slots(1, clock)
    assert await busy.acquire()
    clock.now += 60

    waiting = await _begin_waiting(busy)
    busy.release()

    assert await waiting


async def test_an_overload_ends_with_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_SLOT_TIMEOUT_SECONDS", _NEVER)
    monkeypatch.setattr(slots, "_OVERLOAD_TIMEOUT_SECONDS", 0.0)
    clock = Clock()
    busy = Slots(1, clock)
    assert await busy.acquire()
    first = await _begin_waiting(busy)
    clock.now += 2
    assert not await busy.acquire()
    busy.release()
    assert await first

    waiting = await _begin_waiting(busy)
    busy.release()

    assert await waiting, "the queue was empty"
