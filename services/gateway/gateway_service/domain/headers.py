"""Decides which headers pass through the gateway (RFC 9110, section 7.6), and which ones it adds."""

from collections.abc import Iterable, Mapping

from gateway_service.domain.client_address import ClientAddress, RawHeaders

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_REPLACED_IN_REQUESTS = frozenset({b"baggage", b"host", b"expect", b"traceparent", b"tracestate", b"x-request-id"})
"""The gateway sets its own values for the upstream. It has answered `Expect` itself."""
_IDENTITY_HEADERS = frozenset(
    {
        b"forwarded",
        b"remote-user",
        b"x-client-ip",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-url",
        b"x-real-ip",
        b"x-remote-user",
        b"x-rewrite-url",
        b"x-role",
        b"x-roles",
        b"x-tenant",
    }
)
_IDENTITY_PREFIXES = (b"x-forwarded-", b"x-user", b"x-auth", b"x-authenticated-", b"x-original-")
"""Headers that state the caller, its address or the actual request elsewhere.

No service may ever read one from a caller.
"""
_REPLACED_IN_RESPONSES = frozenset({b"date", b"server", b"x-request-id", b"ratelimit", b"ratelimit-policy"})
"""The gateway sets its own values for the caller."""


def request_headers(received: RawHeaders, client: ClientAddress, added: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns the headers for the upstream: the caller's, except those of the connection and of an identity."""
    received = list(received)
    dropped = _HOP_BY_HOP | _REPLACED_IN_REQUESTS | _IDENTITY_HEADERS | _named_by_connection(received)
    forwarded = {
        "x-forwarded-for": client.forwarded_for,
        "x-forwarded-proto": client.scheme,
        "x-forwarded-host": client.host,
        "x-real-ip": client.address,
    }
    return [
        *((_text(n), _text(v)) for n, v in received if n not in dropped and not n.startswith(_IDENTITY_PREFIXES)),
        *((name, value) for name, value in forwarded.items() if value),
        *added.items(),
    ]


def response_headers(received: RawHeaders, base: str) -> list[tuple[bytes, bytes]]:
    """Returns the headers for the caller. In `Location`, the upstream's own address `base` is removed."""
    received = [(name.lower(), value) for name, value in received]
    dropped = _HOP_BY_HOP | _REPLACED_IN_RESPONSES | _named_by_connection(received)
    return [(name, _external(name, value, base.encode())) for name, value in received if name not in dropped]


def has_body(received: RawHeaders) -> bool:
    """Returns whether a request has a body (RFC 9112, section 6.3)."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in received
    )


def header(received: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Returns all values of a header as one list (RFC 9110, section 5.3); empty if it is missing."""
    return b", ".join(value for received_name, value in received if received_name == name)


def _named_by_connection(headers: RawHeaders) -> frozenset[bytes]:
    values = [value for name, value in headers if name == b"connection"]
    return frozenset(token.strip().lower() for value in values for token in value.split(b","))


def _external(name: bytes, value: bytes, base: bytes) -> bytes:
    is_internal = name == b"location" and value.startswith(base + b"/")
    return value[len(base) :] if is_internal else value


def _text(octets: bytes) -> str:
    """Decodes a header value. Values should be ASCII (RFC 9110, section 5.5); most others are UTF-8."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")
