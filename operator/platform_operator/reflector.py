"""Keeps the objects of one kind current: lists them, watches from there, and lists again when the watch lost its place.

docs/adr/0041-children-are-watched-without-kopf.md says why children are not watched by Kopf.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from platform_operator.api.kinds import Kind, Manifest, ObjectId, ObjectKey, PlatformKey, object_key
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError

logger = logging.getLogger(__name__)

FIRST_DELAY = 1.0
"""Seconds before the first retry; each further one waits twice as long."""
LONGEST_DELAY = 15.0
"""Seconds. With the watch's own timeout, a deletion in the time of a broken watch is noticed within 30 s of its end."""
ABSENT_DELAY = 30.0
"""Seconds between two looks for an add-on that the cluster does not serve: it may be installed or repaired later."""


Listed = set[tuple[PlatformKey, ObjectId]]


class Store(Protocol):
    """What a reflector keeps current."""

    def store_listed(self, kind: Kind, page: Iterable[Manifest]) -> Listed:
        """Takes over a page of a list. Returns what it contains."""

    def remove_unlisted(self, kind: Kind, namespace: str | None, listed: Listed, version: int) -> None:
        """Removes what a whole list of that version does not contain: it was deleted."""

    def change(self, kind: Kind, type_: str, manifest: Manifest) -> None:
        """Takes over one event: `ADDED`, `MODIFIED` or `DELETED`."""


class KeyedStore(ABC):
    """A Store of objects by their keys. A malformed object, which any user may make, is logged and skipped."""

    def change(self, kind: Kind, type_: str, manifest: Manifest) -> None:
        """Stores or removes the object of one event."""
        if type_ == "DELETED":
            self._remove(kind, object_key(kind.kind, manifest))
        else:
            self._store_readable(kind, manifest)

    def store_listed(self, kind: Kind, page: Iterable[Manifest]) -> Listed:
        """Stores a page of a list. Returns what it contains."""
        listed: Listed = set()
        for manifest in page:
            key = object_key(kind.kind, manifest)
            listed.add((PlatformKey(key.namespace, ""), key.id))
            self._store_readable(kind, manifest)
        return listed

    def remove_unlisted(self, kind: Kind, namespace: str | None, listed: Listed, version: int) -> None:
        """Removes the objects that a list does not contain, except those that were stored after it."""
        listed_keys = {ObjectKey(key.namespace, identity) for key, identity in listed}
        for key, stored in self._versions(kind).items():
            if namespace in (None, key.namespace) and key not in listed_keys and stored <= version:
                self._remove(kind, key)

    def _store_readable(self, kind: Kind, manifest: Manifest) -> None:
        try:
            self._store(kind, manifest)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            logger.warning("cannot read %s: %r", manifest["metadata"]["name"], error)

    @abstractmethod
    def _store(self, kind: Kind, manifest: Manifest) -> None:
        """Stores an object, unless a newer version is known."""

    @abstractmethod
    def _versions(self, kind: Kind) -> Mapping[ObjectKey, int]:
        """Returns a copy of the stored versions of the objects of a kind."""

    @abstractmethod
    def _remove(self, kind: Kind, key: ObjectKey) -> None:
        """Removes an object, if it is stored."""


@dataclass
class Reflector:
    """Lists and watches one kind in one namespace; None means all namespaces.

    Its failures are its own: they are logged and retried, and stop no other kind.
    """

    client: KubernetesClient
    store: Store
    kind: Kind
    namespace: str | None
    selector: str
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    _version: int | None = None
    """The version from which to watch. None: the kind has to be listed first."""
    _failures: int = 0

    async def run(self) -> None:
        """Follows the kind for ever."""
        while True:
            began = self.clock()
            try:
                await self._follow()
                if self.clock() - began < FIRST_DELAY:  # a proxy that ends each watch at once makes no busy loop
                    await self.sleep(self._backoff())
            except ApiError as error:
                await self.sleep(self._delay(error))

    async def list(self) -> int:
        """Lists the kind once. Returns the version from which to watch. Raises ApiError."""
        listed: Listed = set()
        version = 0
        async for page, version in self.client.pages(self.kind, self.namespace, self.selector):  # noqa: B007
            listed |= self.store.store_listed(self.kind, page)
        self.store.remove_unlisted(self.kind, self.namespace, listed, version)
        self._version = version
        return version

    async def _follow(self) -> None:
        """Watches until the API server ends the watch, as it does at intervals. Raises ApiError."""
        version = await self.list() if self._version is None else self._version
        async for type_, manifest in self.client.watch(self.kind, self.namespace, self.selector, version):
            if type_ != "BOOKMARK":
                self.store.change(self.kind, type_, manifest)
            self._version = int(manifest["metadata"]["resourceVersion"])
            self._failures = 0

    def _delay(self, error: ApiError) -> float:
        """Returns the seconds before the next attempt.

        A connection that broke is resumed at the last version. After every other error the kind is listed again: the
        version is too old (410), or its place is not known.
        """
        if error.status:
            self._version = None
        is_absent = self.kind.optional and error.status == 404
        if error.status not in (0, 410) and not is_absent:
            logger.warning("cannot watch %s: %s", self.kind.plural, error)
        if self.kind.optional and error.status not in (0, 410):
            return ABSENT_DELAY
        return self._backoff()

    def _backoff(self) -> float:
        """Returns the seconds before the next attempt: twice those before the last one, up to LONGEST_DELAY."""
        self._failures += 1
        return float(min(FIRST_DELAY * 2 ** (min(self._failures, 8) - 1), LONGEST_DELAY))
