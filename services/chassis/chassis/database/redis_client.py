"""Redis, for the services that ask for `chassis[cache]`. What is in it may go at any time: its users do without."""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def connect(url: str, connections: int, *, decode_responses: bool = False) -> Redis:
    """A client that connects on first use and repeats nothing. Its user sets the deadlines: the client's own cost a task
    per command, and swallow cancellations before Python 3.12.
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
