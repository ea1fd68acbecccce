"""An HTTP/1.1 client that costs so little that it is not what is measured.

It keeps one connection open, sends bytes that are prepared before, and reads the status, the length and the body. It
does not follow redirects, decompress or pipeline.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

CONNECTION_ERRORS = (OSError, asyncio.IncompleteReadError)
"""The exceptions that `Sender.send` raises if it gets no reply."""
_LARGEST_HEAD = 1 << 20


@dataclass(frozen=True, slots=True)
class Reply:
    """A response: its status, its head as it was sent, and its body."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        """Returns the first value of a header field, in whatever case its name was sent."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, text = line.partition(b":")
            if key.strip().lower() == name.lower().encode():
                return text.strip().decode("latin-1")
        return None

    def json(self) -> Any:
        return json.loads(self.body)


class Sender(Protocol):
    """A connection that requests are sent on, one after the other."""

    async def send(self, request: bytes) -> Reply: ...


def http_request(
    method: str, path: str, body: object = None, token: str | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """Encodes a request; a body is sent as JSON, a token as bearer token."""
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: application/json"]
    lines += [f"{name}: {text}" for name, text in (headers or {}).items()]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    elif method != "GET":
        lines.append("Content-Length: 0")
    return "\r\n".join([*lines, "", ""]).encode() + content


class Connection:
    """A connection to a port of this machine, opened at the first request and again if the server has closed it."""

    def __init__(self, port: int, deadline: float = 60.0) -> None:
        self._port = port
        self._deadline = deadline
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> Reply:
        """Sends a request and returns its response. Raises OSError, TimeoutError, asyncio.IncompleteReadError."""
        async with asyncio.timeout(self._deadline):
            if self._streams is None or self._streams[0].at_eof():
                await self.close()
                self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=_LARGEST_HEAD)
            reader, writer = self._streams
            writer.write(request)
            try:
                return await _read_reply(reader)
            except BaseException:
                await self.close()  # a late response would be taken for that of the next request
                raise

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def _read_reply(reader: asyncio.StreamReader) -> Reply:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    lowered = head.lower()
    start = lowered.find(b"\r\ncontent-length:")
    if start >= 0:
        length = int(lowered[start + 17 : lowered.index(b"\r\n", start + 17)])
        return Reply(status, head, await reader.readexactly(length))
    if b"\r\ntransfer-encoding: chunked" in lowered:
        return Reply(status, head, await _read_chunks(reader))
    return Reply(status, head, b"")


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks: list[bytes] = []
    while length := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        chunks.append(await reader.readexactly(length))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(chunks)
