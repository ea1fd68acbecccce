"""Waiting for an effect that occurs later."""

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(check: Callable[[], Awaitable[bool]], within: float = 30.0) -> None:
    """Waits until `check` returns true. Raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while not await check():  # noqa: ASYNC110 - the effect is in another process's database
            await asyncio.sleep(0.02)
