"""The Redis client of services that depend on `chassis[cache]`.

Redis may lose its data at any time; its users must cope.
"""

import ssl
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from chassis.tls import SYSTEM, client_context


def connect(url: str, connections: int, authorities: str = "", *, decode_responses: bool = False) -> Redis:
    """Returns a client that connects on first use and never retries.

    With `rediss://` the server's certificate is verified by `authorities`, by default those of the system. The caller
    sets the deadlines: the client's own cost a task per command, and swallow cancellations before Python 3.12. Notices
    of maintenance are off: only Redis Enterprise sends them, and with them on the pool uses closed connections again.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=None,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        decode_responses=decode_responses,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    if urlsplit(url).scheme == "rediss":
        pool.connection_class = _EncryptedConnection
        pool.connection_kwargs["context"] = client_context(authorities or SYSTEM)
    return Redis.from_pool(pool)


class _EncryptedConnection(SSLConnection):
    """A connection with a context that all connections share: one of its own would load the authorities again."""

    def __init__(self, *, context: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context.context = context
