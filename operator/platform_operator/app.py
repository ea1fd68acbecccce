"""The composition root: builds every part by hand and runs them until one ends or a signal comes."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, repeat

import aiohttp

from platform_operator import metrics
from platform_operator.api.kinds import Key
from platform_operator.cache.observed import Cache
from platform_operator.client import Api, connect
from platform_operator.errors import ApiError
from platform_operator.http_server import serve
from platform_operator.informers import Watcher
from platform_operator.invariants.scraper import Auditor, over_http
from platform_operator.leader_election import Leader
from platform_operator.reconciler import Reconciler
from platform_operator.render.renderer import Helm, Renderer
from platform_operator.render.values import Installation
from platform_operator.secrets.credentials import load_keyring
from platform_operator.settings import Settings
from platform_operator.workqueue import WorkQueue, work

logger = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises DeposedError when another process took the Lease."""
    async with await connect() as client:
        leader = Leader(Api(client, lambda: None), settings.namespace, settings.identity, time.monotonic)
        operator = _Operator(settings, Api(client, leader.may_write), leader)
        try:
            await operator.run()
        finally:
            await leader.release()


@dataclass
class _Operator:
    settings: Settings
    api: Api
    leader: Leader
    cache: Cache = field(default_factory=Cache)
    queue: WorkQueue[Key] = field(default_factory=lambda: WorkQueue(time.monotonic))
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self) -> None:
        settings = self.settings
        metrics.QUEUE_DEPTH.set_function(self.queue.depth)
        watcher = Watcher(self.api, self.cache, self.queue.add, settings.watch_namespaces, settings.identity)
        server = await serve(settings.health_port, settings.metrics_port, self.filled.is_set)
        try:
            await _first_of(self._watch(watcher), self._resync(watcher), self._lead())
        finally:
            await server.cleanup()

    async def _watch(self, watcher: Watcher) -> None:
        """Kopf looks once for what there is to watch, so it starts when the first lists show that our kind is served.
        It takes the signals over; one that comes before ends the wait."""
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await _first_of(_until(self.filled), _until(stop))
        if not stop.is_set():
            await watcher.run()

    async def _resync(self, watcher: Watcher) -> None:
        """Fills the cache, once more when Kopf's watches surely stand, then now and again against what they lose."""
        for pause in chain((10.0,), repeat(self.settings.resync_every)):
            await self._persistently(watcher.resync)
            self.filled.set()
            await self.sleep(pause)

    async def _persistently(self, resync: Callable[[], Awaitable[None]]) -> None:
        """Lists until the API server answers: at the start nothing else can be done, later the watches carry on."""
        while True:
            try:
                return await resync()
            except ApiError as error:
                logger.warning("cannot list: %s", error)
                await self.sleep(5)

    async def _lead(self) -> None:
        await self.filled.wait()
        await self.leader.acquire()
        await _first_of(self.leader.keep(), self._work())

    async def _work(self) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            auditor = Auditor(self.cache, self.queue.add, over_http(session), time.time)
            reconciler = await self._reconciler(auditor)
            workers = (work(self.queue, reconciler.reconcile) for _ in range(self.settings.workers))
            await _first_of(auditor.run(), *workers)

    async def _reconciler(self, auditor: Auditor) -> Reconciler:
        settings = self.settings
        installed = Installation(
            settings.version,
            settings.image_registry,
            settings.store_registry,
            settings.namespace,
            settings.image_pull_secrets,
        )
        renderer = Renderer(Helm(executable=settings.helm), settings.charts / "platform")
        keyring = await load_keyring(self.api, settings.namespace)
        return Reconciler(
            self.api,
            self.cache,
            renderer,
            keyring,
            installed,
            settings.identity,
            lambda: datetime.now(UTC),
            auditor.heard,
        )


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _first_of(*forever: Coroutine[None, None, None]) -> None:
    """Runs all until one ends, which ends the others; raises what that one raised."""
    tasks = [asyncio.create_task(one) for one in forever]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
