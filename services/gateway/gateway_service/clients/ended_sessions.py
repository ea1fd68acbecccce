"""Looks sessions up among those that have ended, which the user service stores in Redis.

While Redis is unavailable no session counts as ended (docs/adr/0024): the shop stays available, and an access token of
an ended session is accepted until it expires.
"""

import asyncio
from dataclasses import dataclass
from uuid import UUID

from chassis.database.ended_sessions import ended_session_key
from prometheus_client import Counter

from gateway_service.clients.redis_pipeline import RedisPipeline, Reply

UNCHECKED = Counter("session_checks_unavailable_total", "Requests whose session was not checked: Redis did not respond")
REFUSED = Counter("ended_session_requests_total", "Requests refused because the session of their token has ended")


@dataclass(frozen=True, slots=True)
class SessionCheck:
    """A session that Redis was asked for."""

    reply: "asyncio.Future[Reply | None]"

    async def has_ended(self) -> bool:
        """Returns whether the session has ended; False if Redis did not respond."""
        reply = await self.reply
        if reply is None:
            UNCHECKED.inc()
        elif reply:
            REFUSED.inc()
        return bool(reply)


class EndedSessionLookup:
    def __init__(self, redis: RedisPipeline, tenant: str) -> None:
        """`tenant` separates the keys of shops that share a Redis."""
        self._redis = redis
        self._tenant = tenant

    def look(self, session_id: UUID) -> SessionCheck:
        """Asks Redis, in the pipeline of the commands that follow at once."""
        return SessionCheck(self._redis.send("EXISTS", ended_session_key(self._tenant, session_id)))
