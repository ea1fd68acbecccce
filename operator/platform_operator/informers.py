"""Hears of everything that happens to platforms and their children: keeps the cache, wakes the queue, and no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import kopf

from platform_operator.api.kinds import CHILDREN, OURS, PLATFORM, Key, Kind, Manifest
from platform_operator.cache.observed import Cache, identify, observe, observe_platform, platform_of
from platform_operator.client import Api
from platform_operator.errors import ApiError

logger = logging.getLogger(__name__)

SELECTOR = ",".join(f"{name}={value}" for name, value in sorted(OURS.items()))


@dataclass
class Watcher:
    """Feeds the cache from Kopf's watches and from lists, and tells `wake` which platforms to look at."""

    api: Api
    cache: Cache
    wake: Callable[[Key], None]
    namespaces: tuple[str, ...]
    identity: str

    async def run(self) -> None:
        """Watches until a signal tells Kopf to stop. Raises what made it fail."""
        tasks = await kopf.spawn_tasks(
            registry=self.registry(),
            settings=kopf_settings(),
            identity=self.identity,  # type: ignore[arg-type]  # a NewType that Kopf keeps to itself; else it asks getpwuid
            standalone=True,
            clusterwide=not self.namespaces,
            namespaces=self.namespaces,
        )
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:  # rather than kopf.run_tasks, which would wait for the operator's other tasks as if they were Kopf's
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def registry(self) -> kopf.OperatorRegistry:
        """Only `on.event`: every other kind of handler writes annotations or finalizers."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(log_in)
        kopf.on.event(*_address(PLATFORM), registry=registry, id="platform")(self.on_platform)
        for kind in CHILDREN.values():
            kopf.on.event(*_address(kind), registry=registry, id=kind.plural, labels=OURS)(self.on_child)
        return registry

    async def on_platform(self, type: str | None, body: Any, **_: Any) -> None:  # noqa: A002  # Kopf's name
        manifest = plain(body)
        platform = observe_platform(manifest)
        if type == "DELETED":
            self.cache.drop_platform(platform.key, platform.version)
        else:
            self.cache.keep_platform(platform)
        self.wake(platform.key)

    async def on_child(self, type: str | None, body: Any, **_: Any) -> None:  # noqa: A002  # Kopf's name
        manifest = plain(body)
        key = platform_of(manifest)
        if type == "DELETED":
            self.cache.drop(key, identify(manifest), int(manifest["metadata"]["resourceVersion"]))
        else:
            self._keep(key, manifest)
        self.wake(key)

    def _keep(self, key: Key, manifest: Manifest) -> None:
        """Anyone who may write in a namespace can make an object that is odd: it must not stop the work on all others."""
        try:
            self.cache.keep(key, observe(manifest))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            logger.warning("cannot read %s: %r", identify(manifest), error, extra={"platform": str(key)})

    async def resync(self) -> None:
        """Compares the cache with lists. After a watch lost its place Kopf lists anew, but does not tell what is gone.
        Wakes every platform, those that are gone too.

        Raises ApiError.
        """
        for namespace in self.namespaces or (None,):
            await self._resync_platforms(namespace)
            for kind in CHILDREN.values():
                await self._resync_children(kind, namespace)
        self.cache.forget_deletions()
        for key in tuple(self.cache.platforms):
            self.wake(key)

    async def _resync_platforms(self, namespace: str | None) -> None:
        manifests, version = await self.api.list(PLATFORM, namespace)
        listed, known = [observe_platform(manifest) for manifest in manifests], set(self.cache.platforms)
        for platform in listed:
            self.cache.keep_platform(platform)
        self.cache.retain_platforms((platform.key for platform in listed), version, namespace)
        for gone in known.difference(self.cache.platforms):
            self.wake(gone)

    async def _resync_children(self, kind: Kind, namespace: str | None) -> None:
        try:
            manifests, version = await self.api.list(kind, namespace, SELECTOR)
        except ApiError as error:
            if error.status == 404 and kind.optional:
                return
            raise
        listed = set()
        for manifest in manifests:
            manifest |= {"kind": kind.kind, "apiVersion": kind.api_version}  # lists leave them out
            key = platform_of(manifest)
            self._keep(key, manifest)
            listed.add((key, identify(manifest)))
        self.cache.retain(kind.kind, listed, version, namespace)


async def log_in(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account, or else KUBECONFIG, without importing the synchronous Kubernetes client."""
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


def kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # our Events are our own
    settings.scanning.disabled = True  # would need to watch every namespace and CRD of the cluster
    settings.watching.chunk_size = 200
    for kind in CHILDREN.values():
        settings.watching.label_selectors[_address(kind)] = SELECTOR
    logging.getLogger("kopf").setLevel(logging.WARNING)
    return settings


def plain(body: Any) -> Manifest:
    """Kopf hands out a view; what is behind it is the API server's own JSON."""
    return dict(body)


def _address(kind: Kind) -> tuple[str, str, str]:
    return kind.group, kind.api_version.rpartition("/")[2], kind.plural
