"""A client that repeats what was not answered, as clients of a shop do: under one idempotency key, with pauses, for a while."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx

from shop_e2e.client import Refused

_T = TypeVar("_T")


async def insist(call: Callable[[], Awaitable[_T]], within: float = 60.0) -> _T:
    """The answer of `call`, which must be idempotent: repeated while nobody answers, or a part of the shop is away.

    Raises Refused for every other answer, and TimeoutError after `within` seconds.
    """
    async with asyncio.timeout(within):
        while True:
            try:
                return await call()
            except httpx.TransportError:
                pass
            except Refused as refusal:
                if refusal.status < 500:
                    raise
            await asyncio.sleep(random.uniform(0.1, 0.4))
