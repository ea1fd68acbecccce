"""Answers to public reads, and when one of them is current (docs/adr/0033).

A public read is a GET whose answer is the same for every caller. Its service receives nothing of the request but the
path and the query, so the answer cannot depend on anything else.

Redis says which version of an answer is current, since when, and in which generation of the data that it shows. Each
change that passes a gateway begins a new generation, which ends every answer of an older one. Redis also has a change
count of each service. While those of the services whose data an answer shows are what they were when it was fetched, it
is as current as they are (docs/adr/0068).
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from gateway_service.domain import compression
from gateway_service.domain.routes import Route, Upstream

MAX_BODY_BYTES = 256 * 1024
"""The largest body that is shared. A larger one is streamed to each caller."""
NO_VERSION = b"-"
"""The version of an answer that each caller has to get for itself."""

_MICROSECONDS = 1_000_000
_ENTRY_OVERHEAD_BYTES = 2048
"""The memory of an entry's headers, names and objects."""
_COMPRESSION_LEVEL = 5
_GZIP_WBITS = 16 + zlib.MAX_WBITS
_SHARED_VARY = frozenset({b"", b"accept", b"accept-encoding"})
"""What answers may vary on: the gateway chooses the encoding itself, and asks for JSON alone."""
_PRIVATE = (b"private", b"no-store", b"no-cache", b"no-transform")
_NOT_MODIFIED_HEADERS = frozenset({b"cache-control", b"content-location", b"etag", b"expires", b"vary"})
"""The headers of a 304 (RFC 9110, section 15.4.5)."""
_ENTITY_TAG = re.compile(rb'(?:W/)?("[^"]*")')

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class PublicRead:
    """A public read. `target` is its path and query, the parameters sorted by name."""

    route: Route
    target: str

    @property
    def shows(self) -> Sequence[Upstream]:
        """The services whose data the answer shows."""
        return self.route.shows

    @property
    def digest(self) -> str:
        return blake2b(self.target.encode(), digest_size=16).hexdigest()


def target_of(path: str, query: str) -> str:
    """Returns the path and query of a read. The order of parameters with different names has no meaning."""
    if not query:
        return path
    return f"{path}?{'&'.join(sorted(query.split('&'), key=_parameter_name))}"


def _parameter_name(parameter: str) -> str:
    return parameter.partition("=")[0]


@dataclass(frozen=True, slots=True)
class Representation:
    """One encoding of an answer."""

    headers: Headers
    body: bytes

    @property
    def etag(self) -> bytes:
        return dict(self.headers).get(b"etag", b"")

    def not_modified_headers(self) -> Headers:
        return [header for header in self.headers if header[0] in _NOT_MODIFIED_HEADERS]


@dataclass(slots=True)
class Answer:
    """The answer of a service to a public read, encoded once for all callers."""

    status: int
    version: bytes
    """A digest of the status, the headers and the body: equal answers have equal versions, in every process."""
    plain: Representation
    is_compressible: bool
    _gzip: Representation | None = field(default=None, init=False)

    @property
    def may_be_kept(self) -> bool:
        return self.status == 200

    @property
    def may_be_confirmed(self) -> bool:
        """False for an answer of which the service says how long it may be used: it lacks a part, for example."""
        return not any(name == b"cache-control" for name, _ in self.plain.headers)

    @property
    def size(self) -> int:
        """The memory that it may occupy in bytes: its compressed form is kept beside the plain one."""
        return _ENTRY_OVERHEAD_BYTES + len(self.plain.body) * (2 if self.is_compressible else 1)

    def representation(self, *, accepts_gzip: bool) -> Representation:
        """Returns the encoding for a caller. The first caller that accepts gzip causes the compression."""
        if not (accepts_gzip and self.is_compressible):
            return self.plain
        if self._gzip is None:
            self._gzip = _compress(self.plain)
        return self._gzip


def make_answer(status: int, headers: Headers, body: bytes) -> Answer | None:
    """Returns the answer that all callers share, None if the service does not allow that by its headers."""
    if not _is_shared(headers):
        return None
    headers = [header for header in headers if header[0] != b"content-length"]
    digest = blake2b(b"%d %r" % (status, headers), digest_size=16)
    digest.update(body)
    version = digest.hexdigest().encode()
    if status == 200 and not any(name == b"etag" for name, _ in headers):
        headers = [*headers, (b"etag", b'"%s"' % version)]
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    is_compressible = compression.is_compressible(status, headers)
    plain = Representation(compression.with_vary(headers) if is_compressible else headers, body)
    return Answer(status, version, plain, is_compressible)


def _is_shared(headers: Headers) -> bool:
    """Returns whether the service lets callers share the answer (RFC 9111, section 5.2.2)."""
    return not any(
        (name == b"cache-control" and any(directive in value.lower() for directive in _PRIVATE))
        or (name == b"vary" and not {token.strip().lower() for token in value.split(b",")} <= _SHARED_VARY)
        or name in (b"set-cookie", b"content-encoding")
        for name, value in headers
    )


def _compress(plain: Representation) -> Representation:
    compressor = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, _GZIP_WBITS)
    body = compressor.compress(plain.body) + compressor.flush()
    return Representation([*compression.gzip_headers(plain.headers), (b"content-length", b"%d" % len(body))], body)


def has_etag(if_none_match: bytes, etag: bytes) -> bool:
    """Returns whether an If-None-Match header names an entity tag, by weak comparison (RFC 9110, section 13.1.2)."""
    if if_none_match.strip() == b"*":
        return True
    return etag.removeprefix(b"W/") in _ENTITY_TAG.findall(if_none_match) if etag else False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What Redis says about one public read at one time."""

    generations: bytes
    """The generations of all data that the answer shows."""
    record: bytes
    """The current version with its start, generations and change counts; empty if none is known."""
    now: int
    """Microseconds, by the clock of Redis."""
    counts: bytes = b""
    """The change counts of all services whose data the answer shows; empty if one of them is not known."""
    counted_at: int = 0
    """When the oldest of these counts began to be read, in microseconds by the clock of Redis."""

    def age(self, version: bytes) -> float | None:
        """Returns the seconds since a version was known to be what the service answers; None if it is not current.

        None also after a change of the data. The service was asked after the start of these seconds, or its data has
        not changed from when it was asked until then.
        """
        current, started, generations, counts = (*self.record.split(b" "), b"", b"", b"", b"")[:4]
        if current != version or generations != self.generations:
            return None
        known_at = int(started)
        if counts and counts == self.counts and self.counted_at <= self.now:  # a failover may have put the clock back
            known_at = max(known_at, self.counted_at)
        return (self.now - known_at) / _MICROSECONDS


CACHE_STATUSES: Mapping[str, bytes] = {
    "hit": b"gateway; hit",
    "collapsed": b"gateway; fwd=miss; collapsed",
    "stored": b"gateway; fwd=miss; stored",
    "passed": b"gateway; fwd=miss",
    "bypassed": b"gateway; fwd=bypass",
}
"""The values of Cache-Status (RFC 9211) by the result of a lookup."""
