"""The Redis client of services that depend on `chassis[cache]`.

Redis may lose its data at any time; its users must cope.
"""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def connect(url: str, connections: int, *, decode_responses: bool = False) -> Redis:
    """Returns a client that connects on first use and never retries.

    The caller sets the deadlines: the client's own cost a task per command, and swallow cancellations before Python
    3.12.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=None,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        decode_responses=decode_responses,
    )
    return Redis.from_pool(pool)
