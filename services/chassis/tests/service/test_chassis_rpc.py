"""Calls between services: they outlive the replacement of a neighbour's pods, and never outlast their deadline."""

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


async def ask(channel: grpc.aio.Channel, deadline: float) -> user_pb2.GetUserResponse:
    stub = user_pb2_grpc.UserServiceStub(channel)
    return await call(stub.GetUser, user_pb2.GetUserRequest(user_id=7), deadline)


async def test_a_call_waits_for_a_neighbour_that_is_being_replaced() -> None:
    fake = FakeUserService(TokenIssuer())
    async with grpc_server(lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(fake, server)) as address:
        host, port = address.split(":")
        async with fault_proxy(host, int(port)) as line, open_channel(f"127.0.0.1:{line.port}") as channel:
            await ask(channel, 5)
            await line.sever()
            waiting = asyncio.create_task(ask(channel, 10))
            await _refused(line)
            await line.restore()

            assert (await waiting).user_id == 7


async def test_a_neighbour_that_stays_away_is_said_so_at_the_deadline() -> None:
    async with fault_proxy("127.0.0.1", 1) as line, open_channel(f"127.0.0.1:{line.port}") as channel:
        await line.sever()
        began = time.monotonic()
        with pytest.raises(NeighbourUnavailable):
            await ask(channel, 0.3)

    assert time.monotonic() - began >= 0.25


async def _refused(line: FaultProxy) -> None:
    """Gives the channel time to find that nobody listens: its call would fail at once if it did not wait."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), open_channel(f"127.0.0.1:{line.port}") as other:
            await ask(other, 5)
