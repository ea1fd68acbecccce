"""Background loops: an outage postpones them briefly, and cancelling always ends them."""

import asyncio

import pytest
from chassis.errors import DatabaseUnavailable
from chassis.runtime import process
from chassis.runtime.process import cancel_all, repeat_every


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
