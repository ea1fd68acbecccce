"""Which headers pass through a gateway (RFC 9110, section 7.6), and what it adds. Pure."""

from collections.abc import Iterable, Mapping

from gateway_service.domain.callers import Caller, RawHeaders

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
_SET_ANEW = frozenset({b"host", b"expect", b"traceparent", b"tracestate", b"x-request-id"})
"""For the upstream; `Expect` was answered here."""
_CLAIMS = frozenset(
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
_CLAIMING = (b"x-forwarded-", b"x-user", b"x-auth", b"x-authenticated-", b"x-original-")
"""Headers that elsewhere say who calls, from where, or what is meant. No service here reads them; none is to begin to."""
_NOT_SENT_BACK = frozenset({b"date", b"server", b"x-request-id", b"ratelimit", b"ratelimit-policy"})
"""Set anew for the caller."""


def request_headers(received: RawHeaders, caller: Caller, added: Mapping[str, str]) -> list[tuple[str, str]]:
    """What the upstream is sent: what the caller said, but for what concerns one connection or claims an identity."""
    received = list(received)
    dropped = _HOP_BY_HOP | _SET_ANEW | _CLAIMS | _named_by_connection(received)
    own = {"x-forwarded-for": caller.way, "x-forwarded-proto": caller.scheme, "x-forwarded-host": caller.host}
    return [
        *((_text(n), _text(v)) for n, v in received if n not in dropped and not n.startswith(_CLAIMING)),
        *((name, value) for name, value in own.items() if value),
        *added.items(),
    ]


def response_headers(received: RawHeaders, base: str) -> list[tuple[bytes, bytes]]:
    """What the caller is sent. A redirection to the upstream's own address `base` becomes one to ours."""
    received = [(name.lower(), value) for name, value in received]
    dropped = _HOP_BY_HOP | _NOT_SENT_BACK | _named_by_connection(received)
    return [(name, _ours(name, value, base.encode())) for name, value in received if name not in dropped]


def has_body(received: RawHeaders) -> bool:
    """RFC 9112, section 6.3: one of these two announces a body."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in received
    )


def header(received: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    """All values of a header as one list (RFC 9110, section 5.3); empty where there is none."""
    return b", ".join(value for name, value in received if name == wanted)


def _named_by_connection(headers: RawHeaders) -> frozenset[bytes]:
    values = [value for name, value in headers if name == b"connection"]
    return frozenset(token.strip().lower() for value in values for token in value.split(b","))


def _ours(name: bytes, value: bytes, base: bytes) -> bytes:
    is_internal = name == b"location" and value.startswith(base + b"/")
    return value[len(base) :] if is_internal else value


def _text(octets: bytes) -> str:
    """Header values are ASCII (RFC 9110, 5.5); what people send besides is mostly UTF-8."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")
