"""Calls between services survive the replacement of a neighbour's pods, and never exceed their deadline."""

import asyncio
import time

import grpc
import pytest
from chassis.errors import NeighbourUnavailable
from chassis.grpc.client import call, open_channel
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.tokens import TokenIssuer
from shopapi.user.v1 import user_pb2, user_pb2_grpc


async def get_user(channel: grpc.aio.Channel, deadline: float) -> user_pb2.GetUserResponse:
    stub = user_pb2_grpc.UserServiceStub(channel)
    return await call(stub.GetUser, user_pb2.GetUserRequest(user_id=7), deadline)


async def test_a_call_waits_for_a_neighbour_that_is_being_replaced() -> None:
    fake = FakeUserService(TokenIssuer())
    async with grpc_server(lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(fake, server)) as address:
        host, port = address.split(":")
        async with fault_proxy(host, int(port)) as proxy, open_channel(f"127.0.0.1:{proxy.port}", "token") as channel:
            await get_user(channel, 5)
            await proxy.sever()
            waiting = asyncio.create_task(get_user(channel, 10))
            await wait_until_refused(proxy)
            await proxy.restore()

            assert (await waiting).user_id == 7


async def test_a_neighbour_that_stays_away_is_unavailable_at_the_deadline() -> None:
    async with fault_proxy("127.0.0.1", 1) as proxy, open_channel(f"127.0.0.1:{proxy.port}", "token") as channel:
        await proxy.sever()
        began = time.monotonic()
        with pytest.raises(NeighbourUnavailable):
            await get_user(channel, 0.3)

    assert time.monotonic() - began >= 0.25


async def wait_until_refused(proxy: FaultProxy) -> None:
    """Gives the channel time to be refused: a call that did not wait would have failed by then."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), open_channel(f"127.0.0.1:{proxy.port}", "token") as other:
            await get_user(other, 5)
