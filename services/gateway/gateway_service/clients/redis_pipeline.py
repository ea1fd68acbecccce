"""Sends the commands of concurrent requests to Redis together, in one round trip.

Availability comes first: while Redis is unavailable or does not respond, commands get no reply, and a circuit breaker
keeps most of them from waiting for Redis.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chassis.database import redis_client
from chassis.observability import logs
from chassis.types.circuit_breaker import Attempt, BreakerPolicy, CircuitBreaker, CircuitState
from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

_BREAKER_POLICY = BreakerPolicy(min_failures=3, failure_ratio=0.5, window_seconds=5.0, cooldown_seconds=1.0)
_CONNECTIONS = 32

log = logs.get_logger(__name__)

Argument = str | bytes | int
Reply = Any
"""The reply to a command, whose type depends on the command."""


def connect(url: str, authorities: str = "") -> Redis:
    """Returns a Redis client for a `RedisPipeline`.

    The pipeline makes connections with the client's settings, outside of its pool, and limits them itself.
    """
    return redis_client.connect(url, _CONNECTIONS, authorities)


@dataclass(frozen=True, slots=True)
class _Pending:
    """One command that is not sent yet."""

    command: tuple[Argument, ...]
    replies: "Sequence[asyncio.Future[Reply | None]]"
    """One for each caller that gets the reply."""


class RedisPipeline:
    """Commands that arrive at the same time share a pipeline, for a third of the cost."""

    def __init__(self, redis: Redis, clock: Callable[[], float], timeout: float) -> None:
        """`clock` returns seconds, and never goes back. `timeout` is how many seconds Redis has to respond."""
        self._redis = redis
        self._idle: list[AbstractConnection] = []
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._breaker = CircuitBreaker(_BREAKER_POLICY, clock)
        self._timeout = timeout
        self._pending: list[_Pending] = []
        self._clocks: list[asyncio.Future[Reply | None]] = []
        """Callers that the next pipeline tells the time of Redis."""
        self._next: asyncio.Task[None] | None = None
        """The pipeline that commands join."""
        self._flushes: set[asyncio.Task[None]] = set()

    def send(self, *command: Argument) -> "asyncio.Future[Reply | None]":
        """Adds a command to the next pipeline; its reply is None if Redis did not respond.

        Each word of a command's name is an argument: `CLIENT`, `ID`. The first command schedules the pipeline for the
        next step of the event loop.
        """
        reply = self._receiver()
        self._pending.append(_Pending(command, [reply]))
        return reply

    def time(self) -> "asyncio.Future[Reply | None]":
        """Asks for the time of Redis after the commands of the next pipeline, once for all callers."""
        reply = self._receiver()
        self._clocks.append(reply)
        return reply

    async def close(self) -> None:
        """Waits for the replies of all commands, also of those that are sent in the meantime, and disconnects."""
        while running := [flush for flush in self._flushes if not flush.done()]:
            await asyncio.wait(running)
        await self._close_idle(nowait=False)
        await self._redis.aclose()

    def _receiver(self) -> "asyncio.Future[Reply | None]":
        """Returns the future of a reply of the next pipeline, and schedules that if it is not."""
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.create_task(self._flush())
            self._flushes.add(self._next)
            self._next.add_done_callback(self._flushes.discard)
        return loop.create_future()

    async def _flush(self) -> None:
        self._next = None
        batch, self._pending = self._pending, []
        if self._clocks:
            batch.append(_Pending(("TIME",), self._clocks))
            self._clocks = []
        replies: Sequence[Reply | None] = [None] * len(batch)
        attempt = self._breaker.admit()
        try:
            if attempt is not None:
                replies = await self._execute(batch, attempt) or replies
        finally:
            for pending, reply in zip(batch, replies, strict=True):
                for receiver in pending.replies:
                    if not receiver.done():
                        receiver.set_result(reply)

    async def _execute(self, batch: Sequence[_Pending], attempt: Attempt) -> Sequence[Reply] | None:
        """Sends one batch; None if Redis did not respond in time, or with an error."""
        try:
            async with asyncio.timeout(self._timeout):
                replies = await self._round_trip([pending.command for pending in batch])
        except (RedisError, OSError, RuntimeError) as error:  # RuntimeError: uvloop's, from a connection that was reset
            attempt.failed()
            if not isinstance(error, ResponseError):
                await self._close_idle(nowait=True)  # what ended this connection has probably ended them too
            if self._breaker.state is CircuitState.OPEN:
                log.warning("requests pass uncounted: Redis does not respond", reason=repr(error))
            return None
        else:
            attempt.succeeded()
            return replies
        finally:
            attempt.abandoned()

    async def _round_trip(self, commands: Sequence[tuple[Argument, ...]]) -> Sequence[Reply]:
        """Sends commands on one connection and reads their replies, as Redis sends them.

        Its connections are its own, at most _CONNECTIONS: the pool and the pipelines of redis-py cost more than the
        round trip (docs/adr/0079).
        """
        packed = [pack_command(command) for command in commands]  # type: ignore[arg-type]  # of hiredis
        async with self._slots:
            connection = await self._connection()
            try:
                await connection.send_packed_command(packed, check_health=False)
                replies = [await connection.read_response() for _ in commands]
            except BaseException:
                await connection.disconnect(nowait=True)  # replies that were not read would answer other commands
                raise
            self._idle.append(connection)
            return replies

    async def _connection(self) -> AbstractConnection:
        """Returns the connection that was used last and is still open, else a new one, which connects when it sends."""
        while self._idle:
            connection = self._idle.pop()
            if not await connection.can_read():
                return connection
            await connection.disconnect(nowait=True)
        new: AbstractConnection = self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        return new

    async def _close_idle(self, *, nowait: bool) -> None:
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.disconnect(nowait=nowait) for connection in idle), return_exceptions=True)
