"""The HTTP server of a process: uvicorn, with bounded connections, in a task."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from chassis.http.connections import ConnectionLimits, ConnectionTable
from chassis.http.listening import listen
from chassis.http.protocol import BoundedHttpProtocol


def no_proxy(_address: str) -> bool:
    """Returns False: the peers of most servers are no proxies."""
    return False


class HttpServer(uvicorn.Server):
    """Serves an application with uvicorn, in a task."""

    def __init__(
        self,
        app: ASGIApp,
        port: int,
        limits: ConnectionLimits,
        *,
        is_proxy: Callable[[str], bool] = no_proxy,
        grace_seconds: int,
    ) -> None:
        """`is_proxy` tells the addresses of proxies, which have no limit of connections.

        `grace_seconds` is how long an accepted request may still take while the server stops.
        """
        super().__init__(
            uvicorn.Config(
                app,
                port=port,
                lifespan="off",
                http=BoundedHttpProtocol.of(limits, ConnectionTable(limits, is_proxy)),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # only the gateway decides which address a request comes from
                timeout_keep_alive=limits.idle_seconds,
                timeout_graceful_shutdown=grace_seconds,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._serving = asyncio.create_task(self.serve(sockets=[listen(self.config.port)]))

    async def wait_until_ended_or(self, event: asyncio.Event) -> None:
        """Returns once the event is set, or the server has ended by itself: its port is in use, for example."""
        waiting = asyncio.create_task(event.wait())
        await asyncio.wait([waiting, *([self._serving] if self._serving else [])], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def stop(self) -> None:
        """Finishes accepted requests and ends. Raises what the server has failed with."""
        self.should_exit = True
        if self._serving is not None:
            await self._serving

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to the process, because the drain comes before the server stops."""
        yield
