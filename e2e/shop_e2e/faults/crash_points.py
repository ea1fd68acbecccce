"""Runs a service that crashes in the middle of its work: `python -m shop_e2e.faults.crash_points <service> serve`.

The service is unchanged: crash points are wrapped around its effects, before and after each

- `commit` of a transaction that wrote, or of a single statement, named by the function that opened it,

- `publish` of an event, and `ack` of one or of a batch, named by the type of its last event,

- `effect` of an event within its transaction, named by its payload, or of several events: a batch has others before and
  after it,

- `call` of a neighbour, named by its request,

- `provider` call: a payment provider, a mail server.

Messages gather for a moment before they are handled, so that a run has batches.

A crash point is `<kind> <name> <before|after>`. CRASH_AT names the one at which the process sends itself SIGKILL;
CRASH_RECORD names a file to which it appends each crash point that it reaches, once.
"""

import asyncio
import importlib
import inspect
import os
import runpy
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from aio_pika.message import IncomingMessage
from chassis.database.engine import Database
from chassis.database.statements import AutocommitConnection
from chassis.grpc.client import NeighbourMethod
from chassis.messaging import inbox
from chassis.messaging.broker import Broker
from chassis.messaging.deliveries import Deliveries
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_PROVIDERS = {
    "payment": ("payment_service.clients.simulated", "SimulatedProvider"),
    "notification": ("notification_service.clients.mail", "SmtpMailSender"),
}
"""Calls that leave the shop: each public coroutine of the class is a crash point."""

_GATHERING_SECONDS = 0.1
_WROTE = text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
_seen: set[str] = set()


def main() -> None:
    service, *arguments = sys.argv[1:]
    _instrument(service)
    sys.argv = [f"{service}_service", *arguments]
    runpy.run_module(f"{service}_service", run_name="__main__")


def _instrument(service: str) -> None:
    wrapped: list[tuple[Any, str, Callable[..., Any]]] = [
        (Database, "begin", _committing(Database.begin)),
        (Database, "autocommit", _autocommitting(Database.autocommit)),
        (Broker, "publish", _around("publish", Broker.publish, lambda _self, key, *_: key)),
        (Deliveries, "next_batch", _gathering(Deliveries.next_batch)),
        (inbox, "handles", _applying(inbox.handles)),
        (IncomingMessage, "ack", _around("ack", IncomingMessage.ack, lambda message, *_: message.routing_key)),
        (
            NeighbourMethod,
            "__call__",
            _around("call", NeighbourMethod.__call__, lambda _self, request: type(request).__name__),
        ),
    ]
    if service in _PROVIDERS:
        module, name = _PROVIDERS[service]
        wrapped += _provider_calls(getattr(importlib.import_module(module), name))
    for owner, name, wrapper in wrapped:
        setattr(owner, name, wrapper)


def _provider_calls(provider: type) -> list[tuple[Any, str, Callable[..., Any]]]:
    calls = inspect.getmembers(provider, inspect.iscoroutinefunction)
    return [
        (provider, name, _around("provider", method, lambda *_, called=name: f"{provider.__name__}.{called}"))
        for name, method in calls
        if not name.startswith("_")
    ]


def _around(kind: str, function: Callable[..., Awaitable[Any]], name: Callable[..., str | None]) -> Callable[..., Any]:
    async def surrounded(*args: Any, **kwargs: Any) -> Any:
        what = f"{kind} {name(*args)}"
        _pass(f"{what} before")
        result = await function(*args, **kwargs)
        _pass(f"{what} after")
        return result

    return surrounded


def _applying(handles: Callable[..., inbox.EventHandler]) -> Callable[..., inbox.EventHandler]:
    @cache  # handlers that share a function get the same one
    def surround_all(apply_all: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        return _around("effect", apply_all, lambda *_: "of several events")

    def handler(payload: Any, apply: Any, *, apply_all: Any = None, **options: Any) -> inbox.EventHandler:
        surrounded = _around("effect", apply, lambda *_: payload.__name__)
        return handles(payload, surrounded, apply_all=apply_all and surround_all(apply_all), **options)

    return handler


def _gathering(next_batch: Callable[[Deliveries], Awaitable[Any]]) -> Callable[[Deliveries], Awaitable[Any]]:
    async def gathered(self: Deliveries) -> Any:
        await asyncio.sleep(_GATHERING_SECONDS)
        return await next_batch(self)

    return gathered


def _committing(begin: Callable[[Database], Any]) -> Callable[[Database], Any]:
    @asynccontextmanager
    async def transaction(self: Database) -> AsyncIterator[AsyncConnection]:
        what, wrote = f"commit {_opener(inspect.currentframe())}", False
        async with begin(self) as connection:
            yield connection
            wrote = bool(await connection.scalar(_WROTE))
            if wrote:
                _pass(f"{what} before")
        if wrote:
            _pass(f"{what} after")

    return transaction


def _autocommitting(autocommit: Callable[[Database], Any]) -> Callable[[Database], Any]:
    """Surrounds the only statement, which commits: it has no point between them."""

    @asynccontextmanager
    async def connection(self: Database) -> AsyncIterator[AutocommitConnection]:
        what = f"commit {_opener(inspect.currentframe())}"
        async with autocommit(self) as opened:
            _pass(f"{what} before")
            yield opened
        _pass(f"{what} after")

    return connection


def _opener(frame: FrameType | None) -> str:
    """Returns the service's function that opened a transaction; for an event also its type, since one function receives
    all of them.
    """
    while frame is not None and (frame.f_code.co_filename == __file__ or "contextlib" in frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return "?"
    event = frame.f_locals.get("event")
    suffix = f"({event.type.name})" if event is not None and hasattr(event, "type") else ""
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}{suffix}"


def _pass(point: str) -> None:
    if os.environ.get("CRASH_AT") == point:
        os.kill(os.getpid(), signal.SIGKILL)
    if "CRASH_RECORD" in os.environ and point not in _seen:
        _seen.add(point)
        with Path(os.environ["CRASH_RECORD"]).open("a") as record:
            record.write(f"{point}\n")


if __name__ == "__main__":
    main()
