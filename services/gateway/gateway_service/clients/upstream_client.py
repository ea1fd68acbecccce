"""Sends requests to the upstreams, which are the services behind the gateway, over HTTP.

During a rollout, no request may be lost and none may take effect twice. So:

- A stopping service is first removed from its endpoints, and serves for its drain period (5 s) after that. Idle
  connections are kept for less than that. So none is left when the service stops, and no request uses a connection that
  is being closed.
- A request of which nothing was sent is retried for a while, whatever its method: a node that learns late that a pod is
  gone still routes to its address for a moment. A request that was sent is repeated only if it is a GET or HEAD, and
  once.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from gateway_service.domain.errors import UpstreamUnavailable
from gateway_service.domain.openapi import Document
from gateway_service.domain.routes import Upstream

_CONNECT_SECONDS = 1.0
"""The limit for name resolution and connecting together."""
_IDLE_SECONDS = 3.0
_DOCUMENT_SECONDS = 2.0
_RETRY_DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""The maximum seconds before each retry."""
_NOTHING_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_REPEATABLE = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A request to an upstream. `target` is the path and query, as they were received."""

    upstream: Upstream
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes | None


class UpstreamClient:
    """Sends requests to all upstreams, with retries."""

    def __init__(self, base_urls: Mapping[Upstream, str], jitter: Callable[[], float]) -> None:
        """`base_urls` are URLs like http://shop-user:8081.

        `jitter` returns the factor from 0 to 1 for a retry delay.
        """
        self._base_urls = {upstream: url.rstrip("/") for upstream, url in base_urls.items()}
        self._jitter = jitter
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            auto_decompress=False,
        )
        self._session._retry_connection = False  # noqa: SLF001 - it repeats PUT and DELETE, and has no public switch

    def base_url(self, upstream: Upstream) -> str:
        return self._base_urls[upstream]

    async def send(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        """Returns the response before its body is read. Raises UpstreamUnavailable.

        The caller of this method closes the response, and sets the deadline.
        """
        delays = list(_RETRY_DELAYS)
        while True:
            try:
                return await self._send_once(request)
            except aiohttp.ClientError as error:
                if not delays or not _may_retry(request, error):
                    raise UpstreamUnavailable(request.upstream) from error
                if not isinstance(error, _NOTHING_SENT):
                    del delays[1:]
            await asyncio.sleep(delays.pop(0) * self._jitter())

    async def document(self, upstream: Upstream) -> Document | None:
        """Fetches an upstream's OpenAPI document; None if it does not respond with one."""
        url = f"{self._base_urls[upstream]}/openapi.json"
        try:
            async with asyncio.timeout(_DOCUMENT_SECONDS), self._session.get(url) as response:
                document = await response.json() if response.ok else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    async def close(self) -> None:
        await self._session.close()

    async def _send_once(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        url = URL(self._base_urls[request.upstream] + request.target, encoded=True)
        return await self._session.request(
            request.method, url, headers=request.headers, data=request.body, allow_redirects=False
        )


def _may_retry(request: UpstreamRequest, error: aiohttp.ClientError) -> bool:
    return isinstance(error, _NOTHING_SENT) or request.method in _REPEATABLE
