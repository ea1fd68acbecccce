"""A composed service that runs inside the test's process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from chassis.runtime.process import Service, cancel_all
from starlette.types import ASGIApp


def http_client(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


@dataclass(frozen=True, slots=True)
class RunningService:
    http: httpx.AsyncClient
    rpc_port: int


@asynccontextmanager
async def run_service(service: Service) -> AsyncIterator[RunningService]:
    """A composed service with its gRPC server and background loops running; HTTP is called in process."""
    loops = [asyncio.create_task(_loop(start)) for start in service.background.values()]
    if service.rpc is not None:
        await service.rpc.start()
    try:
        async with http_client(service.http) as http:
            yield RunningService(http, service.rpc.port if service.rpc else 0)
    finally:
        if service.rpc is not None:
            await service.rpc.stop(0)
        await cancel_all(*loops)
        for close in service.closers:
            await close()


async def _loop(start: Callable[[], Awaitable[None]]) -> None:
    await start()
