"""Waiting for effects that arrive later."""

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(check: Callable[[], Awaitable[bool]], within: float = 30.0) -> None:
    """Waits until `check` holds; fails after `within` seconds. For effects that arrive as events."""
    async with asyncio.timeout(within):
        while not await check():  # noqa: ASYNC110 - the effect is in another process's database
            await asyncio.sleep(0.02)
