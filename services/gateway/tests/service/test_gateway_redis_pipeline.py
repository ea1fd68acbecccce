"""The connections of the pipeline to Redis: few, used again, and closed together when one fails."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import hiredis
import pytest
import uvloop
from chassis_testing.environment import environment_variable
from chassis_testing.tls import Authority, tls_proxy
from chassis_testing.waiting import eventually
from gateway_service.clients.redis_pipeline import RedisPipeline, Reply, connect

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class FakeRedis:
    """A server that refuses GET and replies OK to all else, unless it holds replies back or connections are silent."""

    def __init__(self) -> None:
        self.url = ""
        self.connections: list[asyncio.StreamWriter] = []
        self.silent: set[asyncio.StreamWriter] = set()
        self.held = 0
        self._replies = asyncio.Event()
        self._replies.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = hiredis.Reader()
        self.connections.append(writer)
        try:
            while chunk := await reader.read(65_536):
                commands.feed(chunk)
                while command := commands.gets():
                    if command[0] == b"ECHO":
                        self.held += 1
                        await self._replies.wait()
                        self.held -= 1
                    if writer not in self.silent:
                        writer.write(b"-ERR refused\r\n" if command[0] == b"GET" else b"+OK\r\n")
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.connections.remove(writer)

    def hold_replies(self) -> None:
        self._replies.clear()

    def send_replies(self) -> None:
        self._replies.set()

    async def holds(self, replies: int) -> None:
        """Waits until so many replies are held back."""

        async def are_held() -> bool:
            return self.held == replies

        await eventually(are_held)

    async def has_connections(self, number: int) -> None:
        """Waits until it has so many connections."""

        async def are_open() -> bool:
            return len(self.connections) == number

        await eventually(are_open)

    def reset(self) -> None:
        """Ends all connections, with a reset instead of an orderly end."""
        for writer in self.connections:
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()


@asynccontextmanager
async def fake_redis() -> AsyncIterator[FakeRedis]:
    redis = FakeRedis()
    server = await asyncio.start_server(redis.serve, "127.0.0.1", 0)
    redis.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield redis
    finally:
        server.close()
        await redis.has_connections(0)


async def send_at_once(pipeline: RedisPipeline, batches: int) -> "list[asyncio.Future[Reply | None]]":
    """Sends batches of one command each, in pipelines of their own."""
    replies = []
    for _ in range(batches):
        replies.append(pipeline.send("ECHO", "at once"))
        await asyncio.sleep(0)  # the pipeline begins
    return replies


async def open_idle_connections(redis: FakeRedis, pipeline: RedisPipeline, number: int) -> None:
    redis.hold_replies()
    replies = await send_at_once(pipeline, number)
    await redis.holds(number)
    redis.send_replies()
    assert await asyncio.gather(*replies) == [b"OK"] * number


async def replies_in_turn(pipeline: RedisPipeline, number: int) -> Sequence[Reply | None]:
    return [await pipeline.send("ECHO", "in turn") for _ in range(number)]


async def test_a_reply_that_comes_too_late_is_not_taken_for_the_next_one() -> None:
    redis = connect(environment_variable("TEST_REDIS_URL"))
    pipeline = RedisPipeline(redis, lambda: 0.0, 0.2)
    late = await pipeline.send("BLPOP", uuid4().hex, 1)
    replies = [await pipeline.send("ECHO", text) for text in ("first", "second")]
    assert (late, replies) == (None, [b"first", b"second"])
    await pipeline.close()


async def test_a_command_that_redis_refuses_has_no_reply_and_spoils_no_other_batch() -> None:
    redis = connect(environment_variable("TEST_REDIS_URL"))
    pipeline = RedisPipeline(redis, lambda: 0.0, 5.0)
    refused, beside = await asyncio.gather(pipeline.send("GET"), pipeline.send("ECHO", "same batch"))
    assert (refused, beside, await pipeline.send("ECHO", "next")) == (None, None, b"next")
    await pipeline.close()


async def test_pipelines_use_a_connection_again_unless_redis_has_closed_it() -> None:
    redis = connect(environment_variable("TEST_REDIS_URL"))
    pipeline = RedisPipeline(redis, lambda: 0.0, 5.0)
    first, again = [await pipeline.send("CLIENT", "ID") for _ in range(2)]
    await redis.client_kill_filter(_id=first)
    await redis.ping()  # that it is closed arrives before this reply
    other = await pipeline.send("CLIENT", "ID")
    assert (again, type(other)) == (first, int)
    assert other != first
    await pipeline.close()


async def test_a_pipeline_asks_for_the_time_once_and_last(monkeypatch: pytest.MonkeyPatch) -> None:
    sent, round_trip = [], RedisPipeline._round_trip

    async def record(self: RedisPipeline, commands: Sequence[tuple[str | bytes | int, ...]]) -> object:
        sent.append(commands)
        return await round_trip(self, commands)

    monkeypatch.setattr(RedisPipeline, "_round_trip", record)
    pipeline = RedisPipeline(connect(environment_variable("TEST_REDIS_URL")), lambda: 0.0, 5.0)

    async def look() -> tuple[object, object]:
        echo, time = pipeline.send("ECHO", "a"), pipeline.time()
        return await echo, await time

    leaving, *staying = [asyncio.create_task(look()) for _ in range(3)]
    await asyncio.sleep(0)  # all have asked
    leaving.cancel()
    (_, first), (_, second) = await asyncio.gather(*staying)

    assert sent == [[("ECHO", "a")] * 3 + [("TIME",)]]
    assert first == second
    assert isinstance(first, list)
    await pipeline.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_idle_connections_that_were_reset_cost_one_batch_its_replies(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    unhandled: list[object] = []

    async def reset_all() -> Sequence[Reply | None]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        async with fake_redis() as redis:
            pipeline = RedisPipeline(connect(redis.url), lambda: 0.0, 5.0)
            await open_idle_connections(redis, pipeline, 8)
            address = urlsplit(redis.url)
            last, _ = await asyncio.open_connection(address.hostname, address.port)
            await redis.has_connections(9)
            redis.reset()
            with pytest.raises(ConnectionResetError):
                await last.read()  # the other connections were reset before this one
            replies = await replies_in_turn(pipeline, 8)
            await pipeline.close()
            return replies

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(reset_all()) == [None] + [b"OK"] * 7
    assert unhandled == []


async def test_idle_connections_that_are_silent_cost_one_batch_its_replies() -> None:
    async with fake_redis() as redis:
        pipeline = RedisPipeline(connect(redis.url), lambda: 0.0, 0.2)
        await open_idle_connections(redis, pipeline, 8)
        redis.silent.update(redis.connections)
        assert await replies_in_turn(pipeline, 8) == [None] + [b"OK"] * 7
        await pipeline.close()


async def test_a_command_that_redis_refuses_closes_no_other_connection() -> None:
    async with fake_redis() as redis:
        pipeline = RedisPipeline(connect(redis.url), lambda: 0.0, 5.0)
        await open_idle_connections(redis, pipeline, 2)
        before = set(redis.connections)
        assert await pipeline.send("GET") is None
        assert await replies_in_turn(pipeline, 1) == [b"OK"]
        assert set(redis.connections) <= before
        await pipeline.close()


async def test_an_argument_that_cannot_be_encoded_closes_no_connection() -> None:
    pipeline = RedisPipeline(connect(environment_variable("TEST_REDIS_URL")), lambda: 0.0, 5.0)
    known = await pipeline.send("CLIENT", "ID")
    with pytest.raises(TypeError):
        await pipeline._round_trip([("ECHO", None)])  # type: ignore[list-item]  # the error
    assert await pipeline.send("CLIENT", "ID") == known
    await pipeline.close()


async def test_pipelines_share_32_connections() -> None:
    async with fake_redis() as redis:
        pipeline = RedisPipeline(connect(redis.url), lambda: 0.0, 5.0)
        redis.hold_replies()
        replies = await send_at_once(pipeline, 40)
        await redis.holds(32)
        redis.send_replies()
        assert await asyncio.gather(*replies) == [b"OK"] * 40
        assert len(redis.connections) == 32
        await pipeline.close()


async def test_a_round_trip_that_is_cancelled_leaves_its_place_to_others() -> None:
    async with fake_redis() as redis:
        pipeline = RedisPipeline(connect(redis.url), lambda: 0.0, 5.0)
        redis.hold_replies()
        leaving = [asyncio.create_task(pipeline._round_trip([("ECHO", "cancelled")])) for _ in range(32)]
        await redis.holds(32)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        redis.send_replies()
        assert await replies_in_turn(pipeline, 1) == [b"OK"]
        await pipeline.close()


async def test_closing_waits_for_commands_that_are_sent_in_the_meantime_and_leaves_no_connection() -> None:
    async with fake_redis() as redis:
        pipeline = RedisPipeline(connect(redis.url), lambda: 0.0, 5.0)
        redis.hold_replies()
        two = asyncio.create_task(replies_in_turn(pipeline, 2))
        await redis.holds(1)
        closing = asyncio.create_task(pipeline.close())
        await asyncio.sleep(0)  # it waits for the reply to the first one
        redis.send_replies()
        await closing
        assert await two == [b"OK"] * 2
        await redis.has_connections(0)


async def test_pipelines_send_their_password_over_tls() -> None:
    server, authority, user = urlsplit(environment_variable("TEST_REDIS_URL")), Authority(), uuid4().hex
    administrator = connect(server.geturl())
    await administrator.acl_setuser(user, enabled=True, passwords=["+secret"], commands=["+@all"])
    context = authority.server_context("localhost")
    try:
        async with tls_proxy(server.hostname or "", server.port or 0, context) as port:
            url = f"rediss://{user}:secret@localhost:{port}"
            pipeline = RedisPipeline(connect(url, authority.pem), lambda: 0.0, 5.0)
            assert await pipeline.send("ACL", "WHOAMI") == user.encode()
            await pipeline.close()
    finally:
        await administrator.acl_deluser(user)
        await administrator.aclose()
