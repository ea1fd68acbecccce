"""SMTP connections that have sent a mail and may send another one, for a bounded time.

A connection costs its TCP, TLS and SMTP greetings, which take longer than a mail. No mail waits for another: one that
finds no idle connection gets its own.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiosmtplib

_IDLE_SECONDS = 5.0
"""How long a connection waits for the next mail. RFC 5321 lets servers wait for five minutes, but many wait less."""
_LIFETIME_SECONDS = 60.0
"""How long a connection is used again after it was opened, so that a changed address or certificate is noticed."""
_QUIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class SmtpConnection:
    """A connection that is logged in, and when it was opened."""

    client: aiosmtplib.SMTP
    opened_at: float


class IdleConnections:
    """Keeps connections between mails. The one that was used last is lent first, so that the others become too old."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` returns seconds."""
        self._now = now
        self._idle: dict[SmtpConnection, asyncio.TimerHandle] = {}
        self._quitting: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def opened(self, client: aiosmtplib.SMTP) -> SmtpConnection:
        return SmtpConnection(client, self._now())

    def take(self) -> SmtpConnection | None:
        """Returns a connection that is still open, as far as this side knows, or None."""
        while self._idle:
            connection, timer = self._idle.popitem()
            timer.cancel()
            if connection.client.is_connected:
                return connection
            connection.client.close()
        return None

    def keep(self, connection: SmtpConnection) -> None:
        """Takes a connection on which no mail is being sent. One that is too old, or comes after `close`, is closed."""
        if self._is_closed or self._now() - connection.opened_at > _LIFETIME_SECONDS:
            self._start_quitting(connection)
        else:
            timer = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._expire, connection)
            self._idle[connection] = timer

    def discard_idle(self) -> None:
        """Closes all idle connections without QUIT: the server has closed one of them, and so perhaps all."""
        for connection, timer in self._idle.items():
            timer.cancel()
            connection.client.close()
        self._idle.clear()

    async def close(self) -> None:
        """Ends the idle connections, and those that are kept from now on."""
        self._is_closed = True
        for connection, timer in self._idle.items():
            timer.cancel()
            self._start_quitting(connection)
        self._idle.clear()
        await asyncio.gather(*self._quitting)

    def _expire(self, connection: SmtpConnection) -> None:
        del self._idle[connection]
        self._start_quitting(connection)

    def _start_quitting(self, connection: SmtpConnection) -> None:
        task = asyncio.create_task(_quit(connection.client))
        self._quitting.add(task)
        task.add_done_callback(self._quitting.discard)


async def _quit(client: aiosmtplib.SMTP) -> None:
    """Sends QUIT and closes the connection. Its mails are accepted by then, so errors are ignored."""
    try:
        await client.quit(timeout=_QUIT_SECONDS)
    except (aiosmtplib.SMTPException, OSError, TimeoutError):
        return
    finally:
        client.close()
