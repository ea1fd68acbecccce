"""Informers: Kopf watches platforms, reflectors their children. They fill the cache and enqueue what changed.

An event that changes nothing that is decided on wakes no platform: the operator's own status writes come back as
events, and a failing pass that woke itself would have no backoff (docs/adr/0040-only-changes-wake-a-platform.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import kopf

from platform_operator.api.kinds import CHILD_KINDS, CHILD_LABELS, PLATFORM, Kind, Manifest, PlatformKey
from platform_operator.cache.observed import object_id, observe, observe_platform, platform_of
from platform_operator.cache.store import Cache
from platform_operator.client import READ_TIMEOUT, WATCH_SECONDS, WRITE_TIMEOUT, KubernetesClient
from platform_operator.digests import digest
from platform_operator.errors import ApiError
from platform_operator.reflector import Listed, Reflector
from platform_operator.tasks import first_of, set_on_signal

logger = logging.getLogger(__name__)

PLATFORMS_INTERVAL = 30.0
"""Seconds between two lists of all platforms."""
PLATFORMS_PAGE_SIZE = 10
"""Platforms that are read in one request. One has 50 KiB of JSON: ten times as much as a child."""
KOPF_PAUSE = 15.0
"""Seconds from the end of Kopf to its next start. It has retried for a minute by then."""
SELECTOR = ",".join(f"{name}={value}" for name, value in sorted(CHILD_LABELS.items()))


@dataclass
class Informers:
    """Keeps the cache current and passes the key of each platform that changed to `enqueue`.

    `enqueue_spaced` gets the keys of platforms whose children changed: a shop that starts has dozens of such events.
    """

    client: KubernetesClient
    cache: Cache
    enqueue: Callable[[PlatformKey], None]
    enqueue_spaced: Callable[[PlatformKey], None]
    namespaces: tuple[str, ...]
    identity: str
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _reflectors: tuple[Reflector, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._reflectors = tuple(
            Reflector(self.client, self, kind, namespace, SELECTOR, self.sleep)
            for namespace in self.namespaces or (None,)
            for kind in CHILD_KINDS.values()
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Watches until `stop` is set. Raises the error of a task that failed."""
        own = (*(reflector.run() for reflector in self._reflectors), self._look_for_deleted_platforms())
        await first_of(self._keep_kopf_running(stop), *own)

    async def _keep_kopf_running(self, stop: asyncio.Event) -> None:
        """Starts Kopf again whenever it gives up, as it does after some refusals (docs/adr/0060).

        The platforms are listed first: Kopf looks once whether its resource is served.
        """
        while not stop.is_set():
            try:
                await self._list_all_platforms()
                await self._run_kopf(stop)
            except Exception as error:  # Kopf has no root of its errors
                logger.warning("the watch of platforms ended, and starts again: %r", error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(KOPF_PAUSE):
                        await stop.wait()

    async def _run_kopf(self, stop: asyncio.Event) -> None:
        tasks = await kopf.spawn_tasks(
            registry=self.registry(),
            settings=kopf_settings(),
            identity=self.identity,  # type: ignore[arg-type]  # private to Kopf; without one it calls getpwuid
            standalone=True,
            clusterwide=not self.namespaces,
            namespaces=self.namespaces,
            stop_flag=stop,
        )
        set_on_signal(stop)  # Kopf has installed handlers of its own
        await first_of(
            *tasks
        )  # not kopf.run_tasks, which would wait for the operator's other tasks as if they were its

    def registry(self) -> kopf.OperatorRegistry:
        """Registers `on.event` handlers only: every other kind of handler writes annotations or finalizers."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(log_in)
        kopf.on.event(*_resource(PLATFORM), registry=registry, id="platform")(self.on_platform)
        return registry

    async def on_platform(self, type: str | None, body: Any, **_: Any) -> None:  # noqa: A002  # Kopf's name
        manifest = as_manifest(body)
        platform = observe_platform(manifest)
        if type == "DELETED":
            self.cache.remove_platform(platform.key, platform.version)
            self.enqueue(platform.key)
        elif self.cache.store_platform(platform):
            self.enqueue(platform.key)

    def change(self, kind: Kind, type_: str, manifest: Manifest) -> None:
        """Takes over an event of a child."""
        key = platform_of(manifest)
        if type_ == "DELETED":
            changed = self.cache.remove(key, object_id(manifest), int(manifest["metadata"]["resourceVersion"]))
        else:
            changed = self._store(key, manifest)
        if changed:
            self.enqueue_spaced(key)

    def _store(self, key: PlatformKey, manifest: Manifest) -> bool:
        """Stores a child. Returns whether anything changed that is decided on.

        What is known is not read again: each list brings all objects, and each write comes back as an event. Anyone who
        may write in a namespace can make a malformed one: it must not stop the work on all others, so it is logged and
        skipped.
        """
        try:
            is_known = self.cache.has(key, object_id(manifest), int(manifest["metadata"]["resourceVersion"]))
            return not is_known and self.cache.store(key, observe(manifest))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            logger.warning("cannot read %s: %r", object_id(manifest), error, extra={"platform": str(key)})
            return False

    async def fill_cache(self) -> None:
        """Lists everything and enqueues every platform.

        Raises ApiError. An add-on that cannot be listed is left out.
        """
        await self._list_all_platforms()
        for reflector in self._reflectors:
            await self._list(reflector)
        self.cache.clear_tombstones()
        for key in tuple(self.cache.platforms):
            self.enqueue(key)

    async def resync_platforms(self, interval: float) -> None:
        """Enqueues each platform once in each interval, for ever, each at a time of its own."""
        while True:
            elapsed = 0.0
            for offset, key in self._turns(interval):
                await self.sleep(offset - elapsed)
                elapsed = offset
                self.enqueue(key)
            await self.sleep(interval - elapsed)

    async def resync_children(self, interval: float) -> None:
        """Compares the cache with a list of each kind in each interval, for ever, one kind after the other."""
        while True:
            for reflector in self._reflectors:
                await self.sleep(interval / len(self._reflectors))
                try:
                    await self._list(reflector)
                except ApiError as error:
                    logger.warning("cannot list %s: %s", reflector.kind.plural, error)
            self.cache.clear_tombstones()

    def _turns(self, interval: float) -> Sequence[tuple[float, PlatformKey]]:
        return sorted((resync_offset(one.uid, interval), key) for key, one in self.cache.platforms.items())

    async def _list_all_platforms(self) -> None:
        for namespace in self.namespaces or (None,):
            await self._list_platforms(namespace)

    async def _list_platforms(self, namespace: str | None) -> None:
        listed, known, version = set[PlatformKey](), set(self.cache.platforms), 0
        async for page, version in self.client.pages(PLATFORM, namespace, size=PLATFORMS_PAGE_SIZE):  # noqa: B007
            for platform in map(observe_platform, page):
                listed.add(platform.key)
                if self.cache.store_platform(platform):
                    self.enqueue(platform.key)
        self.cache.remove_unlisted_platforms(listed, version, namespace)
        for gone in known.difference(self.cache.platforms):
            self.enqueue(gone)

    async def _look_for_deleted_platforms(self) -> None:
        """Lists the platforms, which are few, at intervals: Kopf lists again after its watch lost its place, but does
        not report what was deleted until then."""
        while True:
            await self.sleep(PLATFORMS_INTERVAL)
            try:
                await self._list_all_platforms()
            except ApiError as error:
                logger.warning("cannot list platforms: %s", error)

    async def _list(self, reflector: Reflector) -> None:
        try:
            await reflector.list()
        except ApiError as error:
            if not reflector.kind.optional or not error.status:
                raise
            if error.status != 404:
                logger.warning("cannot list %s: %s", reflector.kind.plural, error)

    def store_listed(self, kind: Kind, page: Iterable[Manifest]) -> Listed:
        """Takes over a page of a list of children."""
        listed: Listed = set()
        for manifest in page:
            key = platform_of(manifest)
            listed.add((key, object_id(manifest)))
            if self._store(key, manifest):
                self.enqueue(key)
        return listed

    def remove_unlisted(self, kind: Kind, namespace: str | None, listed: Listed, version: int) -> None:
        """Removes the children that a list does not contain, and enqueues their platforms."""
        for key in self.cache.remove_unlisted(kind.kind, listed, version, namespace):
            self.enqueue(key)


def resync_offset(uid: str, interval: float) -> float:
    """Returns the seconds from the beginning of an interval to a platform's turn.

    They follow from a hash of the UID: the turns are spread evenly, and the same in each interval and after a restart.
    """
    return int(digest(uid), 16) / 16**16 * interval


async def log_in(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """Uses the pod's service account, or else KUBECONFIG, without importing the synchronous Kubernetes client."""
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


def kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # the operator creates its own Events
    settings.scanning.disabled = True  # would need the right to watch every namespace and CRD of the cluster
    settings.watching.chunk_size = 200
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.inactivity_timeout = WATCH_SECONDS + WRITE_TIMEOUT  # a stalled watch is restarted after that time
    settings.networking.request_timeout = READ_TIMEOUT
    settings.persistence.diffbase_storage = _NoComparison()
    settings.process.ultimate_exiting_timeout = None  # the timeout of a stopped Kopf would kill one that runs again
    logging.getLogger("kopf").setLevel(logging.WARNING)
    return settings


class _NoComparison(kopf.DiffBaseStorage):
    """Stores nothing, and lets Kopf compare nothing: it would copy each event's platform, status included, to find out
    what changed for handlers of a kind that the operator does not have."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Stores nothing."""


def as_manifest(body: Any) -> Manifest:
    """Returns the API server's own JSON, of which Kopf passes a read-only view."""
    return dict(body)


def _resource(kind: Kind) -> tuple[str, str, str]:
    return kind.group, kind.api_version.rpartition("/")[2], kind.plural
