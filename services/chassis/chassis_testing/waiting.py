"""Waiting for an effect that occurs later."""

import asyncio
from collections.abc import Awaitable, Callable

LIMIT_SECONDS = 90.0
"""How long a test waits at most: far above every lease, timeout and retry interval in the settings of tests, since on a
busy machine an effect may take many times longer than on an idle one. A test that passes never waits this long.
"""


async def eventually(check: Callable[[], Awaitable[bool]], within: float = LIMIT_SECONDS) -> None:
    """Waits until `check` returns true. Raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while not await check():  # noqa: ASYNC110 - the effect is in another process's database
            await asyncio.sleep(0.02)
