"""Calls between services survive the replacement of a neighbour's pods, never exceed their deadline, and spare it.

While a neighbour does not answer, most calls to it fail at once, and one at a time probes whether it is back.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from chassis.errors import NeighbourRefused, NeighbourUnavailable
from chassis.grpc.client import call, open_channel
from chassis_testing.fault_proxy import FaultProxy, fault_proxy
from chassis_testing.neighbours import FakeUserService, grpc_server
from chassis_testing.tokens import TokenIssuer
from chassis_testing.waiting import eventually
from prometheus_client import REGISTRY
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


class Switchable(FakeUserService):
    """A user service that answers, does not answer until the caller gives up, or refuses, as the test sets."""

    def __init__(self) -> None:
        super().__init__(TokenIssuer())
        self.mode = "answers"
        self.received = 0

    async def GetUser(  # noqa: N802
        self, request: user_pb2.GetUserRequest, context: Any
    ) -> user_pb2.GetUserResponse:
        self.received += 1
        if self.mode == "hangs":
            await asyncio.Event().wait()
        if self.mode == "refuses":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "", (("problem-code", "database_unavailable"),))
        if self.mode == "not found":
            await context.abort(grpc.StatusCode.NOT_FOUND, "", (("problem-code", "not_found"),))
        if self.mode == "busy":
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls")
        return await super().GetUser(request, context)

    def has_received(self, calls: int) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return self.received == calls

        return check


@pytest.fixture
async def users() -> AsyncIterator[tuple[Switchable, grpc.aio.Channel]]:
    fake = Switchable()
    async with (
        grpc_server(lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(fake, server)) as address,
        open_channel(address, "token") as channel,
    ):
        yield fake, channel


async def break_circuit(fake: Switchable, channel: grpc.aio.Channel) -> None:
    fake.mode = "hangs"
    results = await asyncio.gather(*(get_user(channel, 0.2) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [NeighbourUnavailable] * 5


async def test_calls_to_a_neighbour_that_does_not_answer_fail_at_once(
    users: tuple[Switchable, grpc.aio.Channel],
) -> None:
    fake, channel = users
    await break_circuit(fake, channel)
    assert metric("neighbour_circuit_state") == 2
    refused, received = metric("neighbour_calls_refused_total"), fake.received

    with pytest.raises(NeighbourUnavailable):
        await get_user(channel, 60)

    assert fake.received == received
    assert metric("neighbour_calls_refused_total") == refused + 1


async def test_one_call_at_a_time_probes_a_neighbour_and_closes_the_circuit(
    users: tuple[Switchable, grpc.aio.Channel],
) -> None:
    fake, channel = users
    await break_circuit(fake, channel)
    received = fake.received
    callers = [asyncio.create_task(call_until_received(fake, channel, received)) for _ in range(20)]
    await eventually(fake.has_received(received + 1))
    assert metric("neighbour_circuit_state") == 1

    with pytest.raises(NeighbourUnavailable):
        await get_user(channel, 60)
    assert fake.received == received + 1

    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    fake.mode = "answers"
    assert (await get_user(channel, 10)).user_id == 7
    assert metric("neighbour_circuit_state") == 0


async def test_the_circuit_of_one_neighbour_does_not_affect_another(
    users: tuple[Switchable, grpc.aio.Channel],
) -> None:
    fake, channel = users
    await break_circuit(fake, channel)
    other = FakeUserService(TokenIssuer())
    async with (
        grpc_server(lambda server: user_pb2_grpc.add_UserServiceServicer_to_server(other, server)) as address,
        open_channel(address, "token") as other_channel,
    ):
        assert (await get_user(other_channel, 10)).user_id == 7


@pytest.mark.parametrize(
    ("mode", "error"),
    [("refuses", NeighbourUnavailable), ("busy", NeighbourUnavailable), ("not found", NeighbourRefused)],
)
async def test_answers_do_not_open_the_circuit(
    users: tuple[Switchable, grpc.aio.Channel], mode: str, error: type[Exception]
) -> None:
    fake, channel = users
    fake.mode = mode
    for _ in range(10):
        with pytest.raises(error):
            await get_user(channel, 10)

    fake.mode = "answers"
    assert (await get_user(channel, 10)).user_id == 7


async def test_calls_that_their_callers_give_up_do_not_open_the_circuit(
    users: tuple[Switchable, grpc.aio.Channel],
) -> None:
    fake, channel = users
    fake.mode = "hangs"
    callers = [asyncio.create_task(get_user(channel, 60)) for _ in range(10)]
    await eventually(fake.has_received(10))
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)

    fake.mode = "answers"
    assert (await get_user(channel, 10)).user_id == 7


async def call_until_received(fake: Switchable, channel: grpc.aio.Channel, received: int) -> None:
    """Calls until the neighbour has received a call more than `received`, which is the probe."""
    while fake.received == received:
        with contextlib.suppress(NeighbourUnavailable):
            await get_user(channel, 60)
        await asyncio.sleep(0.01)


def metric(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"neighbour": "user"}) or 0.0
