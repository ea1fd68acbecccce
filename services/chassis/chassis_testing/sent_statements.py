"""Records the statements that a client sends to PostgreSQL, so that a test can count them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from chassis.settings import DatabaseSettings

_LENGTH_BYTES = 4
_SSL_REQUEST = 80877103
"""The code of a message that asks for TLS, before the one that starts the session."""


@dataclass
class SentStatements:
    """The statements that were sent since `clear`, in their order. BEGIN and COMMIT are statements too."""

    port: int = 0
    """The port of the proxy that the client must connect to, on 127.0.0.1."""
    texts: list[str] = field(default_factory=list)

    def clear(self) -> None:
        self.texts.clear()

    @property
    def verbs(self) -> list[str]:
        """The first word of each statement."""
        return [text.split(maxsplit=1)[0].rstrip(";").upper() for text in self.texts]


@asynccontextmanager
async def sent_statements(database: DatabaseSettings) -> AsyncIterator[tuple[SentStatements, DatabaseSettings]]:
    """Runs a proxy to a database's server. Gives what is sent through it, and the settings that lead through it."""
    sent = SentStatements()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(database.db_host, database.db_port)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await asyncio.gather(_record(reader, server_writer, sent.texts), _copy(server_reader, writer))
        for each in (writer, server_writer):
            each.close()

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    sent.port = server.sockets[0].getsockname()[1]
    try:
        yield sent, database.model_copy(update={"db_host": "127.0.0.1", "db_port": sent.port})
    finally:
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
    writer.close()


async def _record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, texts: list[str]) -> None:
    """Forwards messages, and records the statements in them.

    They are the text of a simple query, or the prepared statement that is bound to values: once for each set of values.
    https://www.postgresql.org/docs/current/protocol-message-formats.html
    """
    await _forward_startup(reader, writer)
    prepared: dict[bytes, str] = {}
    while True:
        kind = await reader.readexactly(1)
        body = await _forward_message(reader, writer, kind)
        if kind == b"Q":
            texts.append(body.rstrip(b"\0").decode())
        elif kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            prepared[name] = text.decode()
        elif kind == b"B":
            texts.append(prepared[body.split(b"\0", 2)[1]])


async def _forward_startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Forwards the messages without a kind that begin a session."""
    while int.from_bytes((await _forward_message(reader, writer))[:4]) == _SSL_REQUEST:
        pass


async def _forward_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: bytes = b"") -> bytes:
    """Returns the body of the message. Its length on the wire includes the length itself."""
    length = await reader.readexactly(_LENGTH_BYTES)
    body = await reader.readexactly(int.from_bytes(length) - _LENGTH_BYTES)
    writer.write(kind + length + body)
    return body
