"""A mail server for tests that keeps every mail: a real SMTP conversation on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, Envelope, Session
from chassis_testing.waiting import eventually


@dataclass
class Mailbox:
    """Every mail that was accepted, in order."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        content = envelope.content
        self.mails.append(message_from_bytes(content if isinstance(content, bytes) else b"", policy=policy.default))
        return "250 kept"

    def to(self, address: str) -> Iterator[EmailMessage]:
        return (mail for mail in self.mails if address in str(mail["To"]))

    async def wait_for(self, address: str, containing: str, within: float = 20.0) -> EmailMessage:
        """Waits for the first mail to an address whose subject or text contains this, and returns it."""
        found: list[EmailMessage] = []

        async def has_come() -> bool:
            found[:] = [mail for mail in self.to(address) if containing in f"{mail['Subject']}\n{text_of(mail)}"]
            return bool(found)

        await eventually(has_come, within)
        return found[0]


def text_of(mail: EmailMessage) -> str:
    """Returns the plain text of a mail."""
    body = mail.get_body(("plain",))
    return "" if body is None else str(body.get_content())


@asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    """Runs the mail server on a free port of this machine until the block ends."""
    box, clients = Mailbox(), list[SMTP]()

    def serve() -> SMTP:
        clients.append(SMTP(box))
        return clients[-1]

    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        for client in clients:
            if client.transport is not None:  # a service keeps a connection for the next mail
                client.transport.close()
