"""What comes first: which requests are the gateway's own, and what every answer says to browsers."""

from collections.abc import Awaitable, Callable

from chassis.schemas import Data
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OWN = ("/health", "/ready", "/swagger")
_DOCUMENT = "/openapi.json"


class Entry:
    """Three applications in one: the gateway's own pages, the merged document, and everybody else's requests."""

    def __init__(self, own: ASGIApp, document: ASGIApp, proxy: ASGIApp) -> None:
        self._own = own
        self._document = document
        self._proxy = proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._choose(scope["path"])(scope, receive, _with(_policy(scope["path"]), send))

    def _choose(self, path: str) -> ASGIApp:
        if path == _DOCUMENT:
            return self._document
        return self._own if path == "/" or path.startswith(_OWN) else self._proxy


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

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = _DocumentRoute
        await Response(await current(), media_type="application/json")(scope, receive, send)

    return answer


class _DocumentRoute:
    path = _DOCUMENT


# OWASP's REST Security Cheat Sheet: answers are data, not pages. The one page there is loads its own scripts and styles,
# some of them inline.
_COMMON = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-site"),
]
_DATA = [*_COMMON, (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")]
_PAGE_SOURCES = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)
_PAGE = [*_COMMON, (b"content-security-policy", _PAGE_SOURCES.encode())]


def _policy(path: str) -> list[tuple[bytes, bytes]]:
    return _PAGE if path.startswith("/swagger") else _DATA


def _with(headers: list[tuple[bytes, bytes]], send: Send) -> Send:
    """`send` that adds headers which the answer does not set itself."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            set_already = {name for name, _ in message["headers"]}
            added = [header for header in headers if header[0] not in set_already]
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return send_with_headers
