"""Runs a gateway and a fake upstream, each on a real server with a port of its own."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
from chassis.http.connections import ConnectionLimits
from chassis.http.server import HttpServer, no_proxy
from chassis_testing.callers import OWN_TOKENS
from chassis_testing.environment import environment_variable
from chassis_testing.waiting import eventually
from gateway_service.app import build
from gateway_service.domain.routes import Upstream as Service
from gateway_service.settings import Settings
from prometheus_client import REGISTRY
from starlette.types import ASGIApp, Receive, Scope, Send

JSON = (b"content-type", b"application/json")


@dataclass(slots=True)
class ReceivedRequest:
    """A request, as the upstream received it."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    connection: tuple[str, int]

    def header(self, name: str) -> list[str]:
        return [value for received_name, value in self.headers if received_name == name]


Behaviour = Callable[[Scope, Receive, Send], Awaitable[None]]


class FakeUpstream:
    """A fake of every service: handles requests as the test says, and keeps them."""

    def __init__(self) -> None:
        self.requests: list[ReceivedRequest] = []
        self.behaviour: Behaviour = self.respond

    def reset(self) -> None:
        self.requests.clear()
        self.behaviour = self.respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.behaviour(scope, receive, send)

    async def respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.read(scope, receive)
        await reply(send, 200, b'{"data":"it works"}', JSON)

    def respond_with(self, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            await self.read(scope, receive)
            length = (b"content-length", str(len(body)).encode())
            await reply(send, status, b"" if scope["method"] == "HEAD" else body, length, *headers)

        self.behaviour = respond

    async def read(self, scope: Scope, receive: Receive) -> None:
        body, is_over = b"", False
        while not is_over:
            message = await receive()
            body += message.get("body", b"")
            is_over = not message.get("more_body", False)
        query = scope["query_string"].decode()
        self.requests.append(
            ReceivedRequest(
                scope["method"],
                scope["raw_path"].decode() + (f"?{query}" if query else ""),
                [(name.decode(), value.decode()) for name, value in scope["headers"]],
                body,
                scope["client"],
            )
        )


class Holding:
    """A behaviour of the upstream: it holds each request, or each one to a path, until the test releases it."""

    def __init__(self, upstream: FakeUpstream, path: str = "") -> None:
        self._upstream = upstream
        self._path = path
        self._release = asyncio.Event()
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._path in ("", scope["path"]):
            self.requests += 1
            await self._release.wait()
        await self._upstream.respond(scope, receive, send)

    def release(self) -> None:
        self._release.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async def holds() -> bool:
            return condition()

        await eventually(holds)


async def reply(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hang(_scope: Scope, receive: Receive, _send: Send) -> None:
    """Never responds."""
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def serve(app: ASGIApp, is_proxy: Callable[[str], bool] = no_proxy) -> AsyncIterator[str]:
    """Runs an application on a real server. Returns its base URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = HttpServer(app, 0, ConnectionLimits(), is_proxy=is_proxy, grace_seconds=1)
        serving = asyncio.ensure_future(server.serve([listener]))
        async with asyncio.timeout(30):
            while not server.started:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            await serving


@dataclass(slots=True)
class RawServer:
    """A server of raw TCP connections, which may close at any point. Keeps the requests that reach it."""

    url: str = ""
    requests: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def raw_server(*responses: bytes, until: asyncio.Event | None = None) -> AsyncIterator[RawServer]:
    """Runs a server that answers each request head with the next of `responses`, the last one repeatedly.

    Then it closes the connection: at once, or when `until` is set.
    """
    raw = RawServer()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            raw.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(responses[min(len(raw.requests), len(responses)) - 1])
            await writer.drain()
            if until is not None:
                await until.wait()
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        server.close()


def url_of(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


@dataclass(slots=True)
class Clock:
    """A clock that the test advances, in seconds."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


OpenGateway = Callable[..., contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]


def gateway_opener(user_grpc: str) -> OpenGateway:
    """Returns a function that opens a gateway with one upstream for all services, and returns a client for it."""

    @asynccontextmanager
    async def open_gateway(
        url: str, clock: Callable[[], float] | None = None, **settings: object
    ) -> AsyncIterator[httpx.AsyncClient]:
        values = {
            "user_grpc": user_grpc,
            "grpc_tokens": OWN_TOKENS,
            "redis_url": environment_variable("TEST_REDIS_URL"),
            "tenant": uuid4().hex,  # separates the counts of this gateway in the shared Redis
            "rate_limits": "off",
            "limits_deadline_seconds": 5,  # so that no test of counting fails on a slow machine
            "upstream_deadline_seconds": 30,  # likewise; tests of deadlines have their own
            "answer_cache_bytes": 0,  # so that each request reaches the upstream; tests of the cache turn it on
            **{f"{name}_url": url for name in Service},
            **settings,
        }
        service = await build(Settings.model_validate(values), **({} if clock is None else {"clock": clock}))
        try:
            async with (
                serve(service.http, service.is_proxy) as base,
                httpx.AsyncClient(base_url=base, timeout=40) as client,
            ):
                yield client
        finally:
            for close in service.closers:
                await close()

    return open_gateway


def problem(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    return str(response.json()["code"])


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0
