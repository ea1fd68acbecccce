"""Stores confirmations of change counts in Redis, where the gateway reads them."""

import asyncio
import math
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from chassis.database.confirmations import Confirmation, confirmation_key, demand_key
from chassis.observability import logs
from redis.asyncio import Redis
from redis.exceptions import RedisError

_EXPIRY_SECONDS = 60
"""Longer than a confirmation is of use: its age decides."""

log = logs.get_logger(__name__)

_Reply = TypeVar("_Reply")


@dataclass(frozen=True, slots=True)
class Demand:
    """What Redis has while a gateway has use for confirmations."""

    now: int
    """Microseconds, by the clock of Redis."""
    confirmations: Mapping[str, Confirmation | None]

    def age_of(self, service: str) -> float:
        """Returns the seconds since a service's count began to be read; infinity if it was not."""
        confirmation = self.confirmations[service]
        return math.inf if confirmation is None else (self.now - confirmation.at) / 1_000_000


class ConfirmationStore:
    """Reads and writes confirmations. While Redis does not respond there are none, and the gateway needs none."""

    def __init__(self, redis: Redis, tenant: str, deadline: float) -> None:
        """`tenant` separates shops that share a Redis. `deadline` limits each exchange, in seconds."""
        self._redis = redis
        self._tenant = tenant
        self._deadline = deadline
        self._is_available = True

    async def demand(self, services: Sequence[str]) -> Demand | None:
        """Returns the time and the last confirmations; None if no gateway has use for them, or without Redis."""
        keys = [demand_key(self._tenant), *(confirmation_key(self._tenant, service) for service in services)]
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.mget(keys)
            pipeline.time()
            replies = await self._attempt(pipeline.execute())
        if replies is None or replies[0][0] is None:
            return None
        (_, *values), (seconds, microseconds) = replies
        confirmations = [None if value is None else Confirmation.decode(value) for value in values]
        return Demand(seconds * 1_000_000 + microseconds, dict(zip(services, confirmations, strict=True)))

    async def put(self, service: str, count: int, at: int) -> None:
        key = confirmation_key(self._tenant, service)
        await self._attempt(self._redis.set(key, Confirmation(count, at).encode(), ex=_EXPIRY_SECONDS))

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _attempt(self, exchange: Awaitable[_Reply]) -> _Reply | None:
        """Returns the reply, None if Redis did not respond in time."""
        try:
            async with asyncio.timeout(self._deadline):
                reply = await exchange
        except (RedisError, OSError, TimeoutError) as error:
            if self._is_available:
                log.warning("answers are not confirmed: Redis does not respond", reason=repr(error))
            self._is_available = False
            return None
        self._is_available = True
        return reply
