"""The HTTP server of every service: what a client may send, how slowly, and on how many connections."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from chassis.http.connections import ConnectionLimits
from chassis.http.server import HttpServer, no_proxy
from prometheus_client import REGISTRY
from starlette.types import ASGIApp, Receive, Scope, Send

GET = b"GET / HTTP/1.1\r\nHost: shop\r\n"
MIB = 1024 * 1024


@dataclass(slots=True)
class Client:
    """One connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def exchange(self, request: bytes) -> bytes:
        """Sends a request, and returns the response. Its body must have a length."""
        self.writer.write(request)
        return await self.response()

    async def response(self) -> bytes:
        async with asyncio.timeout(30):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or b"0")
            return head + await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """Returns what the server sends until it closes the connection."""
        async with asyncio.timeout(30):
            return await self.reader.read()


@dataclass(slots=True)
class Server:
    """A running server, and the application that it serves."""

    http: HttpServer
    port: int
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    def stop(self) -> None:
        """Begins to stop, as the server does when its process has drained."""
        self.http.should_exit = True


@asynccontextmanager
async def serving(
    app: ASGIApp, limits: ConnectionLimits, is_proxy: Callable[[str], bool] = no_proxy
) -> AsyncIterator[Server]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = HttpServer(app, 0, limits, is_proxy=is_proxy, grace_seconds=1)
        running = asyncio.ensure_future(server.serve([listener]))
        async with asyncio.timeout(30):
            while not server.started:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
        opened = Server(server, listener.getsockname()[1])
        try:
            yield opened
        finally:
            for client in opened.clients:
                client.writer.close()
            opened.stop()
            await running


async def respond(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body and responds."""
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.request":
        await respond_at_once(scope, receive, send)


async def respond_at_once(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@dataclass(slots=True)
class Held:
    """An application that holds each request until the test releases it."""

    arrived: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.arrived.release()
        await self.released.wait()
        await respond(scope, receive, send)

    async def hold(self, client: Client) -> None:
        """Returns once the application has the request."""
        client.writer.write(GET + b"\r\n")
        async with asyncio.timeout(30):
            await self.arrived.acquire()


def ended(reason: str) -> float:
    return REGISTRY.get_sample_value("http_server_connections_ended_total", {"reason": reason}) or 0.0


def status(response: bytes) -> int:
    return int(response.split(b" ")[1])


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# Heads


async def send_without_end(client: Client, piece: bytes, pieces: int) -> None:
    """Sends until everything is sent or the server has closed the connection."""
    try:
        for _ in range(pieces):
            client.writer.write(piece)
            await client.writer.drain()
    except ConnectionError:
        pass


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (GET + b"X-Name: ", b"x" * 65536),
        (GET, (b"X-Name: " + b"x" * 1000 + b"\r\n") * 65),
        (GET + b"X", b"x" * 65536),
        (b"GET /", b"x" * 65536),
        (
            b"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            (b"X-Name: " + b"x" * 1000 + b"\r\n") * 65,
        ),
    ],
    ids=["one header", "many headers", "the name of a header", "the path", "trailers"],
)
async def test_80_mib_of_head_are_refused_and_occupy_no_memory(start: bytes, piece: bytes) -> None:
    before, heads = resident_bytes(), ended("head_too_large")
    async with serving(respond, ConnectionLimits()) as server:
        client = await server.connect()
        client.writer.write(start)
        sending = asyncio.ensure_future(send_without_end(client, piece, 80 * MIB // len(piece)))
        response = await client.response()
        await sending
        grown = resident_bytes() - before
    assert ended("head_too_large") == heads + 1
    assert grown < 16 * MIB
    assert status(response) == 431
    assert b'"code": "head_too_large"' in response
    assert b"\r\nconnection: close\r\n" in response


async def test_a_head_that_arrives_at_once_has_the_same_limit() -> None:
    async with serving(respond, ConnectionLimits(head_bytes=1000)) as server:
        client = await server.connect()
        assert status(await client.exchange(GET + b"X: " + b"x" * 1000 + b"\r\n\r\n")) == 431
        assert await client.rest() == b""


async def test_each_request_of_a_connection_has_the_whole_limit() -> None:
    async with serving(respond, ConnectionLimits(head_bytes=1000)) as server:
        client = await server.connect()
        for _ in range(10):
            assert status(await client.exchange(GET + b"X: " + b"x" * 900 + b"\r\n\r\n")) == 200


async def test_requests_that_are_sent_ahead_share_one_limit() -> None:
    held = Held()
    async with serving(held, ConnectionLimits(head_bytes=1000)) as server:
        client = await server.connect()
        client.writer.write((GET + b"\r\n") * 100)
        assert await client.rest() == b""


@pytest.mark.parametrize("request_head", [b"nonsense\r\n\r\n", GET + b"Transfer-Encoding: nonsense\r\n\r\n"])
async def test_a_malformed_request_gets_a_problem(request_head: bytes) -> None:
    async with serving(Held(), ConnectionLimits()) as server:
        client = await server.connect()
        response = await client.exchange(request_head)
        assert status(response) == 400
        assert b'"code": "malformed_request"' in response


# Deadlines


async def test_a_head_that_arrives_slowly_ends_the_connection() -> None:
    before = ended("head_timeout")
    async with serving(respond, ConnectionLimits(head_seconds=0.3)) as server:
        client = await server.connect()
        client.writer.write(GET)
        answer = asyncio.ensure_future(client.response())
        while not answer.done():
            client.writer.write(b"X: 1\r\n")
            await asyncio.sleep(0.01)
        response = await answer
        assert status(response) == 408
        assert b'"code": "request_timeout"' in response
    assert ended("head_timeout") == before + 1


@pytest.mark.parametrize("octets", [b"", b"\r\n"], ids=["nothing", "empty lines"])
async def test_a_connection_without_a_request_ends(octets: bytes) -> None:
    async with serving(respond, ConnectionLimits(head_seconds=0.2)) as server:
        client = await server.connect()
        client.writer.write(octets)
        assert await client.rest() == b""


async def test_empty_lines_after_a_response_do_not_keep_a_connection() -> None:
    async with serving(respond, ConnectionLimits(head_seconds=0.2)) as server:
        client = await server.connect()
        assert status(await client.exchange(GET + b"\r\n")) == 200
        client.writer.write(b"\r\n")
        assert status(await client.rest()) == 408


async def test_an_idle_connection_ends() -> None:
    async with serving(respond, ConnectionLimits(head_seconds=30, idle_seconds=1)) as server:
        client = await server.connect()
        assert status(await client.exchange(GET + b"\r\n")) == 200
        assert await client.rest() == b""


async def test_a_deadline_for_the_head_does_not_end_a_slow_response() -> None:
    held = Held()
    async with serving(held, ConnectionLimits(head_seconds=0.1)) as server:
        client = await server.connect()
        await held.hold(client)
        await asyncio.sleep(0.3)
        held.released.set()
        assert status(await client.response()) == 200


async def test_a_body_that_stalls_ends_the_connection() -> None:
    disconnected = asyncio.Event()

    async def read(_scope: Scope, receive: Receive, _send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        disconnected.set()

    before = ended("body_timeout")
    async with serving(read, ConnectionLimits(body_seconds=0.2)) as server:
        client = await server.connect()
        client.writer.write(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\nhalf")
        async with asyncio.timeout(30):
            await disconnected.wait()
    assert ended("body_timeout") == before + 1


async def test_a_body_that_is_not_read_is_discarded_for_a_while() -> None:
    head = b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\n"
    async with serving(respond_at_once, ConnectionLimits(discard_seconds=0.3)) as server:
        prompt, slow = await server.connect(), await server.connect()
        for _ in range(2):
            assert status(await prompt.exchange(head + b"x" * 100)) == 200
        assert status(await slow.exchange(head + b"x")) == 200
        assert await slow.rest() == b""


async def test_a_request_that_is_sent_instead_of_a_body_is_not_taken_for_it() -> None:
    head = b"POST / HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"
    async with serving(respond_at_once, ConnectionLimits()) as server:
        client = await server.connect()
        response = await client.exchange(head)
        assert status(response) == 200
        assert b"connection: close" in response
        assert await client.rest() == b""


async def test_a_client_that_does_not_read_is_disconnected() -> None:
    disconnected = asyncio.Event()

    async def send_much(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(MIB), "more_body": True})
        await receive()
        while (await receive())["type"] != "http.disconnect":
            pass
        disconnected.set()

    before = ended("reader_stalled")
    async with serving(send_much, ConnectionLimits(stall_seconds=0.2)) as server:
        client = await server.connect()
        client.writer.write(GET + b"\r\n")
        async with asyncio.timeout(30):
            await disconnected.wait()
    assert ended("reader_stalled") == before + 1


# Connections


@pytest.mark.parametrize("limits", [ConnectionLimits(total=2), ConnectionLimits(per_address=2)], ids=["all", "address"])
async def test_a_new_connection_takes_the_place_of_the_longest_idle_one(limits: ConnectionLimits) -> None:
    async with serving(respond, limits) as server:
        first, second = await server.connect(), await server.connect()
        for client in (second, first):  # so that the second is idle for longer
            assert status(await client.exchange(GET + b"\r\n")) == 200
        third = await server.connect()
        assert await second.rest() == b""
        for client in (first, third):
            assert status(await client.exchange(GET + b"\r\n")) == 200


async def test_partial_heads_do_not_keep_other_clients_out() -> None:
    async with serving(respond, ConnectionLimits(total=4)) as server:
        for _ in range(20):
            (await server.connect()).writer.write(GET)
        assert status(await (await server.connect()).exchange(GET + b"\r\n")) == 200


@pytest.mark.parametrize("limits", [ConnectionLimits(total=2), ConnectionLimits(per_address=2)], ids=["all", "address"])
async def test_a_connection_beyond_the_limit_is_refused_while_the_others_are_busy(limits: ConnectionLimits) -> None:
    held, before = Held(), ended("too_many")
    async with serving(held, limits) as server:
        clients = [await server.connect() for _ in range(2)]
        for client in clients:
            await held.hold(client)
        refused = await (await server.connect()).rest()
        assert status(refused) == 503
        assert b'"code": "too_many_connections"' in refused
        held.released.set()
        assert {status(await client.response()) for client in clients} == {200}
    assert ended("too_many") == before + 1


async def test_a_proxy_has_no_limit_of_its_own() -> None:
    held = Held()
    async with serving(held, ConnectionLimits(per_address=1), lambda address: address == "127.0.0.1") as server:
        clients = [await server.connect() for _ in range(3)]
        for client in clients:
            await held.hold(client)
        held.released.set()
        assert {status(await client.response()) for client in clients} == {200}


async def test_open_connections_are_counted() -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("http_server_connections") or 0.0

    before = count()
    async with serving(respond, ConnectionLimits()) as server:
        client = await server.connect()
        await client.exchange(GET + b"\r\n")
        assert count() == before + 1
    assert count() == before


# The end of the server


async def test_a_connection_that_is_new_when_the_server_stops_gets_its_first_response() -> None:
    """A client that has just connected is about to send, and cannot know that the server stops."""
    async with serving(respond, ConnectionLimits()) as server:
        idle, new = await server.connect(), await server.connect()
        await idle.exchange(GET + b"\r\n")
        server.stop()
        assert await idle.rest() == b""

        assert status(await new.exchange(GET + b"\r\n")) == 200


async def test_a_new_connection_without_a_request_does_not_keep_the_server() -> None:
    async with serving(respond, ConnectionLimits()) as server:
        new = await server.connect()
        server.stop()
        assert await new.rest() == b""
