"""The heap is exempt from garbage collection; an outage postpones loops briefly, and cancelling always ends them."""

import asyncio
import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from chassis.errors import DatabaseUnavailable
from chassis.runtime import process
from chassis.runtime.process import Program, Service, cancel_all, repeat_every
from chassis.settings import ServiceSettings


@pytest.fixture
def _restored_collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("_restored_collector")
async def test_the_objects_of_the_startup_are_frozen_before_a_service_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: Any = [[] for _ in range(1000)]
    frozen: list[int] = []

    async def build(_: ServiceSettings) -> Service:
        return Service(http=made, ready=made)

    async def run(*_: object) -> None:
        frozen.append(gc.get_freeze_count())

    monkeypatch.setattr(process, "run", run)
    settings: Any = SimpleNamespace(metrics_port=0)
    await Program("sample", ServiceSettings, build)._serve(settings, frozenset())

    assert frozen[0] > len(made)


async def test_a_daily_action_is_retried_soon_after_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_OUTAGE_RETRY_SECONDS", 0.0)
    attempts, done = 0, asyncio.Event()

    async def prune() -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise DatabaseUnavailable("unavailable")
        done.set()

    pruning = asyncio.ensure_future(repeat_every(86_400.0, prune)())

    async with asyncio.timeout(30):
        await done.wait()
    pruning.cancel()
    assert attempts == 3


async def test_a_task_that_swallows_its_first_cancellation_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_CANCEL_INTERVAL_SECONDS", 0.01)
    began, swallowed = asyncio.Event(), 0

    async def consume() -> None:
        nonlocal swallowed
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed += 1
        await asyncio.Event().wait()

    consuming = asyncio.create_task(consume())
    await began.wait()

    async with asyncio.timeout(30):
        await cancel_all(consuming)

    assert (swallowed, consuming.cancelled()) == (1, True)
