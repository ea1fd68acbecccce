"""A gateway and the services behind it, each served by a real server on a port of its own."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
import uvicorn
from chassis_testing.environment import environment_variable
from gateway_service.app import Settings, build
from gateway_service.domain.routes import Upstream as Service
from prometheus_client import REGISTRY
from starlette.types import ASGIApp, Receive, Scope, Send

DEADLINE = 1.0
JSON = (b"content-type", b"application/json")


@dataclass(slots=True)
class Seen:
    """One request, as a service saw it."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    connection: tuple[str, int]

    def header(self, wanted: str) -> list[str]:
        return [value for name, value in self.headers if name == wanted]


Behaviour = Callable[[Scope, Receive, Send], Awaitable[None]]


class Upstream:
    """A service that does as the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.behaviour: Behaviour = self.answer

    def reset(self) -> None:
        self.seen.clear()
        self.behaviour = self.answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.behaviour(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.read(scope, receive)
        await reply(send, 200, b'{"data":"it works"}', JSON)

    def always(self, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await self.read(scope, receive)
            length = (b"content-length", str(len(body)).encode())
            await reply(send, status, b"" if scope["method"] == "HEAD" else body, length, *headers)

        self.behaviour = answer

    async def read(self, scope: Scope, receive: Receive) -> None:
        body, is_over = b"", False
        while not is_over:
            message = await receive()
            body += message.get("body", b"")
            is_over = not message.get("more_body", False)
        query = scope["query_string"].decode()
        self.seen.append(
            Seen(
                scope["method"],
                scope["raw_path"].decode() + (f"?{query}" if query else ""),
                [(name.decode(), value.decode()) for name, value in scope["headers"]],
                body,
                scope["client"],
            )
        )


async def reply(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hang(_scope: Scope, receive: Receive, _send: Send) -> None:
    """Never answers."""
    while (await receive())["type"] != "http.disconnect":
        pass


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve(app: ASGIApp) -> AsyncIterator[str]:
    """The app behind a real server; gives its base URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1, proxy_headers=False)
        server = _Server(config)
        serving = asyncio.ensure_future(server.serve([listener]))
        async with asyncio.timeout(30):
            while not server.started:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@dataclass(slots=True)
class Wire:
    """A server below HTTP: it may die whenever it likes. Counts the requests that reach it."""

    url: str = ""
    requests: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def wire(*answers: bytes, until: asyncio.Event | None = None) -> AsyncIterator[Wire]:
    """Each request reads its head, gets the next of `answers` (the last one for ever), and then the connection ends: at once, or
    when `until` is set.
    """
    line = Wire()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            line.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answers[min(len(line.requests), len(answers)) - 1])
            await writer.drain()
            if until is not None:
                await until.wait()
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        server.close()


def url_of(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


@dataclass(slots=True)
class Clock:
    """Seconds that pass when the test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


Open = Callable[..., contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]


def opener(user_grpc: str) -> Open:
    """Opens a gateway before the given service, which plays all of them, and gives a client of it."""

    @asynccontextmanager
    async def open_gateway(
        url: str, clock: Callable[[], float] | None = None, **settings: object
    ) -> AsyncIterator[httpx.AsyncClient]:
        values = {
            "user_grpc": user_grpc,
            "redis_url": environment_variable("TEST_REDIS_URL"),
            "tenant": uuid4().hex,  # counts in the shared Redis are this gateway's own
            "rate_limits": "off",
            "limits_deadline_seconds": 5,  # a machine that is short of time makes no test of counting fail
            "upstream_deadline_seconds": DEADLINE,
            **{f"{name}_url": url for name in Service},
            **settings,
        }
        service = await build(Settings.model_validate(values), **({} if clock is None else {"clock": clock}))
        try:
            async with serve(service.http) as base, httpx.AsyncClient(base_url=base, timeout=10) as client:
                yield client
        finally:
            for close in service.closers:
                await close()

    return open_gateway


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    return str(answer.json()["code"])


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0
