"""Waiting for an effect that occurs later."""

import asyncio
from collections.abc import Awaitable, Callable

LIMIT_SECONDS = 50.0
"""How long a test waits at most: longer than the leases and retry intervals in the settings of tests, since on a busy
machine an effect takes many times longer than on an idle one; but shorter than 60 s, the lifetime of a cached entry, so
that no test passes because what it should have seen evicted has expired.
"""


async def eventually(check: Callable[[], Awaitable[bool]], within: float = LIMIT_SECONDS) -> None:
    """Waits until `check` returns true. Raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while not await check():  # noqa: ASYNC110 - the effect is in another process's database
            await asyncio.sleep(0.02)
