"""E-mail: the port, SMTP (RFC 5321, with STARTTLS of RFC 3207), and a log for shops without a mail server.

SMTP cannot make a hand-over exact: when a connection breaks after the last byte and before the server's 250, or this process dies
after the 250 and before its commit, nobody here knows whether the mail is on its way. Such a mail is sent once more and then no
more (domain/delivery.py). Every copy carries the same Message-ID, made from the notification's id, so that mail servers and
readers which look at it show one, and whoever looks for copies can tell them apart from two notifications.
"""

import asyncio
import socket
import ssl
from dataclasses import dataclass, field
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, parseaddr
from typing import Protocol
from uuid import UUID

import aiosmtplib
from chassis.observability import logs

from notification_service.domain.delivery import ACCEPTED, Outcome, Result, away

_POLICY = SMTP_POLICY.clone(cte_type="7bit")
_READ_SECONDS = 15.0
"""How long the server may take for one answer."""

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Mail:
    """A letter ready to be sent. `repr` shows nothing that must not be in a log."""

    id: UUID
    template: str
    recipient: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)
    locale: str
    at: datetime


class Mailer(Protocol):
    async def send(self, mail: Mail) -> Outcome:
        """Never raises for what a server or a network does: that is an outcome."""


class LogMailer:
    """Tells the log that a mail was made. Neither its address nor a word of it: mails carry secrets."""

    async def send(self, mail: Mail) -> Outcome:
        log.info(
            "a mail was made and not sent: SMTP_HOST is unset", notification_id=str(mail.id), template=mail.template
        )
        return ACCEPTED


@dataclass(frozen=True, slots=True)
class SmtpServer:
    host: str
    port: int
    starttls: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None


class SmtpMailer:
    """One connection a mail: nothing to keep alive, and no mail waits for another's."""

    def __init__(self, server: SmtpServer, sender: str, shop: str, seconds: float = _READ_SECONDS) -> None:
        """`seconds` is for one answer of the server, four times that for a whole conversation."""
        self._server = server
        self._tls = ssl.create_default_context(cafile=server.ca_file) if server.starttls else None
        name, self._address = parseaddr(sender)
        self._from = Address(name or shop, addr_spec=self._address)
        self._seconds = seconds

    async def send(self, mail: Mail) -> Outcome:
        try:
            message = self._message(mail)
        except (ValueError, IndexError, MessageError):  # what the parser of addresses says of those that are none
            return Outcome(Result.PERMANENT, "malformed_address")
        conversation = _Conversation()
        try:
            async with asyncio.timeout(4 * self._seconds):
                await self._hand_over(mail.recipient, message, conversation)
        except (aiosmtplib.SMTPException, OSError, EOFError, TimeoutError, ValueError) as error:
            return _outcome(error, conversation.is_decided)
        return ACCEPTED

    async def _hand_over(self, recipient: str, message: EmailMessage, conversation: "_Conversation") -> None:
        client = aiosmtplib.SMTP(
            hostname=self._server.host,
            port=self._server.port,
            start_tls=self._server.starttls,
            tls_context=self._tls,
            username=self._server.user,
            password=self._server.password,
            timeout=self._seconds,
            local_hostname=_own_name(),
        )
        try:
            await client.connect()
            needs_utf8 = not recipient.isascii()
            if needs_utf8 and not client.supports_extension("smtputf8"):
                raise aiosmtplib.SMTPRecipientRefused(553, "the server does not know SMTPUTF8", "")
            await client.mail(self._address, options=["SMTPUTF8"] if needs_utf8 else [])
            await client.rcpt(recipient, encoding="utf-8" if needs_utf8 else "ascii")
            conversation.is_decided = False
            await client.data(_bytes(message, needs_utf8))
            conversation.is_decided = True
            await _quit(client)
        finally:
            client.close()

    def _message(self, mail: Mail) -> EmailMessage:
        """Headers are typed: a line end in one of them raises ValueError, so nobody adds a header or a recipient."""
        message = EmailMessage(policy=_POLICY)
        message["From"] = self._from
        message["To"] = Address(addr_spec=mail.recipient)
        message["Subject"] = mail.subject
        message["Date"] = format_datetime(mail.at)
        message["Message-ID"] = f"<{mail.id}@{self._from.domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
        message.set_content(mail.text)
        message.add_alternative(mail.html, subtype="html")
        message["Content-Language"] = mail.locale  # at the end: content takes such headers with it
        return message


@dataclass(slots=True)
class _Conversation:
    """Whether the server has said what becomes of the message; not so from its first byte to the answer after its last."""

    is_decided: bool = True


async def _quit(client: aiosmtplib.SMTP) -> None:
    """The mail is accepted: what happens to the farewell is nobody's concern."""
    try:
        await client.quit(timeout=1)
    except (aiosmtplib.SMTPException, OSError, TimeoutError):
        return


def _outcome(error: Exception, is_decided: bool) -> Outcome:
    """What a failed conversation means for the mail. A recipient or a message that is refused (5xx) will be refused again, one
    that is put off (4xx) may be taken later. A refused login or sender is our configuration, which somebody may mend.
    """
    match error:
        case aiosmtplib.SMTPRecipientRefused() | aiosmtplib.SMTPDataError() if error.code >= 500:
            return Outcome(Result.PERMANENT, f"smtp_{error.code}")
        case aiosmtplib.SMTPRecipientRefused() | aiosmtplib.SMTPDataError() if error.code > 0:
            return Outcome(Result.TRANSIENT, f"smtp_{error.code}")
        case _ if not is_decided:
            return Outcome(Result.UNKNOWN, "connection_lost")
        case aiosmtplib.SMTPAuthenticationError():
            return away(f"smtp_login_{error.code}")
        case aiosmtplib.SMTPResponseException() if error.code > 0:
            return away(f"smtp_{error.code}")
        case ssl.SSLError():
            return away("tls")
        case TimeoutError():
            return away("timeout")
        case aiosmtplib.SMTPNotSupported():
            return away("not_supported")
        case ValueError():
            return Outcome(Result.PERMANENT, "malformed_address")
        case _:
            return away("connection")


def _bytes(message: EmailMessage, utf8: bool) -> bytes:
    return message.as_bytes(policy=_POLICY.clone(utf8=utf8))


def _own_name() -> str:
    """For EHLO; asking DNS for more would block."""
    name = socket.gethostname()
    return name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "localhost"
