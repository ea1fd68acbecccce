"""The operator's HTTP server: probes for the kubelet and metrics for Prometheus.

Both ports serve all paths, so that the kubelet and Prometheus can each have a port of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


async def serve(health_port: int, metrics_port: int, is_ready: Callable[[], bool]) -> web.AppRunner:
    """Serves until the returned runner is cleaned up. The liveness probe only shows that the event loop runs."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok") if is_ready() else web.Response(status=503, text="the cache is not filled yet")

    async def metrics(_: web.Request) -> web.Response:
        body = await asyncio.to_thread(generate_latest)  # of hundreds of shops it takes longer than the loop may wait
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    for port in (health_port, metrics_port):
        await web.TCPSite(runner, port=port).start()
    return runner
