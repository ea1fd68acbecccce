"""The order in which the parts of the operator start and stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from platform_operator.app import _Operator
from platform_operator.errors import ApiError
from platform_operator.settings import Settings


class Parts:
    """An operator whose first list fails, since its custom resource is not served yet.

    Its watches end as soon as they begin.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        anything: Any = self
        parts = (Settings("1"), anything, anything, anything)
        self.operator = _Operator(
            *parts, sleep=lambda seconds: self.pause(seconds), on_cache_filled=lambda: self.steps.append("cache filled")
        )
        monkeypatch.setattr("platform_operator.app.Informers", lambda *_: self)
        monkeypatch.setattr("platform_operator.app.serve", self.serve)

    async def pause(self, seconds: float) -> None:
        self.steps.append(f"pause {seconds:.0f} s")
        for _ in range(10):
            await asyncio.sleep(0)

    async def fill_cache(self) -> None:
        self.steps.append("list")
        if self.steps == ["list"]:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")

    async def resync_platforms(self, interval: float) -> None:
        self.steps.append(f"resync every {interval:.0f} s")
        await asyncio.Event().wait()

    async def resync_children(self, _: float) -> None:
        await asyncio.Event().wait()

    async def run(self, stop: asyncio.Event) -> None:
        self.steps.append("watch")

    async def serve(self, *_: object) -> Parts:
        return self

    async def cleanup(self) -> None:
        self.steps.append("stop")

    async def wait_for_older(self) -> None:
        pass

    async def acquire(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture
async def parts(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parts]:
    yield Parts(monkeypatch)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().remove_signal_handler(number)


async def test_watches_start_when_the_custom_resource_is_served_and_a_resync_follows(parts: Parts) -> None:
    async with asyncio.timeout(30):
        await parts.operator.run()
    assert parts.steps == ["list", "pause 5 s", "list", "cache filled", "resync every 600 s", "watch", "stop"]


async def test_a_signal_ends_an_operator_that_waits_for_the_custom_resource(parts: Parts) -> None:
    async def pause(_: float) -> None:
        signal.raise_signal(signal.SIGTERM)
        await asyncio.Event().wait()

    parts.pause = pause  # type: ignore[method-assign, assignment]
    async with asyncio.timeout(30):
        await parts.operator.run()
    assert parts.steps == ["list", "stop"]
