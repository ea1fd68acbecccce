"""Which headers pass through a gateway (RFC 9110, section 7.6), and what it adds. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Names in lower case."""

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
_NOT_SENT_ON = frozenset({b"host", b"expect", b"traceparent", b"tracestate", b"x-request-id", b"x-forwarded-for"})
"""Set anew for the upstream; `Expect` was answered here."""
_NOT_SENT_BACK = frozenset({b"date", b"server", b"x-request-id"})
"""Set anew for the caller."""


@dataclass(frozen=True, slots=True)
class Caller:
    """How a request arrived."""

    address: str
    scheme: str
    host: str


def request_headers(received: RawHeaders, caller: Caller, added: Mapping[str, str]) -> list[tuple[str, str]]:
    """What the upstream is sent. Forwarding headers of a proxy in front of us are continued; services trust none of them."""
    received = list(received)
    dropped = _HOP_BY_HOP | _NOT_SENT_ON | _named_by_connection(received)
    kept = [(_text(name), _text(value)) for name, value in received if name not in dropped]
    names = {name for name, _ in kept}
    path = [_text(value) for name, value in received if name == b"x-forwarded-for"]
    own = {"x-forwarded-proto": caller.scheme, "x-forwarded-host": caller.host}
    return [
        *kept,
        ("x-forwarded-for", ", ".join([*path, caller.address])),
        *((name, value) for name, value in own.items() if name not in names and value),
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
