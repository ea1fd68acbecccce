"""Sends the commands of concurrent requests to Redis together, over one connection.

Availability comes first: while Redis is unavailable or does not respond, commands get no reply, and a circuit breaker
keeps most of them from waiting for Redis.

The pipeline is its own client, since the exchange is a large part of a hit in the answer cache. A pool of connections,
with a stream, a task and a deadline for each exchange, takes more processor time (docs/measurements.md).
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote, urlsplit

from chassis.observability import logs
from chassis.tls import SYSTEM, client_context
from chassis.types.circuit_breaker import Attempt, BreakerPolicy, CircuitBreaker, CircuitState

from gateway_service.clients.redis_replies import Argument, Refusal, Reply, encode, parse

_BREAKER_POLICY = BreakerPolicy(min_failures=3, failure_ratio=0.5, window_seconds=5.0, cooldown_seconds=1.0)
_DEFAULT_PORT = 6379

log = logs.get_logger(__name__)

Receiver = asyncio.Future[Reply | None]
"""What a caller awaits: the reply to its command, None if Redis did not respond."""


@dataclass(frozen=True, slots=True)
class RedisServer:
    """The address of Redis, and the commands with which a connection begins."""

    host: str
    port: int
    context: ssl.SSLContext | None
    greeting: Sequence[tuple[Argument, ...]] = field(repr=False)

    @classmethod
    def of(cls, url: str, authorities: str = "") -> "RedisServer":
        """Parses redis://[user][:password]@host[:port][/database]; with rediss:// the connection is encrypted.

        The certificate is then verified by `authorities`, by default those of the system.
        """
        parts = urlsplit(url)
        greeting: list[tuple[Argument, ...]] = []
        if parts.password:
            user = (unquote(parts.username),) if parts.username else ()
            greeting.append(("AUTH", *user, unquote(parts.password)))
        if database := parts.path.strip("/"):
            greeting.append(("SELECT", database))
        context = client_context(authorities or SYSTEM) if parts.scheme == "rediss" else None
        return cls(parts.hostname or "", parts.port or _DEFAULT_PORT, context, greeting)


class RedisPipeline:
    """Commands of one step of the event loop are written at once, and their replies are read as they arrive."""

    def __init__(self, server: RedisServer, clock: Callable[[], float], timeout: float) -> None:
        """`clock` returns seconds, and never goes back. `timeout` is how many seconds Redis has to respond."""
        self._server = server
        self._breaker = CircuitBreaker(_BREAKER_POLICY, clock)
        self._timeout = timeout
        self._commands: list[bytes] = []
        self._receivers: list[Sequence[Receiver]] = []
        """The callers that get the reply to each of these commands."""
        self._clocks: list[Receiver] = []
        """Callers that the next batch tells the time of Redis."""
        self._connection: _Connection | None = None
        self._is_scheduled = False

    def send(self, *command: Argument) -> Receiver:
        """Adds a command to the next batch; its reply is None if Redis did not respond.

        The first command schedules the batch for the next step of the event loop.
        """
        receiver = self._receiver()
        self._commands.append(encode(command))
        self._receivers.append((receiver,))
        return receiver

    def time(self) -> Receiver:
        """Asks for the time of Redis after the commands of the next batch, once for all callers."""
        receiver = self._receiver()
        self._clocks.append(receiver)
        return receiver

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    def _receiver(self) -> Receiver:
        """Returns the future of a reply of the next batch, and schedules that if it is not."""
        loop = asyncio.get_running_loop()
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._flush)
        return loop.create_future()

    def _flush(self) -> None:
        self._is_scheduled = False
        if self._clocks:
            self._commands.append(_TIME)
            self._receivers.append(self._clocks)
            self._clocks = []
        commands, receivers = b"".join(self._commands), self._receivers
        self._commands, self._receivers = [], []
        attempt = self._breaker.admit()
        if attempt is None:
            _resolve(receivers, None)
            return
        if self._connection is None or self._connection.is_lost:
            self._connection = _Connection(self._server)
        self._connection.write(commands, _Batch(receivers, attempt, self._warn), self._timeout)

    def _warn(self, reason: str) -> None:
        if self._breaker.state is CircuitState.OPEN:
            log.warning("requests pass uncounted: Redis does not respond", reason=reason)


_TIME = encode(("TIME",))


class _Batch:
    """Commands that were written together, and the replies that have arrived."""

    __slots__ = ("_attempt", "_receivers", "_replies", "_warn", "timer")

    def __init__(self, receivers: list[Sequence[Receiver]], attempt: Attempt, warn: Callable[[str], None]) -> None:
        self._receivers = receivers
        self._attempt = attempt
        self._warn = warn
        self._replies: list[Reply] = []
        self.timer: asyncio.TimerHandle | None = None

    def add(self, reply: Reply) -> bool:
        """Returns whether it is the last reply of the batch, which is resolved then."""
        self._replies.append(reply)
        if len(self._replies) < len(self._receivers):
            return False
        refusals = [reply for reply in self._replies if isinstance(reply, Refusal)]
        if refusals:
            self.fail(refusals[0])
        else:
            self._end()
            self._attempt.succeeded()
            _resolve(self._receivers, self._replies)
        return True

    def fail(self, reason: str) -> None:
        self._end()
        self._attempt.failed()
        self._warn(reason)
        _resolve(self._receivers, None)

    def abandon(self) -> None:
        self._end()
        self._attempt.abandoned()
        _resolve(self._receivers, None)

    def _end(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


def _resolve(receivers: Sequence[Sequence[Receiver]], replies: Sequence[Reply] | None) -> None:
    for number, waiting in enumerate(receivers):
        for receiver in waiting:
            if not receiver.done():
                receiver.set_result(None if replies is None else replies[number])


class _Connection(asyncio.Protocol):
    """One connection, from the first batch that is to be written until it is lost. Replies have the order of commands.

    A batch that has no reply in time loses the connection: a late reply could otherwise be taken for another one.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unwritten: list[bytes] = [encode(command) for command in server.greeting]
        self._greetings = len(server.greeting)
        self._batches: deque[_Batch] = deque()
        self._buffer = b""
        self.is_lost = False
        self._opening = self._loop.create_task(self._open())

    def write(self, commands: bytes, batch: _Batch, timeout: float) -> None:
        self._batches.append(batch)
        batch.timer = self._loop.call_later(timeout, self._lose, f"no reply within {timeout} s")
        if self._transport is None:
            self._unwritten.append(commands)
        else:
            self._transport.write(commands)

    async def close(self) -> None:
        self.is_lost = True
        self._opening.cancel()
        await asyncio.gather(self._opening, return_exceptions=True)
        if self._transport is not None:
            self._transport.abort()
        while self._batches:
            self._batches.popleft().abandon()

    async def _open(self) -> None:
        server = self._server
        try:
            await self._loop.create_connection(lambda: self, server.host, server.port, ssl=server.context)
        except OSError as error:  # ssl.SSLError is one
            self._lose(repr(error))

    # What the event loop reports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self.is_lost:
            self._transport.abort()
            return
        self._transport.write(b"".join(self._unwritten))
        self._unwritten = []

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        start = 0
        try:
            while not self.is_lost and (parsed := parse(buffer, start)) is not None:
                reply, start = parsed
                self._receive(reply)
        except ValueError as error:
            self._lose(str(error))
        self._buffer = buffer[start:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(repr(exc) if exc else "the connection was closed")

    def _receive(self, reply: Reply) -> None:
        if self._greetings:
            self._greetings -= 1
            if isinstance(reply, Refusal):
                self._lose(reply)
        elif not self._batches:
            self._lose("a reply to no command")
        elif self._batches[0].add(reply):
            self._batches.popleft()

    def _lose(self, reason: str) -> None:
        """Ends the connection, and all batches that have no reply. The next batch opens another one."""
        if self.is_lost:
            return
        self.is_lost = True
        self._opening.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._batches:
            self._batches.popleft().fail(reason)
