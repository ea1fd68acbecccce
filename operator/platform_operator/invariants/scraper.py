"""Scrapes the invariants of every platform periodically, and enqueues a platform when they change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile

import aiohttp

from platform_operator import metrics
from platform_operator.api.kinds import ObjectId, PlatformKey
from platform_operator.api.spec import parse
from platform_operator.cache.observed import METRICS_PORT, Platform, ServiceAddress, state_of
from platform_operator.cache.store import Cache
from platform_operator.errors import InvalidSpecError, ScrapeError
from platform_operator.invariants.rows import invariant_rows, known_sources
from platform_operator.invariants.scrape_results import (
    BROKER,
    CHECKED,
    GATEWAY,
    HEADERS_IGNORED,
    INTERVAL,
    LAG,
    ORDERS,
    PAUSE,
    REQUESTS,
    STARTED,
    VIOLATIONS,
    ScrapeResult,
    ServiceMetrics,
    next_result,
    parse_metrics,
    sum_of_nodes,
)
from platform_operator.plan.hibernation import is_to_be_stopped

logger = logging.getLogger(__name__)

TIMEOUT = 3.0
"""Seconds."""
MAX_CONCURRENT = 64
"""Over all platforms. The timeouts of fifty dead shops leave room for the others in each INTERVAL."""
MAX_BYTES = 1 << 18
"""Bytes of a response. That of a service has a hundredth of it, since it is asked for these metrics alone."""

Fetch = Callable[[str], Awaitable[str]]
"""Returns the text at a URL. Raises ScrapeError."""


@dataclass
class InvariantScraper:
    """Holds the newest scrape result of every source of every platform.

    `clock` is the epoch's, since services export such times.
    """

    cache: Cache
    enqueue: Callable[[PlatformKey], None]
    fetch: Fetch
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _results: dict[PlatformKey, dict[str, ScrapeResult]] = field(init=False, default_factory=dict)
    _slots: asyncio.Semaphore = field(init=False, default_factory=lambda: asyncio.Semaphore(MAX_CONCURRENT))

    def results(self, key: PlatformKey) -> Mapping[str, ScrapeResult]:
        """Returns the newest result of each source of a platform."""
        return self._results.get(key, {})

    async def run(self) -> None:
        """Scrapes for ever, once in each INTERVAL."""
        while True:
            began = self.clock()
            await self.scrape_all()
            await self.sleep(max(1.0, INTERVAL - (self.clock() - began)))

    async def scrape_all(self) -> None:
        """Scrapes all platforms once and forgets those that are gone, hibernated or closed."""
        known = self.cache.platforms.values()
        platforms = [one for one in known if not (one.deleting or is_to_be_stopped(one))]
        gone = self._results.keys() - {platform.key for platform in platforms}
        for key in gone:
            del self._results[key]
        async with asyncio.TaskGroup() as scrapes:
            for platform in platforms:
                scrapes.create_task(self._scrape_platform(platform))
                await asyncio.sleep(0)  # hundreds of shops that begin in one turn of the event loop would block it

    async def _scrape_platform(self, platform: Platform) -> None:
        key, names = platform.key, _sources(platform)
        answers = await asyncio.gather(*(self._scrape(key, source) for source in names))
        before, now = self.results(key), self.clock()
        results = {
            source: next_result(before.get(source), answer, now) for source, answer in zip(names, answers, strict=True)
        }
        self._results[key] = results
        self._enqueue_if_changed(key, results, names, now)

    def _enqueue_if_changed(
        self, key: PlatformKey, results: Mapping[str, ScrapeResult], names: Sequence[str], now: float
    ) -> None:
        platform = self.cache.platforms.get(key)  # as stored now, not as stored when the scrape began
        if platform is None:
            return
        stored = platform.status.get("invariants", [])
        if invariant_rows(stored, results, names, now) != stored:
            self.enqueue(key)

    async def _scrape(self, key: PlatformKey, source: str) -> ServiceMetrics | None:
        """Returns what a source answers. Of a broker with several nodes, those that answer are summed up."""
        addresses = self._addresses(key, source)
        if not addresses:
            self._failed(key, source, f"Service {key.name}-{source} has no address yet")
        answers = [await self._read(key, source, address) for address in addresses]
        return sum_of_nodes([one for one in answers if one])

    async def _read(self, key: PlatformKey, source: str, address: ServiceAddress) -> ServiceMetrics | None:
        url = metrics_url(address.ip, address.ports[METRICS_PORT], _PATHS.get(source, _SERVICE_PATH))
        async with self._slots:
            try:
                scraped = parse_metrics(await self.fetch(url))
            except (ScrapeError, ValueError) as error:
                self._failed(key, source, str(error))
                return None
        metrics.SCRAPES.labels("read").inc()
        return scraped

    def _failed(self, key: PlatformKey, source: str, reason: str) -> None:
        metrics.SCRAPES.labels("failed").inc()
        logger.debug("cannot read metrics: %s", reason, extra={"platform": str(key), "source": source})

    def _addresses(self, key: PlatformKey, source: str) -> list[ServiceAddress]:
        """Returns the addresses of a Service, or of those of the nodes of a broker that is a cluster.

        Any ready pod of a service will do, since all of them check the same database, and all of a gateway's are behind
        the same proxies. A node of a broker knows only the queues that it leads.
        """
        children, own = self.cache.children(key), ObjectId("Service", f"{key.name}-{source}")
        nodes = takewhile(children.__contains__, (own._replace(name=f"{own.name}-{node}") for node in count()))
        states = [state_of(one, children) for one in ([own] if own in children else nodes)]
        return [one for one in states if isinstance(one, ServiceAddress) and METRICS_PORT in one.ports]


def _sources(platform: Platform) -> tuple[str, ...]:
    try:
        spec = parse(platform.spec)
    except InvalidSpecError:
        spec = None  # the reconcile reports it
    return known_sources(spec, platform.status.get("invariants", ()))


def metrics_url(address: str, port: int, path: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}{path}"


def _metrics_path(*names: str) -> str:
    return "/metrics?" + "&".join(f"name[]={name}" for name in names)


REQUESTS_PATH = _metrics_path(REQUESTS)
_SERVICE_PATH = _metrics_path(VIOLATIONS, CHECKED, PAUSE, LAG)
_PATHS = {
    "order": _metrics_path(VIOLATIONS, CHECKED, PAUSE, LAG, ORDERS, STARTED),
    BROKER: "/metrics/detailed?family=queue_coarse_metrics",
    GATEWAY: _metrics_path(HEADERS_IGNORED, REQUESTS),
}


def http_fetch(session: aiohttp.ClientSession) -> Fetch:
    """Returns a Fetch that allows TIMEOUT seconds and MAX_BYTES, and follows no redirect."""

    async def fetch(url: str) -> str:
        try:
            async with session.get(
                url, timeout=aiohttp.ClientTimeout(total=TIMEOUT), allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise ScrapeError(f"{url} answers {response.status}")
                return (await _bounded(response)).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ScrapeError(f"{url} does not answer: {error!r}") from error

    return fetch


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > MAX_BYTES:
            raise ScrapeError(f"{response.url} answers more than {MAX_BYTES} bytes")
    return bytes(body)
