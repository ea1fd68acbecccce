"""Routes each request to one of the gateway's applications, after it has found the client's address."""

from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway_service.domain.client_address import TrustedProxies
from gateway_service.handlers.own_pages import OPENAPI_PATH
from gateway_service.handlers.security_headers import security_headers, with_headers

IGNORED = Counter(
    "forwarded_headers_ignored_total",
    "Requests whose X-Forwarded-* headers were ignored, because their peer is no trusted proxy",
)
_OWN_PATHS = ("/health", "/ready", "/swagger")


class Router:
    """Sends requests to the gateway's own pages, to the OpenAPI document, or to the proxy."""

    def __init__(self, proxies: TrustedProxies, own_pages: ASGIApp, openapi: ASGIApp, proxy: ASGIApp) -> None:
        self._proxies = proxies
        self._own_pages = own_pages
        self._openapi = openapi
        self._proxy = proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        peer = scope["client"][0] if scope["client"] else ""
        client = self._proxies.client_address(peer, scope["scheme"], scope["headers"])
        scope["client_address"] = client
        if client.ignores_headers:
            IGNORED.inc()
        send = with_headers(security_headers(path, client.scheme), send)
        if path == OPENAPI_PATH:
            await _with_head(self._openapi)(scope, receive, send)
        elif path == "/" or path.startswith(_OWN_PATHS):
            await _with_head(self._own_pages)(scope, receive, send)
        else:
            await self._proxy(scope, receive, send)


def _with_head(inner: ASGIApp) -> ASGIApp:
    """Adds HEAD to an application: the response to GET without its body (RFC 9110, section 9.3.2)."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_head(message: Message) -> None:
            is_body = message["type"] == "http.response.body"
            await send({**message, "body": b""} if is_body else message)

        if scope["method"] == "HEAD":
            await inner({**scope, "method": "GET"}, receive, send_head)
        else:
            await inner(scope, receive, send)

    return serve
