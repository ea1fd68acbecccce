"""The middleware around every request, and the one that drains a stopping process."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.trace import Span
from prometheus_client import Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.http.problems import internal_error
from chassis.observability import logs, tracing
from chassis.types.ids import uuid7
from chassis.types.problem import ProblemTable

SERVER_SECONDS = Histogram(
    "http_server_request_duration_seconds", "Time to answer a request",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)  # fmt: skip
MAX_BODY_BYTES = 1024 * 1024
REQUEST_ID = tracing.REQUEST_ID.encode()
_PROBES = ("/health", "/ready")

log = logs.get_logger(__name__)


class RequestMiddleware:
    """Surrounds each request with its id, trace, body limit, metrics and log line, and answers unexpected errors."""

    def __init__(
        self,
        inner: ASGIApp,
        table: ProblemTable,
        *,
        is_public: bool = False,
        refuse: Callable[[Scope], ASGIApp | None] = lambda _: None,
    ) -> None:
        """`is_public` tells that requests come from outside the shop, whose traces are not continued.

        `refuse` returns the response to a request that is refused because there are too many. It is counted, but has
        neither a trace nor a log line, which would cost more than the refusal.
        """
        self._refuse = refuse
        self._inner = inner
        self._table = table
        self._is_public = is_public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        if refusal := self._refuse(scope):
            await refusal(scope, exchange.receive, exchange.send)
            _measure(exchange, exchange.seconds())
            return
        with _open_span(exchange, self._is_public) as span:
            await self._respond(exchange)
            seconds = exchange.seconds()
            _describe(span, exchange)
            _measure(exchange, seconds)
            _log(exchange, seconds)

    async def _respond(self, exchange: "_Exchange") -> None:
        """Calls the application.

        An error that it does not handle is logged, and answered unless the response has begun.
        """
        try:
            await self._inner(exchange.scope, exchange.receive, exchange.send)
        except Exception:
            log.exception("unforeseen error", method=exchange.method, path=exchange.path)
            if exchange.status is None:
                await internal_error()(exchange.scope, exchange.receive, exchange.send)


class DrainMiddleware:
    """Closes each connection after its response, once the process is draining.

    Clients that keep connections open then use another pod for their next request. They send none on a connection that
    is being closed.
    """

    def __init__(self, inner: ASGIApp, draining: asyncio.Event) -> None:
        self._inner = inner
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and self._draining.is_set():
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await self._inner(scope, receive, send_and_close)


class _Exchange:
    """One request and its response. Limits the body of the request, and adds the request id to the response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.request_id = _valid_request_id(self.headers.get(REQUEST_ID, b"")) or str(uuid7()).encode()
        self.status: int | None = None
        self._receive = receive
        self._send = send
        self._started = time.perf_counter()
        self._received_bytes = 0
        length = self.headers.get(b"content-length", b"0")
        self._declared_bytes = int(length) if length.isdigit() else 0

    @property
    def route(self) -> str:
        """The path template of the route, so that metrics have few labels; `unmatched` before or without a match."""
        return str(getattr(self.scope.get("route"), "path", "unmatched"))

    def seconds(self) -> float:
        """Returns the time since the request was received."""
        return time.perf_counter() - self._started

    async def receive(self) -> Message:
        message = await self._receive()
        self._received_bytes += len(message.get("body", b""))
        if max(self._received_bytes, self._declared_bytes) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body must have at most {MAX_BODY_BYTES} bytes")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], (REQUEST_ID, self.request_id)]}
        await self._send(message)


def _valid_request_id(request_id: bytes) -> bytes:
    """Returns a caller's request id if it has at most 128 visible ASCII characters, else nothing."""
    is_visible = all(0x21 <= character <= 0x7E for character in request_id)
    return request_id if is_visible and len(request_id) <= 128 else b""


def _open_span(exchange: _Exchange, is_public: bool) -> AbstractContextManager[Span]:
    """Opens the span of a request, in the trace of its caller unless that is outside the shop.

    Probes have none: no one reads their traces.
    """
    if exchange.path in _PROBES:
        return trace.use_span(trace.INVALID_SPAN)
    carrier = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in exchange.headers.items()
        if name.startswith(b"trace")
    }
    carrier[tracing.REQUEST_ID] = exchange.request_id.decode()
    open_trace = tracing.begin_trace if is_public else tracing.continue_trace
    return open_trace(exchange.method, tracing.SpanKind.SERVER, carrier)


def _describe(span: Span, exchange: _Exchange) -> None:
    """Follows OpenTelemetry's conventions for HTTP: https://opentelemetry.io/docs/specs/semconv/http/http-spans/."""
    span.update_name(f"{exchange.method} {exchange.route}")
    span.set_attributes({"http.request.method": exchange.method, "http.route": exchange.route})
    if exchange.status is not None:
        span.set_attribute("http.response.status_code", exchange.status)
        if exchange.status >= 500:
            span.set_status(trace.StatusCode.ERROR)


def _measure(exchange: _Exchange, seconds: float) -> None:
    labels = (exchange.method, exchange.route, exchange.status)
    SERVER_SECONDS.labels(*labels).observe(seconds, tracing.exemplar())


def _log(exchange: _Exchange, seconds: float) -> None:
    if exchange.route not in _PROBES:
        log.info(
            "request",
            method=exchange.method,
            route=exchange.route,
            status=exchange.status,
            milliseconds=round(seconds * 1000, 1),
        )
