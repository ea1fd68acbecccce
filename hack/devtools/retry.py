"""A client that repeats what was not answered, as clients of a shop do: under one idempotency key, with pauses, for a while."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

import httpx
from ecommerce_client import ProblemError

_T = TypeVar("_T")


async def retry(call: Callable[[], Awaitable[_T]], within: float = 60.0, *, passing: Collection[str] = ()) -> _T:
    """The answer of `call`, which must be idempotent: repeated while nobody answers, a part of the shop is away, or it is asked for
    too much; then after as long as it says. `passing` are codes of problems that pass by themselves.

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
