"""Decides which responses are compressed, and sets their headers (RFC 9110, sections 8.4 and 12.5.3).

Only JSON responses of some size are compressed: compression costs time, and saves nothing below the size of a packet. A
response that may contain a secret is never compressed: its length would reveal the secret to an attacker who can place
text of their own next to it (BREACH).
"""

from functools import lru_cache

MIN_BYTES = 1024
_TYPES = (b"application/json", b"application/problem+json")
_EXCLUDED_STATUSES = (204, 206, 304)

Headers = list[tuple[bytes, bytes]]


def is_compressible(status: int, headers: Headers) -> bool:
    """Returns whether a response is compressed for callers that accept it."""
    values = dict(headers)
    length = values.get(b"content-length", b"0")
    return (
        status not in _EXCLUDED_STATUSES
        and b"content-encoding" not in values
        and b"no-transform" not in values.get(b"cache-control", b"")
        and values.get(b"content-type", b"").partition(b";")[0].strip().lower() in _TYPES
        and length.isdigit()
        and int(length) >= MIN_BYTES
    )


def with_vary(headers: Headers) -> Headers:
    """Returns the headers with a Vary header, because the response depends on Accept-Encoding."""
    varies_on = [value for name, value in headers if name == b"vary"]
    others = [header for header in headers if header[0] != b"vary"]
    return [*others, (b"vary", b", ".join([*varies_on, b"Accept-Encoding"]))]


def gzip_headers(headers: Headers) -> Headers:
    """Returns the headers of the same response in gzip: without a length, and with a weak ETag."""
    kept = [(name, _weak(value) if name == b"etag" else value) for name, value in headers if name != b"content-length"]
    return [*kept, (b"content-encoding", b"gzip")]


@lru_cache(256)
def accepts_gzip(accepted: bytes) -> bool:
    """Returns whether an Accept-Encoding header accepts gzip. An empty header does not."""
    weights: dict[bytes, float] = {}
    for part in accepted.lower().split(b","):
        name, *parameters = (token.strip() for token in part.split(b";"))
        weights[name] = _weight(parameters)
    gzip = weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", 0.0)))
    return gzip > 0 and gzip >= weights.get(b"identity", 0.0)


def _weight(parameters: list[bytes]) -> float:
    for parameter in parameters:
        if parameter.startswith(b"q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def _weak(tag: bytes) -> bytes:
    return tag if tag.startswith(b"W/") else b"W/" + tag
