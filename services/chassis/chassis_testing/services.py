"""A service that runs inside the process of its test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from chassis.runtime.process import Loop, Service, cancel_all
from starlette.types import ASGIApp


def http_client(app: ASGIApp) -> httpx.AsyncClient:
    """Returns a client that calls an application in process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


@dataclass(frozen=True, slots=True)
class RunningService:
    """A client of a running service, and the port of its gRPC server, which is 0 if it has none."""

    http: httpx.AsyncClient
    rpc_port: int


@asynccontextmanager
async def run_service(service: Service) -> AsyncIterator[RunningService]:
    """Runs a service's gRPC server and background loops. Its HTTP application is called in process."""
    loops = [asyncio.create_task(_run(loop)) for loop in service.background.values()]
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


async def _run(loop: Loop) -> None:
    await loop()
