"""What comes first: where a request comes from, which are the gateway's own, and what every answer says to browsers."""

from collections.abc import Awaitable, Callable

from chassis.http.problems import problem_response
from chassis.http.schemas import Data
from chassis.types.problem import Problem
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway_service.domain.callers import TrustedProxies

_OWN = ("/health", "/ready", "/swagger")
_DOCUMENT = "/openapi.json"


class Entry:
    """Three applications in one: the gateway's own pages, the merged document, and everybody else's requests."""

    def __init__(self, proxies: TrustedProxies, own: ASGIApp, document: ASGIApp, proxy: ASGIApp) -> None:
        self._proxies = proxies
        self._own = own
        self._document = document
        self._proxy = proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        caller = self._proxies.caller(scope["client"][0] if scope["client"] else "", scope["scheme"], scope["headers"])
        scope["caller"] = caller
        send = _with(_policy(path, caller.scheme), send)
        if path == _DOCUMENT:
            await _as_get(self._document)(scope, receive, send)
        elif path == "/" or path.startswith(_OWN):
            await _as_get(self._own)(scope, receive, send)
        else:
            await self._proxy(scope, receive, send)


class Welcome(BaseModel):
    name: str
    version: str
    documentation: str = "/swagger/"
    api: str = "/api/v1"


def welcome(title: str, version: str) -> APIRouter:
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def root() -> Data[Welcome]:
        return Data(data=Welcome(name=title, version=version))

    return router


def document(current: Callable[[], Awaitable[bytes]]) -> ASGIApp:
    """Serves the merged OpenAPI document."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = _DocumentRoute
        answer = Response(await current(), media_type="application/json") if scope["method"] == "GET" else _READ_ONLY
        await answer(scope, receive, send)

    return serve


class _DocumentRoute:
    path = _DOCUMENT


_READ_ONLY = problem_response(
    Problem(405, "method_not_allowed", {"Allow": "GET, HEAD"}), "this document can be read, and nothing else"
)


def _as_get(inner: ASGIApp) -> ASGIApp:
    """HEAD is answered as GET is, without the body (RFC 9110, section 9.3.2)."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_head(message: Message) -> None:
            is_body = message["type"] == "http.response.body"
            await send({**message, "body": b""} if is_body else message)

        if scope["method"] == "HEAD":
            await inner({**scope, "method": "GET"}, receive, send_head)
        else:
            await inner(scope, receive, send)

    return serve


# OWASP's REST Security Cheat Sheet: answers are data, not pages. The one page there is loads its own scripts and styles,
# some of them inline.
_COMMON = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-site"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
]
_DATA = [*_COMMON, (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")]
_PAGE_SOURCES = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = [*_COMMON, (b"content-security-policy", _PAGE_SOURCES.encode())]
# RFC 6797, section 7.2: said over https alone.
_OVER_HTTPS = (b"strict-transport-security", b"max-age=31536000")


def _policy(path: str, scheme: str) -> list[tuple[bytes, bytes]]:
    policy = _PAGE if path.startswith("/swagger") else _DATA
    return [*policy, _OVER_HTTPS] if scheme == "https" else policy


def _with(headers: list[tuple[bytes, bytes]], send: Send) -> Send:
    """`send` that adds headers which the answer does not set itself."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            set_already = {name for name, _ in message["headers"]}
            added = [header for header in headers if header[0] not in set_already]
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return send_with_headers
