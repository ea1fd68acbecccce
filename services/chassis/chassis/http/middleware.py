"""The middleware around every request: request id, trace, size limit, measurement, and an answer to unexpected errors."""

import time
from collections.abc import Mapping
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
    """What surrounds every request: its id, its trace, its size limit, its measurement, and an answer to what nobody foresaw."""

    def __init__(self, inner: ASGIApp, table: ProblemTable) -> None:
        self._inner = inner
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        exchange = _Exchange(headers, receive, send)
        started = time.perf_counter()
        with _span(scope, headers, exchange.request_id) as span:
            await self._answer(scope, exchange)
            route = _route(scope)
            seconds = time.perf_counter() - started
            _describe(span, scope["method"], route, exchange.status)
            SERVER_SECONDS.labels(scope["method"], route, exchange.status).observe(seconds, tracing.exemplar())
            _log(scope, route, exchange.status, seconds)

    async def _answer(self, scope: Scope, exchange: "_Exchange") -> None:
        try:
            await self._inner(scope, exchange.receive, exchange.send)
        except Exception:
            log.exception("unforeseen error", method=scope["method"], path=scope["path"])
            if exchange.status is None:
                await internal_error()(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request and its answer, counted as they pass."""

    def __init__(self, headers: Mapping[bytes, bytes], receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._received = 0
        self.request_id = _acceptable(headers.get(REQUEST_ID, b"")) or str(uuid7()).encode()
        length = headers.get(b"content-length", b"0")
        self._declared_length = int(length) if length.isdigit() else 0
        self.status: int | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if max(self._received, self._declared_length) > MAX_BODY_BYTES:
            raise HTTPException(413, f"a body has at most {MAX_BODY_BYTES} bytes")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], (REQUEST_ID, self.request_id)]}
        await self._send(message)


def _acceptable(request_id: bytes) -> bytes:
    """A caller's request id, if it is one: up to 128 visible ASCII characters."""
    is_visible = all(0x21 <= character <= 0x7E for character in request_id)
    return request_id if is_visible and len(request_id) <= 128 else b""


def _route(scope: Scope) -> str:
    """The route's template, so that labels stay few; `unmatched` where there is none."""
    return str(getattr(scope.get("route"), "path", "unmatched"))


def _span(scope: Scope, headers: Mapping[bytes, bytes], request_id: bytes) -> AbstractContextManager[Span]:
    """A probe is nobody's request, and has none."""
    if scope["path"] in _PROBES:
        return trace.use_span(trace.INVALID_SPAN)
    caller = {name.decode("latin-1"): v.decode("latin-1") for name, v in headers.items() if name.startswith(b"trace")}
    carrier = {**caller, tracing.REQUEST_ID: request_id.decode()}
    return tracing.continue_trace(scope["method"], tracing.SpanKind.SERVER, carrier)


def _describe(span: Span, method: str, route: str, status: int | None) -> None:
    """By OpenTelemetry's conventions for HTTP: https://opentelemetry.io/docs/specs/semconv/http/http-spans/."""
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.request.method": method, "http.route": route})
    if status is not None:
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(trace.StatusCode.ERROR)


def _log(scope: Scope, route: str, status: int | None, seconds: float) -> None:
    if route not in _PROBES:
        log.info("request", method=scope["method"], route=route, status=status, milliseconds=round(seconds * 1000, 1))
