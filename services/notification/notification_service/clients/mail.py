"""Sends mails by SMTP (RFC 5321, with STARTTLS of RFC 3207).

SMTP has no exactly-once delivery: if a connection breaks after the last byte and before the server's 250, or this
process dies after the 250 and before its commit, this service does not know whether the mail was accepted. Such a mail
is sent once more, and never a third time (domain/delivery.py). Every copy has the same Message-ID, made from the
notification's id. So mail servers and readers that compare Message-IDs show one mail, and a duplicate can be told apart
from a second notification.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import parseaddr
from typing import Protocol

import aiosmtplib
from chassis.observability import logs

from notification_service.clients.mime import Mail, MailWriter
from notification_service.clients.smtp_connections import IdleConnections, SmtpConnection
from notification_service.domain.delivery import ACCEPTED, Outcome, SendResult, provider_unavailable

_TIMEOUT_SECONDS = 15.0

log = logs.get_logger(__name__)


class MailSender(Protocol):
    """Hands mails to a provider."""

    async def send(self, mail: Mail) -> SendResult:
        """Sends a mail. Never raises for a failure of the server or the network: that is a result."""

    async def close(self) -> None:
        """Closes connections."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The address of an SMTP server, and how to log in to it."""

    host: str
    port: int
    starttls: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None


class SmtpMailSender:
    """Sends mails over SMTP. A connection sends one mail at a time, and is used again if the mail was accepted."""

    def __init__(self, server: SmtpServer, sender: str, shop: str, timeout: float = _TIMEOUT_SECONDS) -> None:
        """`timeout` is in seconds, for one reply of the server; a whole session has four times that."""
        self._server = server
        self._tls = ssl.create_default_context(cafile=server.ca_file) if server.starttls else None
        name, self._address = parseaddr(sender)
        self._writer = MailWriter(Address(name or shop, addr_spec=self._address))
        self._timeout = timeout
        self._connections = IdleConnections()

    async def send(self, mail: Mail) -> SendResult:
        try:
            message = self._writer.write(mail)
        except (ValueError, IndexError, MessageError):  # the address parser raises all of these for malformed addresses
            return SendResult(Outcome.PERMANENT, "malformed_address")
        session = _Session()
        try:
            async with asyncio.timeout(4 * self._timeout):
                await self._transmit(mail.recipient, message, session)
        except (aiosmtplib.SMTPException, OSError, EOFError, TimeoutError, ValueError) as error:
            return _failure_result(error, session.is_outcome_known)
        return ACCEPTED

    async def close(self) -> None:
        """Closes the connections that no mail uses."""
        await self._connections.close()

    async def _transmit(self, recipient: str, message: bytes, session: "_Session") -> None:
        connection = await self._begin_on_idle(recipient) or await self._begin_on_new(recipient)
        with _closing_on_error(connection.client):
            session.is_outcome_known = False
            await connection.client.data(message)
            session.is_outcome_known = True
        self._connections.keep(connection)

    async def _begin_on_idle(self, recipient: str) -> SmtpConnection | None:
        """Begins a mail on a connection that has sent one. Returns None if there is none that the server still serves.

        The server may close a connection at any time. Nothing of the mail was sent then, so it is begun on a new one.
        """
        connection = self._connections.take()
        if connection is None:
            return None
        try:
            with _closing_on_error(connection.client):
                await self._begin(connection.client, recipient)
        except aiosmtplib.SMTPRecipientRefused:
            raise  # the server accepted the sender just now, so it serves this connection
        except (aiosmtplib.SMTPException, OSError, EOFError):
            self._connections.discard_idle()
            return None
        return connection

    async def _begin_on_new(self, recipient: str) -> SmtpConnection:
        client = aiosmtplib.SMTP(
            hostname=self._server.host,
            port=self._server.port,
            start_tls=self._server.starttls,
            tls_context=self._tls,
            username=self._server.user,
            password=self._server.password,
            timeout=self._timeout,
            local_hostname=_local_hostname(),
        )
        with _closing_on_error(client):
            await client.connect()
            await self._begin(client, recipient)
        return self._connections.opened(client)

    async def _begin(self, client: aiosmtplib.SMTP, recipient: str) -> None:
        """Names the sender and the recipient. Raises SMTPException, OSError, EOFError."""
        needs_utf8 = not recipient.isascii()
        if needs_utf8 and not client.supports_extension("smtputf8"):
            raise aiosmtplib.SMTPRecipientRefused(553, "the server does not know SMTPUTF8", "")
        await client.mail(self._address, options=["SMTPUTF8"] if needs_utf8 else [])
        await client.rcpt(recipient, encoding="utf-8" if needs_utf8 else "ascii")


@dataclass(slots=True)
class _Session:
    """The state of one SMTP session."""

    is_outcome_known: bool = True
    """False from the first byte of the message until the server's reply after the last one."""


@contextmanager
def _closing_on_error(client: aiosmtplib.SMTP) -> Iterator[None]:
    """Closes the connection if the block fails or is cancelled: it may be in the middle of a mail."""
    try:
        yield
    except BaseException:
        client.close()
        raise


def _failure_result(error: Exception, is_outcome_known: bool) -> SendResult:
    """Returns what a failed SMTP session means for the mail.

    A recipient or a message that is rejected (5xx) will be rejected again, one that is deferred (4xx) may be accepted
    later. A rejected login or sender is an error of our configuration, which an operator may correct.
    """
    match error:
        case aiosmtplib.SMTPRecipientRefused() | aiosmtplib.SMTPDataError() if error.code >= 500:
            return SendResult(Outcome.PERMANENT, f"smtp_{error.code}")
        case aiosmtplib.SMTPRecipientRefused() | aiosmtplib.SMTPDataError() if error.code > 0:
            return SendResult(Outcome.TRANSIENT, f"smtp_{error.code}")
        case _ if not is_outcome_known:
            return SendResult(Outcome.UNKNOWN, "connection_lost")
        case aiosmtplib.SMTPAuthenticationError():
            return provider_unavailable(f"smtp_login_{error.code}")
        case aiosmtplib.SMTPResponseException() if error.code > 0:
            return provider_unavailable(f"smtp_{error.code}")
        case ssl.SSLError():
            return provider_unavailable("tls")
        case TimeoutError():
            return provider_unavailable("timeout")
        case aiosmtplib.SMTPNotSupported():
            return provider_unavailable("not_supported")
        case ValueError():
            return SendResult(Outcome.PERMANENT, "malformed_address")
        case _:
            return provider_unavailable("connection")


def _local_hostname() -> str:
    """Returns the name for EHLO, without a DNS query, which would block."""
    name = socket.gethostname()
    return name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "localhost"
