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
from dataclasses import dataclass, field
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import parseaddr
from typing import Protocol

import aiosmtplib
from chassis.observability import logs

from notification_service.clients.mime import Mail, MailWriter
from notification_service.domain.delivery import ACCEPTED, Outcome, SendResult, provider_unavailable

_TIMEOUT_SECONDS = 15.0

log = logs.get_logger(__name__)


class MailSender(Protocol):
    """Hands mails to a provider."""

    async def send(self, mail: Mail) -> SendResult:
        """Sends a mail. Never raises for a failure of the server or the network: that is a result."""


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
    """Sends mails over SMTP, each on its own connection: none is kept alive, and no mail waits for another."""

    def __init__(self, server: SmtpServer, sender: str, shop: str, timeout: float = _TIMEOUT_SECONDS) -> None:
        """`timeout` is in seconds, for one reply of the server; a whole session has four times that."""
        self._server = server
        self._tls = ssl.create_default_context(cafile=server.ca_file) if server.starttls else None
        name, self._address = parseaddr(sender)
        self._writer = MailWriter(Address(name or shop, addr_spec=self._address))
        self._timeout = timeout

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

    async def _transmit(self, recipient: str, message: bytes, session: "_Session") -> None:
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
        try:
            await client.connect()
            needs_utf8 = not recipient.isascii()
            if needs_utf8 and not client.supports_extension("smtputf8"):
                raise aiosmtplib.SMTPRecipientRefused(553, "the server does not know SMTPUTF8", "")
            await client.mail(self._address, options=["SMTPUTF8"] if needs_utf8 else [])
            await client.rcpt(recipient, encoding="utf-8" if needs_utf8 else "ascii")
            session.is_outcome_known = False
            await client.data(message)
            session.is_outcome_known = True
            await _quit(client)
        finally:
            client.close()


@dataclass(slots=True)
class _Session:
    """The state of one SMTP session."""

    is_outcome_known: bool = True
    """False from the first byte of the message until the server's reply after the last one."""


async def _quit(client: aiosmtplib.SMTP) -> None:
    """Sends QUIT. The mail is accepted by then, so errors are ignored."""
    try:
        await client.quit(timeout=1)
    except (aiosmtplib.SMTPException, OSError, TimeoutError):
        return


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
