"""The services behind the gateway, over HTTP.

No request may be lost while services roll out, and none may take effect twice. So:

- A stopping service leaves its endpoints first and serves on for its drain (5 s). An idle connection is kept for less than
  that, so none to it is left when it stops, and no request meets a connection that is being closed.
- A request of which nothing was sent is tried again for a while, whatever it is: where a node is slow to hear that a pod has gone,
  its address is handed out for a moment longer. One that was sent is repeated only if it reads, and once.
"""

import asyncio
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from gateway_service.domain.errors import UpstreamUnavailable
from gateway_service.domain.openapi import Document
from gateway_service.domain.routes import Upstream

_CONNECT_SECONDS = 1.0
"""To find the address and connect."""
_IDLE_SECONDS = 3.0
_DOCUMENT_SECONDS = 2.0
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between tries, at most."""
_NOTHING_WAS_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_REPEATABLE = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Outbound:
    """A request to a service. `target` is path and query, as they were received."""

    upstream: Upstream
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes | AsyncIterable[bytes] | None


class Upstreams:
    def __init__(self, bases: Mapping[Upstream, str], jitter: Callable[[], float]) -> None:
        """`bases` are addresses like http://shop-user:8081; `jitter` gives the share of a pause that one is."""
        self._bases = {upstream: base.rstrip("/") for upstream, base in bases.items()}
        self._jitter = jitter
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            auto_decompress=False,
        )
        self._session._retry_connection = False  # noqa: SLF001 - it would repeat PUT and DELETE, and has no public switch

    def base(self, upstream: Upstream) -> str:
        return self._bases[upstream]

    async def send(self, outbound: Outbound) -> aiohttp.ClientResponse:
        """The answer, its body yet to be read. The caller closes it, and sets the deadline. Raises UpstreamUnavailable."""
        pauses = list(_PAUSES)
        while True:
            try:
                return await self._try(outbound)
            except aiohttp.ClientError as error:
                if not pauses or not _may_repeat(outbound, error):
                    raise UpstreamUnavailable(outbound.upstream) from error
                if not isinstance(error, _NOTHING_WAS_SENT):
                    del pauses[1:]
            await asyncio.sleep(pauses.pop(0) * self._jitter())

    async def document(self, upstream: Upstream) -> Document | None:
        """A service's own OpenAPI document; None while it does not answer with one."""
        url = f"{self._bases[upstream]}/openapi.json"
        try:
            async with asyncio.timeout(_DOCUMENT_SECONDS), self._session.get(url) as answer:
                document = await answer.json() if answer.ok else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    async def close(self) -> None:
        await self._session.close()

    async def _try(self, outbound: Outbound) -> aiohttp.ClientResponse:
        url = URL(self._bases[outbound.upstream] + outbound.target, encoded=True)
        return await self._session.request(
            outbound.method, url, headers=outbound.headers, data=outbound.body, allow_redirects=False
        )


def _may_repeat(outbound: Outbound, error: aiohttp.ClientError) -> bool:
    if isinstance(error, _NOTHING_WAS_SENT):
        return True
    return outbound.method in _REPEATABLE and not isinstance(outbound.body, AsyncIterable)
