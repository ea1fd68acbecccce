import asyncio
import time

import pytest
from user_service.service.password_reset import minimum_duration


@pytest.mark.parametrize("work", [0.0, 0.02, 0.04])
async def test_a_block_takes_the_minimum_duration(work: float) -> None:
    started = time.perf_counter()
    async with minimum_duration(0.06):
        await asyncio.sleep(work)
    assert time.perf_counter() - started > 0.055


async def test_a_block_that_takes_longer_is_not_delayed() -> None:
    async with asyncio.timeout(5), minimum_duration(0):
        pass


async def test_a_block_that_fails_is_not_delayed() -> None:
    async with asyncio.timeout(30):
        with pytest.raises(LookupError):
            async with minimum_duration(60):
                raise LookupError
