"""A TCP proxy between a service and a server, through which a test injects network faults."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis_testing.ports import free_port


class FaultProxy:
    """A TCP connection to a server that a test can cut, mend and slow down.

    `delay` is how long each piece takes on its way at most, in seconds.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = free_port()
        self.delay = 0.0

    def retarget(self, host: str, port: int) -> None:
        """Where new connections lead from now on."""
        self._target = (host, port)

    async def restore(self) -> None:
        """Accepts connections, from the beginning or after a cut."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    async def reset_connections(self) -> None:
        """Ends every connection in the middle of what it carries; new ones are accepted."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def sever(self) -> None:
        """Ends every connection and refuses new ones."""
        if self._server is not None:
            self._server.close()
        await self.reset_connections()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer), return_exceptions=True)
        self._writers -= ends

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(random.uniform(0, self.delay))  # noqa: S311 - no secret
                writer.write(chunk)
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def fault_proxy(host: str, port: int) -> AsyncIterator[FaultProxy]:
    line = FaultProxy(host, port)
    await line.restore()
    try:
        yield line
    finally:
        await line.sever()
