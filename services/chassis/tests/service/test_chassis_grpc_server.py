"""The gRPC server of every service: how many connections and calls its callers may occupy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from chassis.errors import NeighbourUnavailable
from chassis.grpc.access import CallerAuthorization, CallerTokens, method_callers, token_digest
from chassis.grpc.client import call, open_channel
from chassis.grpc.server import GrpcLimits, GrpcServer
from chassis_testing.neighbours import FakeUserService
from chassis_testing.tokens import TokenIssuer
from shopapi.user.v1 import user_pb2, user_pb2_grpc

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""What a client sends first, with empty settings (RFC 9113, section 3.4)."""


TOKEN = "the token of the service product for the service user"
AUTHORIZATION = CallerAuthorization(
    method_callers("shopapi.user.v1.UserService", GetUser={"product"}), CallerTokens({token_digest(TOKEN): "product"})
)


class Held(FakeUserService):
    """A user service that holds each call until the test releases it."""

    def __init__(self) -> None:
        super().__init__(TokenIssuer())
        self.arrived = asyncio.Semaphore(0)
        self.released = asyncio.Event()

    async def GetUser(self, request: user_pb2.GetUserRequest, context: object) -> user_pb2.GetUserResponse:  # noqa: N802
        self.arrived.release()
        await self.released.wait()
        return await super().GetUser(request, context)


@asynccontextmanager
async def serving(held: Held, limits: GrpcLimits) -> AsyncIterator[int]:
    def register(server: grpc.aio.Server) -> None:
        user_pb2_grpc.add_UserServiceServicer_to_server(held, server)

    server = GrpcServer(0, {}, [register], AUTHORIZATION, limits)
    await server.start()
    try:
        yield server.port
    finally:
        held.released.set()
        await server.stop(0)


async def get_user(channel: grpc.aio.Channel) -> user_pb2.GetUserResponse:
    return await call(user_pb2_grpc.UserServiceStub(channel).GetUser, user_pb2.GetUserRequest(user_id=7), 30)


async def test_a_call_beyond_the_limit_is_refused_and_the_others_are_answered() -> None:
    held = Held()
    async with serving(held, GrpcLimits(calls=2)) as port, open_channel(f"127.0.0.1:{port}", TOKEN) as channel:
        running = [asyncio.create_task(get_user(channel)) for _ in range(2)]
        for _ in running:
            await held.arrived.acquire()

        with pytest.raises(NeighbourUnavailable) as refused:
            await get_user(channel)
        assert isinstance(refused.value.__cause__, grpc.aio.AioRpcError)
        assert refused.value.__cause__.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

        held.released.set()
        assert [answer.user_id for answer in await asyncio.gather(*running)] == [7, 7]
        assert (await get_user(channel)).user_id == 7


async def test_a_connection_beyond_the_limit_is_closed_and_the_others_stay_open() -> None:
    held = Held()
    held.released.set()
    async with serving(held, GrpcLimits(connections=2)) as port, open_channel(f"127.0.0.1:{port}", TOKEN) as channel:
        await get_user(channel)
        _, kept = await greeted(port)
        refused, writer = await greeted(port)

        assert await refused.read() == b""
        assert (await get_user(channel)).user_id == 7
        kept.close()
        writer.close()


async def greeted(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Opens a connection that speaks HTTP/2, and returns it once the server has answered or closed it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE)
    await reader.read(1)
    return reader, writer
