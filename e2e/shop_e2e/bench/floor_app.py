"""The least that a list of 20 products can cost in Python: one query of asyncpg behind a raw ASGI application."""

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
_QUERY = (
    "SELECT id, name, description, price_amount, price_currency, category FROM products ORDER BY id DESC"
    " LIMIT 20 OFFSET $1"
)
_pools: list[asyncpg.Pool] = []


async def app(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    page = int(scope["query_string"].rpartition(b"=")[2] or 1)
    body = await _listed(page)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    """Keeps a pool of connections from startup to shutdown."""
    await receive()
    _pools.append(await asyncpg.create_pool(os.environ["FLOOR_DSN"], min_size=10, max_size=10))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await _pools.pop().close()
    await send({"type": "lifespan.shutdown.complete"})


async def _listed(page: int) -> bytes:
    rows = await _pools[0].fetch(_QUERY, (page - 1) * 20)
    return json.dumps({"data": [dict(row) for row in rows]}).encode()
