"""What a process does now and then."""

import asyncio

import pytest
from chassis.errors import DatabaseUnavailable
from chassis.runtime import process
from chassis.runtime.process import cancel_all, repeat_every


async def test_what_is_done_once_a_day_is_not_put_off_by_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_OUTAGE_RETRY_SECONDS", 0.0)
    tried, done = 0, asyncio.Event()

    async def prune() -> None:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise DatabaseUnavailable("away")
        done.set()

    pruning = asyncio.ensure_future(repeat_every(86_400.0, prune)())

    async with asyncio.timeout(30):
        await done.wait()
    pruning.cancel()
    assert tried == 3


async def test_a_task_that_lost_a_cancellation_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_CANCEL_INTERVAL_SECONDS", 0.01)
    began, lost = asyncio.Event(), 0

    async def consume() -> None:
        nonlocal lost
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost += 1
        await asyncio.Event().wait()

    consuming = asyncio.create_task(consume())
    await began.wait()

    async with asyncio.timeout(30):
        await cancel_all(consuming)

    assert (lost, consuming.cancelled()) == (1, True)
