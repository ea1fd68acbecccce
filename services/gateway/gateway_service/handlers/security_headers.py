"""Adds the security headers to every response.

OWASP's REST Security Cheat Sheet: responses are data, not pages. The only page, /swagger/, loads scripts and styles
from the gateway, and has some of them inline.
"""

from starlette.types import Message, Send

Headers = list[tuple[bytes, bytes]]

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
_HSTS = (b"strict-transport-security", b"max-age=31536000")


def security_headers(path: str, scheme: str) -> Headers:
    """Returns the headers for a path. Strict-Transport-Security is only sent over https (RFC 6797, section 7.2)."""
    headers = _PAGE if path.startswith("/swagger") else _DATA
    return [*headers, _HSTS] if scheme == "https" else headers


def with_headers(headers: Headers, send: Send) -> Send:
    """Returns a `send` that adds the headers which a response does not set itself."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name for name, _ in message["headers"]}
            added = [header for header in headers if header[0] not in names]
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return send_with_headers
