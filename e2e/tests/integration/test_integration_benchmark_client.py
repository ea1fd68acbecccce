"""The benchmark's HTTP client, against a server that answers as the targets' servers do."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from shop_e2e.bench.http_client import Connection, http_request

_LENGTH = b"HTTP/1.1 200 OK\r\nX-Token: a:b\r\ncontent-length: 5\r\n\r\nhello"
_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"
_NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"


@asynccontextmanager
async def _server(answers: Sequence[bytes], *, closes: bool = False) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answers each request with the next answer. Yields its port, and the heads of all requests."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(heads) < len(answers):
            try:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
            except asyncio.IncompleteReadError:
                break
            writer.write(answers[len(heads) - 1])
            await writer.drain()
            if closes:
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()


async def test_bodies_are_read_by_length_and_in_chunks_on_one_connection() -> None:
    async with _server([_LENGTH, _CHUNKS, _NOTHING, _LENGTH]) as (port, _):
        connection = Connection(port)
        replies = [await connection.send(http_request("GET", "/")) for _ in range(4)]
        await connection.close()

    assert [(reply.status, reply.body) for reply in replies] == [
        (200, b"hello"), (200, b"hello"), (204, b""), (200, b"hello"),
    ]  # fmt: skip
    assert replies[0].header("x-token") == "a:b"
    assert replies[1].header("x-token") is None


async def test_a_connection_that_the_server_closed_is_opened_again() -> None:
    async with _server([_LENGTH] * 3, closes=True) as (port, heads):
        connection = Connection(port)
        for _ in range(3):
            assert (await connection.send(http_request("GET", "/"))).body == b"hello"
            await _closed_by_server(connection)
        await connection.close()

    assert len(heads) == 3


async def test_an_unfinished_answer_is_an_error_and_not_that_of_the_next_request() -> None:
    async with _server([_LENGTH[:-2], _CHUNKS], closes=True) as (port, _):
        connection = Connection(port)
        with pytest.raises(asyncio.IncompleteReadError):
            await connection.send(http_request("GET", "/"))
        assert (await connection.send(http_request("GET", "/"))).body == b"hello"
        await connection.close()


def test_a_request_has_its_token_and_its_body() -> None:
    head, _, body = http_request("POST", "/cart", {"a": 1}, token="t").partition(b"\r\n\r\n")

    assert head.startswith(b"POST /cart HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert b"\r\nAuthorization: Bearer t\r\n" in head
    assert head.endswith(b"\r\nContent-Length: 7")
    assert body == b'{"a":1}'


async def _closed_by_server(connection: Connection) -> None:
    """Waits until the end of the stream has arrived."""
    assert connection._streams is not None
    assert await connection._streams[0].read() == b""
