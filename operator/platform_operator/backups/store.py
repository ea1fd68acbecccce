"""Holds the PlatformBackups and the objects of backups, as their reflectors see them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from platform_operator.api.backups import PLATFORM_BACKUP
from platform_operator.api.kinds import PLATFORM, Kind, Manifest, ObjectId, PlatformKey
from platform_operator.backups.observed import Backup, Child, ObjectKey, observe_backup, observe_child
from platform_operator.reflector import Listed

logger = logging.getLogger(__name__)


class BackupKey(NamedTuple):
    """Identifies what a pass is over: a PlatformBackup, or the schedule of an EcommercePlatform."""

    kind: str
    namespace: str
    name: str


def schedule_key(platform: PlatformKey) -> BackupKey:
    return BackupKey(PLATFORM.kind, platform.namespace, platform.name)


@dataclass
class BackupStore:
    """The newest known versions. Passes the key of each pass that may have to be made to `enqueue`."""

    enqueue: Callable[[BackupKey], None]
    backups: dict[BackupKey, Backup] = field(default_factory=dict)
    children: dict[ObjectKey, Child] = field(default_factory=dict)

    def change(self, kind: Kind, type_: str, manifest: Manifest) -> None:
        """Takes over one event."""
        if type_ == "DELETED":
            self._remove(kind, _object_key(kind, manifest))
        else:
            self._store(kind, manifest)

    def store_listed(self, kind: Kind, page: Iterable[Manifest]) -> Listed:
        """Takes over a page of a list."""
        listed: Listed = set()
        for one in page:
            manifest = one | {"kind": kind.kind, "apiVersion": kind.api_version}  # lists leave them out
            object_key = _object_key(kind, manifest)
            listed.add((PlatformKey(object_key.namespace, ""), object_key.id))
            self._store(kind, manifest)
        return listed

    def remove_unlisted(self, kind: Kind, namespace: str | None, listed: Listed, version: int) -> None:
        """Removes what a list does not contain, but for what was stored after it."""
        known = {
            object_key: one.version for object_key, one in self.children.items() if object_key.id.kind == kind.kind
        }
        if kind is PLATFORM_BACKUP:
            known = {ObjectKey(key.namespace, ObjectId(*key[::2])): one.version for key, one in self.backups.items()}
        listed_keys = {ObjectKey(key.namespace, identity) for key, identity in listed}
        for object_key, stored in known.items():
            if namespace in (None, object_key.namespace) and object_key not in listed_keys and stored <= version:
                self._remove(kind, object_key)

    def store_backup(self, backup: Backup) -> None:
        """Stores a PlatformBackup unless a newer version is known."""
        key = BackupKey(PLATFORM_BACKUP.kind, backup.namespace, backup.name)
        known = self.backups.get(key)
        if known is not None and known.version >= backup.version:
            return
        self.backups[key] = backup
        if known is None or replace(known, version=0, status={}) != replace(backup, version=0, status={}):
            self.enqueue(key)
        if known is None or known.status.get("phase") != backup.status.get("phase"):
            self._enqueue_platform(backup.namespace, str(backup.spec.get("platform", "")))

    def store_child(self, child: Child) -> None:
        """Stores an object unless a newer version is known."""
        known = self.children.get(child.key)
        if known is not None and known.version >= child.version:
            return
        self.children[child.key] = child
        if known is None or replace(known, version=0) != replace(child, version=0):
            self._enqueue_owners(child)

    def _store(self, kind: Kind, manifest: Manifest) -> None:
        try:
            if kind is PLATFORM_BACKUP:
                self.store_backup(observe_backup(manifest))
            else:
                self.store_child(observe_child(manifest))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            logger.warning("cannot read %s: %r", manifest["metadata"]["name"], error)

    def _remove(self, kind: Kind, object_key: ObjectKey) -> None:
        if kind is PLATFORM_BACKUP:
            key = BackupKey(kind.kind, object_key.namespace, object_key.id.name)
            self.backups.pop(key, None)
            self.enqueue(key)
        elif (gone := self.children.pop(object_key, None)) is not None:
            self._enqueue_owners(gone)

    def _enqueue_owners(self, child: Child) -> None:
        """The object is that of a PlatformBackup, or of the schedule of its shop."""
        self._enqueue_platform(child.key.namespace, child.platform)
        for key, backup in self.backups.items():
            if backup.uid in child.owners:
                self.enqueue(key)

    def _enqueue_platform(self, namespace: str, name: str) -> None:
        self.enqueue(schedule_key(PlatformKey(namespace, name)))


def _object_key(kind: Kind, manifest: Manifest) -> ObjectKey:
    metadata = manifest["metadata"]
    return ObjectKey(metadata["namespace"], ObjectId(kind.kind, metadata["name"]))
