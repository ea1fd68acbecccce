"""The fake API server of other tests."""

import asyncio

import aiohttp
import pytest
from http_api_server import Chaos, Fault, HttpApiServer


@pytest.mark.parametrize(
    ("path", "chaos"),
    [("/api/v1/secrets", Chaos([Fault.STALL])), ("/api/v1/secrets?watch=true", None)],
    ids=["stalled", "watch"],
)
async def test_a_request_ends_with_its_connection(path: str, chaos: Chaos | None) -> None:
    before, server = asyncio.all_tasks(), HttpApiServer()
    server.chaos = chaos
    async with server.serving() as address, aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):
            async with session.get(address + path, timeout=aiohttp.ClientTimeout(0.2)) as response:
                await response.read()
    assert asyncio.all_tasks() == before
