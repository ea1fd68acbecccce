"""A TCP proxy between a service and a server, through which a test injects network faults."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis_testing.ports import free_port, stop_accepting


@asynccontextmanager
async def fault_proxy(host: str, port: int) -> AsyncIterator["FaultProxy"]:
    """Runs a proxy to `host:port` that accepts connections."""
    proxy = FaultProxy(host, port)
    await proxy.restore()
    try:
        yield proxy
    finally:
        await proxy.sever()


class FaultProxy:
    """A TCP proxy that a test can sever, restore and slow down. It refuses connections until `restore` is called.

    `delay` is the longest time that each chunk is delayed, in seconds.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._forwards_answers = asyncio.Event()
        self._forwards_answers.set()
        self.port = free_port()
        self.delay = 0.0

    def retarget(self, host: str, port: int) -> None:
        """Forwards new connections to another server from now on."""
        self._target = (host, port)

    async def restore(self) -> None:
        """Accepts connections, at first or after `sever`."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    async def reset_connections(self) -> None:
        """Ends every connection at once, in the middle of what it transmits, and accepts new ones."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def sever(self) -> None:
        """Ends every connection and refuses new ones."""
        if self._server is not None:
            for listening in self._server.sockets:
                await stop_accepting(listening)
            self._server.close()
        await self.reset_connections()

    def hold_answers(self) -> None:
        """Keeps what the server sends from now on until `release_answers` is called."""
        self._forwards_answers.clear()

    def release_answers(self) -> None:
        self._forwards_answers.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            target_reader, target_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        if writer not in self._writers:  # it was ended while the other one was opened
            target_writer.transport.abort()
            return
        writers = {writer, target_writer}
        self._writers |= writers
        always = asyncio.Event()
        always.set()
        await asyncio.gather(
            self._copy(reader, target_writer, always),
            self._copy(target_reader, writer, self._forwards_answers),
            return_exceptions=True,
        )
        self._writers -= writers

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may_forward: asyncio.Event
    ) -> None:
        try:
            while chunk := await reader.read(65536):
                await may_forward.wait()
                if self.delay:
                    await asyncio.sleep(random.uniform(0, self.delay))  # noqa: S311 - not a secret
                writer.write(chunk)
                await writer.drain()
        finally:
            writer.close()
