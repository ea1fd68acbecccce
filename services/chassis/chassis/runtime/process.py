"""The life of a service's process: start everything, serve, and on SIGTERM leave without dropping a request."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import prometheus_client
import uvicorn
import uvloop
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.errors import DatabaseUnavailable
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness
from chassis.observability import logs, tracing
from chassis.settings import ServiceSettings, load

_GRACE_SECONDS = 15
"""How long a request that was accepted may still take while the process stops."""
_AGAIN_SECONDS = 10.0
"""More than any loop takes to finish what it has begun."""
_PUT_OFF_SECONDS = 30.0

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """What a composition root hands over: everything that runs, and how it is closed."""

    http: ASGIApp
    ready: Readiness
    rpc: GrpcServer | None = None
    background: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """Loops by name, each run until the process stops: relay, consumer, sweepers."""
    closers: Sequence[Callable[[], Awaitable[None]]] = ()


def repeat_every(seconds: float, action: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    """A loop for `background` that repeats an action. While the database is away it waits: readiness says so. What is done once a day
    is then not put off by a day.
    """

    async def loop() -> None:
        while True:
            try:
                await action()
            except DatabaseUnavailable as error:
                log.info("put off", reason=str(error))
                await asyncio.sleep(min(seconds, _PUT_OFF_SECONDS))
            else:
                await asyncio.sleep(seconds)

    return loop


_S = TypeVar("_S", bound=ServiceSettings)


@dataclass(frozen=True, slots=True)
class Program(Generic[_S]):
    """What `python -m <package> serve` runs; see chassis.command."""

    name: str
    settings: type[_S]
    build: Callable[[_S], Awaitable[Service]]

    def serve(self, parts: frozenset[str]) -> None:
        """Until the process is told to stop. `parts`: which of http, grpc and background."""
        settings = load(self.settings)
        logs.configure(self.name, settings.tenant, settings.log_level)
        tracing.configure(self.name, settings.service_version, settings.tenant, settings.otel_exporter_otlp_endpoint)
        uvloop.run(self._serve(settings, parts))

    async def _serve(self, settings: _S, parts: frozenset[str]) -> None:
        service = await self.build(settings)
        # Its thread ends with the process, and is not waited for.
        prometheus_client.start_http_server(settings.metrics_port)
        await run(service, settings, parts)


async def run(service: Service, settings: ServiceSettings, parts: frozenset[str]) -> None:
    """Until SIGTERM or SIGINT. Then: not ready, still serving while clients go elsewhere; finish what was accepted; close."""
    stopping = _stop_signal()
    background = [
        asyncio.create_task(_for_ever(n, loop)) for n, loop in service.background.items() if "background" in parts
    ]
    server = _http_server(_parting(service.http, stopping), settings.http_port)
    serving = asyncio.create_task(server.serve()) if "http" in parts else None
    if service.rpc is not None and "grpc" in parts:
        await service.rpc.start()
    log.info("serving", http_port=settings.http_port, grpc_port=service.rpc.port if service.rpc else None)

    await _first(stopping.wait(), serving)
    log.info("draining", seconds=settings.shutdown_drain_seconds)
    service.ready.stop()
    if service.rpc is not None:
        await service.rpc.drain()
    await asyncio.sleep(settings.shutdown_drain_seconds)

    server.should_exit = True
    if serving is not None:
        await serving
    if service.rpc is not None:
        await service.rpc.stop(_GRACE_SECONDS)
    await cancel_all(*background)
    for close in service.closers:
        await close()
    log.info("stopped")


async def cancel_all(*tasks: asyncio.Task[None]) -> None:
    """Cancels until every task has ended. Once is not always enough: before Python 3.12 `wait_for`, with which libraries connect, can
    lose a cancellation that comes together with its result (python/cpython#86296), and a consumer would never stop.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_SECONDS)


async def _for_ever(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """A loop that ends or fails is started again, and said so."""
    while True:
        try:
            await loop()
        except Exception:
            log.exception("background loop failed and starts again", loop=name)
        await asyncio.sleep(1)


async def _first(stopping: Awaitable[object], serving: asyncio.Task[None] | None) -> None:
    waiting = asyncio.ensure_future(stopping)
    await asyncio.wait([waiting, *([serving] if serving else [])], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _stop_signal() -> asyncio.Event:
    event = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event


def _parting(app: ASGIApp, stopping: asyncio.Event) -> ASGIApp:
    """Once this process is stopping, each answer also ends its connection: a client that keeps connections goes elsewhere
    for its next request, and none sends one on a connection that is being closed.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_part(message: Message) -> None:
            if message["type"] == "http.response.start" and stopping.is_set():
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await app(scope, receive, send_and_part)

    return serve


def _http_server(app: ASGIApp, port: int) -> uvicorn.Server:
    return _Uvicorn(
        uvicorn.Config(
            app,
            host="0.0.0.0",
            port=port,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whom a request comes from is the gateway's to judge
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are this module's: the drain comes before the server stops."""
        yield
