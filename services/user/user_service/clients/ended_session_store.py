"""Writes the sessions that have ended to Redis, where the gateway reads them with each request."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from chassis.database import redis_client
from chassis.database.ended_sessions import ended_session_key
from redis.asyncio import Redis
from redis.exceptions import RedisError

_CONNECTIONS = 4


def connect(url: str, authorities: str = "") -> Redis:
    return redis_client.connect(url, _CONNECTIONS, authorities)


class EndedSessionStore:
    def __init__(self, redis: Redis, tenant: str, deadline_seconds: float) -> None:
        self._redis = redis
        self._tenant = tenant
        self._deadline_seconds = deadline_seconds

    async def add(self, session_ids: Sequence[UUID], lifetime: timedelta) -> bool:
        """Stores sessions for `lifetime`, in one round trip.

        Returns False if Redis did not confirm it within the deadline.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for session_id in session_ids:
            pipeline.set(ended_session_key(self._tenant, session_id), 1, ex=lifetime)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()
