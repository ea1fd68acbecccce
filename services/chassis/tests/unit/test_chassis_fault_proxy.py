"""The fault proxy of tests ends every connection."""

import asyncio
import socket

import pytest
from chassis_testing.fault_proxy import fault_proxy


@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_that_was_just_accepted_is_ended_with_the_others(turns: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as target:
        async with fault_proxy(*target.getsockname()) as proxy:
            with socket.create_connection(("127.0.0.1", proxy.port)) as client:
                for _ in range(turns):
                    await asyncio.sleep(0)
                await proxy.sever()
                client.setblocking(False)

                assert await _ended(client)


async def _ended(client: socket.socket) -> bool:
    async with asyncio.timeout(10):
        try:
            return await asyncio.get_running_loop().sock_recv(client, 1) == b""
        except ConnectionError:
            return True
