"""Counts requests in Redis: one count per caller for all replicas of the gateway.

Availability comes before rate limits: while Redis is unavailable or does not respond, requests pass uncounted, and a
metric counts them.
"""

from prometheus_client import Counter

from gateway_service.clients.redis_pipeline import RedisPipeline
from gateway_service.domain.rate_limits import Quotas, RateLimitDecision, RateLimitPolicy

UNAVAILABLE = Counter("rate_limiter_unavailable_total", "Requests that passed uncounted, because Redis did not respond")
LIMITED = Counter("rate_limited_requests_total", "Requests that a rate limit refused", ["policy"])

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


class RateLimiter:
    """Counts requests against quotas."""

    def __init__(self, redis: RedisPipeline, prefix: str, quotas: Quotas) -> None:
        """`prefix` separates the keys of shops that share a Redis."""
        self._redis = redis
        self._prefix = f"{prefix}:limit:"
        self._quotas = quotas

    async def count(self, policy: RateLimitPolicy, key: str) -> RateLimitDecision | None:
        """Counts one request under the caller's key; None if the policy has no quota, or if Redis did not count it."""
        quota = self._quotas.get(policy)
        if quota is None:
            return None
        reply = await self._redis.send(
            "EVAL", _SCRIPT, 1, f"{self._prefix}{policy}:{key}", quota.interval, quota.window
        )
        if reply is None:
            UNAVAILABLE.inc()
            return None
        is_allowed, debt = reply
        decision = RateLimitDecision(policy, quota, bool(is_allowed), debt)
        if not decision.is_allowed:
            LIMITED.labels(policy).inc()
        return decision
