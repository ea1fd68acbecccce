"""The open connections of an HTTP server, and how many there may be."""

import collections
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Counter, Gauge

from chassis.types.addresses import network_key

OPEN = Gauge("http_server_connections", "Open HTTP connections")
ENDED = Counter(
    "http_server_connections_ended_total",
    "HTTP connections that the server ended: reason malformed, head_too_large, head_timeout, body_timeout, "
    "reader_stalled, evicted or too_many",
    ["reason"],
)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How much of a server connections may occupy, and how long a client may take for each step."""

    total: int = 1000
    per_address: int = 300
    """An address is that of an IPv4 client, or the /64 of an IPv6 subscriber."""
    head_bytes: int = 32 * 1024
    """The size of a request's head: the request line and all headers, and the trailers after its body."""
    head_seconds: float = 10.0
    """The time until a new connection has its first octet, and then for the whole head of each request."""
    body_seconds: float = 60.0
    """The time for the whole body. An application may set a shorter one."""
    discard_seconds: float = 5.0
    """How long a server reads a body that the application has not read, so that the client can read the response."""
    stall_seconds: float = 30.0
    """How long a client may read so slowly that nothing can be sent."""
    idle_seconds: int = 75
    """How long a connection without a request stays open: longer than load balancers keep theirs, which is 60 s."""


class Connection(Protocol):
    """One connection of a server."""

    @property
    def peer(self) -> str:
        """The address of the other end."""

    def evict(self) -> None:
        """Closes the connection, on which no request is being answered."""


class ConnectionTable:
    """The connections of one server. A new one takes the place of the one that is idle for the longest time.

    So connections on which nothing happens, or on which a head arrives slowly, never keep other clients out, nor the
    probes of the kubelet: only requests that are being answered do, and those have deadlines and limits of their own.
    """

    def __init__(self, limits: ConnectionLimits, is_proxy: Callable[[str], bool]) -> None:
        """`is_proxy` tells the addresses of proxies: they have the connections of many clients, and no limit."""
        self._limits = limits
        self._is_proxy = is_proxy
        self._keys: dict[Connection, str] = {}
        self._idle: dict[Connection, None] = {}
        """Connections on which no request is being answered, the one that is idle for the longest time first."""
        self._by_key: collections.Counter[str] = collections.Counter()

    def add(self, connection: Connection) -> bool:
        """Adds a connection, which is idle. Returns False if there are too many, and none that may be evicted."""
        key = network_key(connection.peer)
        if self._by_key[key] >= self._limits.per_address and not self._is_proxy(connection.peer):
            is_free = self._evict_idle(key)
        elif len(self._keys) >= self._limits.total:
            is_free = self._evict_idle(None)
        else:
            is_free = True
        if not is_free:
            ENDED.labels("too_many").inc()
            return False
        self._keys[connection] = key
        self._by_key[key] += 1
        self._idle[connection] = None
        OPEN.inc()
        return True

    def remove(self, connection: Connection) -> None:
        """Removes a connection, unless it was evicted or refused."""
        key = self._keys.pop(connection, None)
        if key is None:
            return
        self._idle.pop(connection, None)
        self._by_key[key] -= 1
        if not self._by_key[key]:
            del self._by_key[key]
        OPEN.dec()

    def mark_busy(self, connection: Connection) -> None:
        self._idle.pop(connection, None)

    def mark_idle(self, connection: Connection) -> None:
        if connection in self._keys:
            self._idle[connection] = None

    def _evict_idle(self, key: str | None) -> bool:
        """Evicts the connection that is idle for the longest time; of a `key`, if one is given. Returns if it did."""
        oldest = next((connection for connection in self._idle if key in (None, self._keys[connection])), None)
        if oldest is None:
            return False
        self.remove(oldest)
        ENDED.labels("evicted").inc()
        oldest.evict()
        return True
