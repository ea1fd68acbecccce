import asyncio
import time

import pytest
from user_service.service.pacing import at_least


@pytest.mark.parametrize("work", [0.0, 0.02, 0.04])
async def test_a_paced_block_always_takes_as_long(work: float) -> None:
    started = time.perf_counter()
    async with at_least(0.06):
        await asyncio.sleep(work)
    assert time.perf_counter() - started > 0.055


async def test_what_takes_longer_is_not_kept_any_longer() -> None:
    async with asyncio.timeout(5), at_least(0):
        pass


async def test_what_fails_fails_at_once() -> None:
    async with asyncio.timeout(30):
        with pytest.raises(LookupError):
            async with at_least(60):
                raise LookupError
