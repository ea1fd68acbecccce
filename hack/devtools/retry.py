"""Retries as a client of the shop should: under one idempotency key, with jittered pauses, until a timeout."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

import httpx
from ecommerce_client import ProblemError

_T = TypeVar("_T")


async def retry(call: Callable[[], Awaitable[_T]], within: float = 60.0, *, passing: Collection[str] = ()) -> _T:
    """Returns the result of `call`, which must be idempotent.

    Retries after a transport error, a 5xx, a 429 (after its Retry-After), and a problem whose code is in `passing`.
    Raises ProblemError for every other answer, and TimeoutError after `within` seconds.
    """
    async with asyncio.timeout(within):
        while True:
            try:
                return await call()
            except httpx.TransportError:
                wait = 0.0
            except ProblemError as refusal:
                if refusal.status < 500 and refusal.status != 429 and refusal.code not in passing:
                    raise
                wait = refusal.retry_after if refusal.status == 429 else 0.0
            await asyncio.sleep(wait + random.uniform(0.1, 0.4))
