"""The HTTP side of a service: FastAPI with problem+json errors, health, documentation, limits and measurements."""

import importlib.resources
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from opentelemetry import trace
from opentelemetry.trace import Span
from prometheus_client import Histogram
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import logs, problems, tracing
from chassis.kernel.ids import uuid7
from chassis.kernel.problem import PROBLEM_SCHEMA
from chassis.problems import Problem, ProblemError, ProblemTable

SERVER_SECONDS = Histogram(
    "http_server_request_duration_seconds", "Time to answer a request",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)  # fmt: skip
MAX_BODY_BYTES = 1024 * 1024
REQUEST_ID = tracing.REQUEST_ID.encode()
_PROBES = ("/health", "/ready")

MALFORMED_JSON = Problem(400, "malformed_json")
INVALID_FIELD = Problem(422, "invalid_field")
NOT_READY = Problem(503, "not_ready", {"Retry-After": "1"})
INTERNAL = Problem(500, "internal")
BODY_TOO_LARGE = Problem(413, "body_too_large")
_BY_STATUS = {
    problem.status: problem
    for problem in (MALFORMED_JSON, Problem(404, "no_such_route"), Problem(405, "method_not_allowed"), BODY_TOO_LARGE)
}

log = logs.get(__name__)


class Readiness:
    """Whether this process wants traffic: its own parts answer, and it is not stopping. Neighbours do not count."""

    def __init__(self, *checks: Callable[[], Awaitable[bool]]) -> None:
        self._checks = checks
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def __call__(self) -> bool:
        return not self._stopping and all([await check() for check in self._checks])


def app(title: str, version: str, routers: Sequence[APIRouter], table: ProblemTable, ready: Readiness) -> ASGIApp:
    """The whole ASGI application of a service. `table` says what its domain errors look like outside."""
    api = FastAPI(
        title=title,
        version=version,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,  # what generated clients call their methods
        responses={"4XX": problem_answer("RFC 9457 problem")},
    )
    parts = [_probes(ready), *routers]
    _show_errors(api, table, [route for router in parts for route in router.routes])
    show_documentation(api, title)
    for router in parts:
        api.include_router(router)
    return Edge(api, table)


def show_documentation(api: FastAPI, title: str) -> None:
    """Swagger UI at /swagger/, its assets from this process."""
    assets = importlib.resources.files("fastapi_offline") / "static"
    api.mount("/swagger/assets", StaticFiles(directory=str(assets)))

    @api.get("/swagger", include_in_schema=False)
    async def without_slash() -> RedirectResponse:
        return RedirectResponse("/swagger/")

    @api.get("/swagger/", include_in_schema=False)
    async def swagger() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="../openapi.json",
            title=title,
            swagger_js_url="assets/swagger-ui-bundle.js",
            swagger_css_url="assets/swagger-ui.css",
            swagger_favicon_url="assets/favicon.png",
        )


def problem_answer(description: str) -> dict[str, Any]:
    """How an OpenAPI document describes an answer that is a problem."""
    return {"description": description, "content": {problems.JSON_TYPE: {"schema": PROBLEM_SCHEMA}}}


def problem_response(problem: Problem, detail: str, **members: object) -> JSONResponse:
    return JSONResponse(
        problems.document(problem, detail, **members), problem.status, dict(problem.headers), problems.JSON_TYPE
    )


def _probes(ready: Readiness) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/health", summary="Liveness: the process answers")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/ready", summary="Readiness: the process wants traffic")
    async def readiness() -> dict[str, str]:
        if not await ready():
            raise ProblemError(NOT_READY, "this process is starting, stopping, or waits for its database")
        return {"status": "ready"}

    return router


def _show_errors(api: FastAPI, table: ProblemTable, routes: Sequence[BaseRoute]) -> None:
    @api.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error)

    @api.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        headers = {"Allow": _methods(routes, request.scope)} if error.status_code == 405 else error.headers or {}
        problem = _BY_STATUS.get(error.status_code) or Problem(error.status_code, "refused")
        return problem_response(replace(problem, headers=headers), str(error.detail))

    @api.exception_handler(Exception)
    async def unforeseen(_request: Request, _error: Exception) -> JSONResponse:
        return _internal()  # and Starlette raises the error again, for Edge to log

    kinds: set[type[Exception]] = {ProblemError, *problems.COMMON, *table}
    for kind in kinds:
        api.add_exception_handler(kind, _foreseen(table))


def _foreseen(table: ProblemTable) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def answer(_request: Request, error: Exception) -> JSONResponse:
        problem = problems.find(error, table)
        if problem is None:
            raise error
        members = error.members if isinstance(error, ProblemError) else problem.members(error)
        return problem_response(problem, str(error), **members)

    return answer


def _invalid(error: RequestValidationError) -> JSONResponse:
    complaints = error.errors()
    if any(complaint["type"] == "json_invalid" for complaint in complaints):
        return problem_response(MALFORMED_JSON, "the body is not JSON")
    fields = [
        {"field": ".".join(str(part) for part in c["loc"][1:]) or str(c["loc"][0]), "message": _plain(c["msg"])}
        for c in complaints
    ]
    summary = "; ".join(f"{field['field']}: {field['message']}" for field in fields[:5])
    return problem_response(INVALID_FIELD, summary, errors=fields)


def _plain(message: str) -> str:
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


class Edge:
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
                await _internal()(scope, exchange.receive, exchange.send)


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


def _methods(routes: Sequence[BaseRoute], scope: Scope) -> str:
    """What a path can be asked for: its methods are on routes of their own, of which Starlette names only the first."""
    matching = [route for route in routes if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE]
    spelt_out = min((route.path for route in matching), key=lambda path: path.count("{"), default="")
    methods = {method for route in matching if route.path == spelt_out for method in route.methods or ()}
    return ", ".join(sorted(methods))


def _internal() -> JSONResponse:
    trace_id = trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)
    return problem_response(INTERNAL, f"an unforeseen error; it is logged as trace {trace_id}")


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
    return tracing.following(scope["method"], tracing.SpanKind.SERVER, carrier)


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
