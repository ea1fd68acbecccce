"""Counts requests in Redis: one count per caller for all replicas of the gateway, in one round trip.

Availability comes before rate limits: while Redis is unavailable or does not respond, requests pass uncounted, a metric
counts them, and a circuit breaker keeps most of them from waiting for Redis.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chassis.database import redis_client
from chassis.observability import logs
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway_service.domain.circuit_breaker import Attempt, BreakerPolicy, CircuitBreaker, CircuitState
from gateway_service.domain.rate_limits import Quota, Quotas, RateLimitDecision, RateLimitPolicy

UNAVAILABLE = Counter("rate_limiter_unavailable_total", "Requests that passed uncounted, because Redis did not respond")
LIMITED = Counter("rate_limited_requests_total", "Requests that a rate limit refused", ["policy"])

_BREAKER_POLICY = BreakerPolicy(min_failures=3, failure_ratio=0.5, window_seconds=5.0, cooldown_seconds=1.0)
_CONNECTIONS = 32

# The clock is that of Redis, so that all replicas use the same one. A debt beyond the window comes from a clock that
# was set back, or from a longer window of an earlier release.
_SCRIPT = b"""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local due = tonumber(redis.call('GET', KEYS[1]) or now)
local debt = math.min(math.max(due - now, 0), window)
if debt + interval > window then return {0, debt} end
debt = debt + interval
redis.call('SET', KEYS[1], string.format('%.0f', now + debt), 'PX', math.ceil(debt / 1000))
return {1, debt}
"""

log = logs.get_logger(__name__)


def connect(url: str) -> Redis:
    return redis_client.connect(url, _CONNECTIONS)


_Reply = tuple[int, int]
"""The script's reply: whether the request is allowed, and the caller's debt."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """One request that is not counted yet."""

    key: str
    quota: Quota
    reply: "asyncio.Future[_Reply | None]"


class RateLimiter:
    """Counts requests against quotas.

    Requests that arrive at the same time share a pipeline, for a third of the cost.
    """

    def __init__(self, redis: Redis, prefix: str, quotas: Quotas, clock: Callable[[], float], timeout: float) -> None:
        """`prefix` separates the keys of shops that share a Redis.

        `clock` returns seconds, and never goes back. `timeout` is how many seconds Redis has to respond.
        """
        self._redis = redis
        self._prefix = f"{prefix}:limit:"
        self._quotas = quotas
        self._breaker = CircuitBreaker(_BREAKER_POLICY, clock)
        self._timeout = timeout
        self._pending: list[_Pending] = []
        self._flushes: set[asyncio.Task[None]] = set()

    async def count(self, policy: RateLimitPolicy, key: str) -> RateLimitDecision | None:
        """Counts one request under the caller's key; None if the policy has no quota, or if Redis did not count it."""
        quota = self._quotas.get(policy)
        if quota is None:
            return None
        reply = await self._enqueue(f"{self._prefix}{policy}:{key}", quota)
        if reply is None:
            UNAVAILABLE.inc()
            return None
        is_allowed, debt = reply
        decision = RateLimitDecision(policy, quota, bool(is_allowed), debt)
        if not decision.is_allowed:
            LIMITED.labels(policy).inc()
        return decision

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    def _enqueue(self, key: str, quota: Quota) -> "asyncio.Future[_Reply | None]":
        """Adds a request to the next pipeline.

        The first one schedules the pipeline for the next step of the event loop.
        """
        loop = asyncio.get_running_loop()
        pending = _Pending(key, quota, loop.create_future())
        self._pending.append(pending)
        if len(self._pending) == 1:
            flush = loop.create_task(self._flush())
            self._flushes.add(flush)
            flush.add_done_callback(self._flushes.discard)
        return pending.reply

    async def _flush(self) -> None:
        batch, self._pending = self._pending, []
        replies: Sequence[_Reply | None] = [None] * len(batch)
        attempt = self._breaker.admit()
        try:
            if attempt is not None:
                replies = await self._execute(batch, attempt) or replies
        finally:
            for pending, reply in zip(batch, replies, strict=True):
                if not pending.reply.done():
                    pending.reply.set_result(reply)

    async def _execute(self, batch: Sequence[_Pending], attempt: Attempt) -> Sequence[_Reply] | None:
        """Runs one pipeline; None if Redis did not respond in time, or with an error."""
        pipeline = self._redis.pipeline(transaction=False)
        for pending in batch:
            pipeline.execute_command("EVAL", _SCRIPT, 1, pending.key, pending.quota.interval, pending.quota.window)
        try:
            async with asyncio.timeout(self._timeout):
                replies: list[_Reply] = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            attempt.failed()
            if self._breaker.state is CircuitState.OPEN:
                log.warning("requests pass uncounted: Redis does not respond", reason=repr(error))
            return None
        else:
            attempt.succeeded()
            return replies
        finally:
            attempt.abandoned()
