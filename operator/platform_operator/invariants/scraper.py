"""Reads the figures of every shop's books now and then, beside the reconciling, and wakes it when they say something new."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import aiohttp

from platform_operator import metrics
from platform_operator.api.kinds import Key, ObjectId
from platform_operator.api.spec import Spec, parse
from platform_operator.cache.observed import Address, Cache, Platform
from platform_operator.errors import InvalidSpecError, UnreadableError
from platform_operator.invariants.conditions import (
    BROKER,
    CHECKED,
    LAG,
    PAUSE,
    VIOLATIONS,
    Figures,
    Heard,
    hear,
    read_figures,
    rows,
    sources,
)
from platform_operator.plan.planner import state_of

logger = logging.getLogger(__name__)

EVERY = 30.0
"""Seconds, as often as the services look."""
DEADLINE = 3.0
AT_ONCE = 16
LARGEST = 1 << 20
"""Bytes of an answer; a service asked for these figures alone answers a thousandth of it."""

Fetch = Callable[[str], Awaitable[str]]
"""The text at a URL. Raises UnreadableError."""


@dataclass
class Auditor:
    """What every source of every platform said last. `clock` is the epoch's, since services export such times."""

    cache: Cache
    wake: Callable[[Key], None]
    fetch: Fetch
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _heard: dict[Key, dict[str, Heard]] = field(default_factory=dict)
    _at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def heard(self, key: Key) -> Mapping[str, Heard]:
        return self._heard.get(key, {})

    async def run(self) -> None:
        """For ever, a round at a time."""
        while True:
            began = self.clock()
            await self.look()
            await self.sleep(max(1.0, EVERY - (self.clock() - began)))

    async def look(self) -> None:
        """One round over all platforms."""
        platforms = [platform for platform in self.cache.platforms.values() if not platform.deleting]
        gone = self._heard.keys() - {platform.key for platform in platforms}
        for key in gone:
            del self._heard[key]
        await asyncio.gather(*(self._look_at(platform) for platform in platforms))

    async def _look_at(self, platform: Platform) -> None:
        try:
            spec = parse(platform.spec)
        except InvalidSpecError:
            return  # the reconcile says so
        key, asked = platform.key, sources(spec)
        answers = await asyncio.gather(*(self._ask(key, source) for source in asked))
        before, now = self.heard(key), self.clock()
        heard = {source: hear(before.get(source), answer, now) for source, answer in zip(asked, answers, strict=True)}
        self._heard[key] = heard
        self._wake_if_new(key, heard, spec, now)

    def _wake_if_new(self, key: Key, heard: Mapping[str, Heard], spec: Spec, now: float) -> None:
        platform = self.cache.platforms.get(key)  # as stored now, not when the round began
        if platform is None:
            return
        stored = platform.status.get("invariants", [])
        if rows(stored, heard, sources(spec), now) != stored:
            self.wake(key)

    async def _ask(self, key: Key, source: str) -> Figures | None:
        async with self._at_once:
            try:
                figures = read_figures(await self.fetch(self._url(key, source)))
            except (UnreadableError, ValueError) as error:
                metrics.READS.labels("failed").inc()
                logger.debug("cannot read figures: %s", error, extra={"platform": str(key), "source": source})
                return None
        metrics.READS.labels("read").inc()
        return figures

    def _url(self, key: Key, source: str) -> str:
        """Through the Service, whose address the watches tell: any of its ready pods will do, all look at the same books."""
        service = state_of(ObjectId("Service", f"{key.name}-{source}"), self.cache.children(key))
        if not isinstance(service, Address) or "metrics" not in service.ports:
            raise UnreadableError(f"Service {key.name}-{source} has no address yet")
        host = f"[{service.ip}]" if ":" in service.ip else service.ip
        return f"http://{host}:{service.ports['metrics']}{_PATHS.get(source, _OF_SERVICES)}"


_OF_SERVICES = "/metrics?" + "&".join(f"name[]={name}" for name in (VIOLATIONS, CHECKED, PAUSE, LAG))
_PATHS = {BROKER: "/metrics/detailed?family=queue_coarse_metrics"}


def over_http(session: aiohttp.ClientSession) -> Fetch:
    async def fetch(url: str) -> str:
        try:
            async with session.get(
                url, timeout=aiohttp.ClientTimeout(total=DEADLINE), allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise UnreadableError(f"{url} answers {response.status}")
                return (await _bounded(response)).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreadableError(f"{url} does not answer: {error!r}") from error

    return fetch


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > LARGEST:
            raise UnreadableError(f"{response.url} answers more than {LARGEST} bytes")
    return bytes(body)
