"""Runs coroutines beside each other, and stops them on a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


async def first_of(*ones: Coroutine[None, None, None] | asyncio.Task[Any]) -> None:
    """Runs all until one ends, then cancels the others. Raises the error of the one that ended."""
    tasks = [asyncio.ensure_future(one) for one in ones]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def set_on_signal(stop: asyncio.Event) -> None:
    """Sets an event on SIGINT and SIGTERM, in place of the handlers that are installed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
