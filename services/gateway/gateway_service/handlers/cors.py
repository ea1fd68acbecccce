"""Cross-origin resource sharing: which web pages may call the API, and what of it they may read (Fetch standard)."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALLOWED_HEADERS = ("Authorization", "Cart-Token", "Content-Type", "Idempotency-Key", "If-Match", "X-Request-Id")
"""The headers of requests that the API reads."""
_SAFELISTED = frozenset(
    {
        b"cache-control",
        b"content-language",
        b"content-length",
        b"content-type",
        b"expires",
        b"last-modified",
        b"pragma",
    }
)
"""The headers of responses that each page may read: https://fetch.spec.whatwg.org/#cors-safelisted-response-header-name."""


def with_cors(origins: str, app: ASGIApp) -> ASGIApp:
    """Allows requests of the pages of `origins`, which are separated by commas. They may read every header."""
    allowed = [origin.strip() for origin in origins.split(",") if origin.strip()]
    if not allowed:
        return app
    return CORSMiddleware(
        _with_exposed_headers(app),
        allow_origins=allowed,
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=ALLOWED_HEADERS,
    )


def _with_exposed_headers(inner: ASGIApp) -> ASGIApp:
    """Exposes the headers that a response has, so that no list of them can be incomplete."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_exposed(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = sorted({name.lower() for name, _ in message["headers"]} - _SAFELISTED)
                exposed = (b"access-control-expose-headers", b", ".join(names))
                message = {**message, "headers": [*message["headers"], exposed]}
            await send(message)

        await inner(scope, receive, send_exposed)

    return serve
