"""The life of a service's process: start, serve, and on SIGTERM stop without dropping a request."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import prometheus_client
import uvloop
from starlette.types import ASGIApp

from chassis.errors import DatabaseUnavailable
from chassis.grpc.server import GrpcServer
from chassis.http.app import Readiness
from chassis.http.connections import ConnectionLimits
from chassis.http.middleware import DrainMiddleware
from chassis.http.server import HttpServer, no_proxy
from chassis.observability import logs, tracing
from chassis.settings import ServiceSettings, load

Loop = Callable[[], Awaitable[None]]
"""A background task that runs until it is cancelled."""

_GRACE_SECONDS = 15
"""How long an accepted request may still take while the process stops."""
_CANCEL_INTERVAL_SECONDS = 10.0
"""How long a cancelled task has until it is cancelled again: more than any loop needs to finish its current step."""
_COLLECTION_THRESHOLDS = 5_000, 20, 20
"""New objects until a collection of these, and collections until one of those that have survived one, and two."""
_OUTAGE_RETRY_SECONDS = 30.0
"""The longest time until an action is retried that failed because the database was unavailable."""

_S = TypeVar("_S", bound=ServiceSettings)

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """The result of a composition root: everything that runs, and how it is closed."""

    http: ASGIApp
    ready: Readiness
    is_proxy: Callable[[str], bool] = no_proxy
    """Tells the addresses of proxies, which may have any number of HTTP connections."""
    rpc: GrpcServer | None = None
    background: Mapping[str, Loop] = field(default_factory=dict)
    """Loops by name, which run until the process stops: outbox relay, event consumer, periodic jobs."""
    closers: Sequence[Callable[[], Awaitable[None]]] = ()


@dataclass(frozen=True, slots=True)
class Program(Generic[_S]):
    """A service that `python -m <package> serve` runs; see chassis.runtime.command."""

    name: str
    settings: type[_S]
    build: Callable[[_S], Awaitable[Service]]

    def serve(self, parts: frozenset[str]) -> None:
        """Runs `parts` of the service (of http, grpc and background) until the process gets a signal to stop."""
        settings = load(self.settings)
        logs.configure(self.name, settings.tenant, settings.log_level)
        tracing.configure(self.name, settings.service_version, settings.tenant, settings.otel_exporter_otlp_endpoint)
        uvloop.run(self._serve(settings, parts))

    async def _serve(self, settings: _S, parts: frozenset[str]) -> None:
        service = await self.build(settings)
        _tune_garbage_collection()
        metrics = metrics_server(settings.metrics_port)
        metrics.start()
        await run(service, settings, parts)
        await metrics.stop()


def _tune_garbage_collection() -> None:
    """Exempts the objects of the startup from garbage collection, and lets it run less often.

    These objects live as long as the process: modules, settings, statements, more than 90,000, at which each full
    collection would look. Requests leave few cycles, so a collection after 700 new objects, Python's default, finds
    little. Both together save a sixth of the processor time of a journey (docs/adr/0072).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTION_THRESHOLDS)


def metrics_server(port: int) -> HttpServer:
    """Returns the server of the metrics, with few connections: only Prometheus and the operator read them."""
    limits = ConnectionLimits(total=50, per_address=20)
    return HttpServer(prometheus_client.make_asgi_app(), port, limits, grace_seconds=1)


def repeat_every(seconds: float, action: Callable[[], Awaitable[object]]) -> Loop:
    """Returns a background loop that repeats an action.

    While the database is unavailable, which readiness reports, the action is retried at least twice a minute, so that a
    daily action is not delayed by a day.
    """

    async def loop() -> None:
        while True:
            try:
                await action()
            except DatabaseUnavailable as error:
                log.info("postponed until the database is available", reason=str(error))
                await asyncio.sleep(min(seconds, _OUTAGE_RETRY_SECONDS))
            else:
                await asyncio.sleep(seconds)

    return loop


async def run(service: Service, settings: ServiceSettings, parts: frozenset[str]) -> None:
    """Runs a service until SIGTERM or SIGINT, then stops it gracefully.

    It becomes unready but serves until clients use other pods, finishes the requests that it has accepted, and closes.
    """
    stopping = _stop_signal()
    loops = _start_loops(service.background) if "background" in parts else []
    http = HttpServer(
        DrainMiddleware(service.http, draining=stopping),
        settings.http_port,
        ConnectionLimits(settings.http_max_connections, settings.http_max_connections_per_address),
        is_proxy=service.is_proxy,
        grace_seconds=_GRACE_SECONDS,
    )
    if "http" in parts:
        http.start()
    if "grpc" in parts and service.rpc is not None:
        await service.rpc.start()
    log.info("serving", http_port=settings.http_port, grpc_port=service.rpc.port if service.rpc else None)

    await http.wait_until_ended_or(stopping)
    await _drain(service, settings.shutdown_drain_seconds)
    await _stop(service, http, loops)
    log.info("stopped")


async def cancel_all(*tasks: asyncio.Task[None]) -> None:
    """Cancels tasks until every one has ended.

    Once is not always enough: before Python 3.12 `wait_for`, with which libraries connect, can lose a cancellation that
    arrives together with its result (python/cpython#86296). A consumer would then never stop.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_INTERVAL_SECONDS)


def _stop_signal() -> asyncio.Event:
    """Returns an event that SIGTERM and SIGINT set."""
    event = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event


def _start_loops(loops: Mapping[str, Loop]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(_run_for_ever(name, loop)) for name, loop in loops.items()]


async def _run_for_ever(name: str, loop: Loop) -> None:
    """Starts a loop again whenever it ends or fails. A failure is logged."""
    while True:
        try:
            await loop()
        except Exception:
            log.exception("background loop failed and starts again", loop=name)
        await asyncio.sleep(1)


async def _drain(service: Service, seconds: float) -> None:
    """Makes the process unready, and serves on until clients and endpoints no longer use it."""
    log.info("draining", seconds=seconds)
    service.ready.stop()
    if service.rpc is not None:
        await service.rpc.drain()
    await asyncio.sleep(seconds)


async def _stop(service: Service, http: HttpServer, loops: Sequence[asyncio.Task[None]]) -> None:
    """Finishes the requests that were accepted, ends the loops, and closes connections."""
    await http.stop()
    if service.rpc is not None:
        await service.rpc.stop(_GRACE_SECONDS)
    await cancel_all(*loops)
    for close in service.closers:
        await close()
