"""Which answers are compressed, and what their headers say then (RFC 9110, sections 8.4 and 12.5.3). Pure.

Only what is read, is JSON, and has some size: compressing costs time, and saves nothing below a packet. Never an answer that
may hold a secret: its length would tell of it to who can put words of their own beside it (BREACH).
"""

from functools import lru_cache

MIN_BYTES = 1024
_TYPES = (b"application/json", b"application/problem+json")
_UNTOUCHED = (204, 206, 304)

Headers = list[tuple[bytes, bytes]]


def is_compressible(status: int, headers: Headers) -> bool:
    """Whether an answer would be compressed for who accepts it."""
    values = dict(headers)
    length = values.get(b"content-length", b"0")
    return (
        status not in _UNTOUCHED
        and b"content-encoding" not in values
        and b"no-transform" not in values.get(b"cache-control", b"")
        and values.get(b"content-type", b"").partition(b";")[0].strip().lower() in _TYPES
        and length.isdigit()
        and int(length) >= MIN_BYTES
    )


def varying(headers: Headers) -> Headers:
    """The headers, saying that the answer depends on what the caller accepts."""
    varies_on = [value for name, value in headers if name == b"vary"]
    others = [header for header in headers if header[0] != b"vary"]
    return [*others, (b"vary", b", ".join([*varies_on, b"Accept-Encoding"]))]


def compressed(headers: Headers) -> Headers:
    """The headers of the same answer in gzip: of unknown length, and no longer equal to the original byte by byte."""
    kept = [(name, _weak(value) if name == b"etag" else value) for name, value in headers if name != b"content-length"]
    return [*kept, (b"content-encoding", b"gzip")]


@lru_cache(256)
def accepts_gzip(accepted: bytes) -> bool:
    """Reads an Accept-Encoding; none at all means that nothing was said for gzip."""
    weights: dict[bytes, float] = {}
    for part in accepted.lower().split(b","):
        name, *parameters = (word.strip() for word in part.split(b";"))
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
