"""The network between the parts of a shop on this machine, which a test can slow down, cut and mend."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Line:
    """A TCP relay on a port of this machine. `delay` is how long each piece takes on its way, in seconds, at most."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.delay = 0.0

    def aim(self, host: str, port: int) -> None:
        """Where new connections lead from now on."""
        self._target = (host, port)

    async def open(self) -> None:
        """Accepts connections, on the same port as before if it was cut."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def drop(self) -> None:
        """Ends every connection in the middle of what it carries; new ones are accepted."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def cut(self) -> None:
        """Ends every connection and refuses new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.drop()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer), return_exceptions=True)
        self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(random.uniform(0, self.delay))
                writer.write(piece)
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def line(host: str, port: int) -> AsyncIterator[Line]:
    """An open line; cut at the end of the block."""
    opened = Line(host, port)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.cut()
