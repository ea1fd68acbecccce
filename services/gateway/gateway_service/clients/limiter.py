"""What callers have used of their quotas, in Redis: one count for all replicas of the gateway, in one round trip.

Redis may be away or hang. A shop that is open beats a limit that holds, so then requests pass uncounted, the metric says so,
and Redis is left alone for a moment, so that few requests wait for it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chassis.database import redis_client
from chassis.observability import logs
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway_service.domain.breaking import Attempt, Breaker, Rule, State
from gateway_service.domain.limits import Limits, Policy, Quota, Verdict

UNAVAILABLE = Counter("rate_limiter_unavailable_total", "Requests that passed uncounted, because Redis did not answer")
LIMITED = Counter("rate_limited_requests_total", "Requests that were refused by a limit", ["policy"])

_WHEN_IT_FAILS = Rule(failures=3, share=0.5, window=5.0, rest=1.0)
_CONNECTIONS = 32

# The clock is Redis's, so that all replicas read the same one. A debt beyond the window is what a clock that was set back, or
# a longer window of an earlier release, has left.
_TAKE = b"""
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


Taken = tuple[int, int]
"""Whether a request passes, and its caller's debt: what the script returns."""


@dataclass(frozen=True, slots=True)
class _Count:
    """One request that is to be counted."""

    key: str
    quota: Quota
    taken: "asyncio.Future[Taken | None]"


class RateLimiter:
    """Requests that come at the same moment are counted in one pipeline: that is a third of the cost."""

    def __init__(self, redis: Redis, prefix: str, limits: Limits, clock: Callable[[], float], deadline: float) -> None:
        """`prefix` keeps shops on one Redis apart; `clock` counts seconds and never goes back; `deadline`: seconds that Redis has
        for an answer.
        """
        self._redis = redis
        self._prefix = f"{prefix}:limit:"
        self._limits = limits
        self._breaker = Breaker(_WHEN_IT_FAILS, clock)
        self._deadline = deadline
        self._waiting: list[_Count] = []
        self._asking: set[asyncio.Task[None]] = set()

    async def take(self, policy: Policy, caller: str) -> Verdict | None:
        """Counts one request of a caller; None where it is not limited, or cannot be counted."""
        quota = self._limits.get(policy)
        if quota is None:
            return None
        taken = await self._count(f"{self._prefix}{policy}:{caller}", quota)
        if taken is None:
            UNAVAILABLE.inc()
            return None
        verdict = Verdict(policy, quota, bool(taken[0]), taken[1])
        if not verdict.passes:
            LIMITED.labels(policy).inc()
        return verdict

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    def _count(self, key: str, quota: Quota) -> "asyncio.Future[Taken | None]":
        """The first of those that come at the same moment sees to it that all are asked about in the next."""
        loop = asyncio.get_running_loop()
        count = _Count(key, quota, loop.create_future())
        self._waiting.append(count)
        if len(self._waiting) == 1:
            asking = loop.create_task(self._ask())
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
        return count.taken

    async def _ask(self) -> None:
        counts, self._waiting = self._waiting, []
        answers: Sequence[Taken | None] = [None] * len(counts)
        attempt = self._breaker.admit()
        try:
            if attempt is not None:
                answers = await self._run(counts, attempt) or answers
        finally:
            for count, answer in zip(counts, answers, strict=True):
                if not count.taken.done():
                    count.taken.set_result(answer)

    async def _run(self, counts: Sequence[_Count], attempt: Attempt) -> Sequence[Taken] | None:
        """None where Redis did not answer in time, or refused."""
        pipeline = self._redis.pipeline(transaction=False)
        for count in counts:
            pipeline.execute_command("EVAL", _TAKE, 1, count.key, count.quota.interval, count.quota.window)
        try:
            async with asyncio.timeout(self._deadline):
                answers: list[Taken] = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            attempt.failed()
            if self._breaker.state is State.OPEN:
                log.warning("requests pass uncounted for a moment: Redis does not answer", reason=repr(error))
            return None
        else:
            attempt.succeeded()
            return answers
        finally:
            attempt.abandoned()
