"""Holds the PlatformBackups, the PlatformRestores and the objects of backups, as their reflectors see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from platform_operator.api.backups import PLATFORM_BACKUP, PLATFORM_RESTORE
from platform_operator.api.kinds import PLATFORM, Kind, Manifest, ObjectId, ObjectKey, PlatformKey
from platform_operator.backups.observed import Backup, Child, observe_backup, observe_child
from platform_operator.reflector import KeyedStore


def backup_key(namespace: str, name: str) -> ObjectKey:
    """Returns the key of a PlatformBackup."""
    return ObjectKey(namespace, ObjectId(PLATFORM_BACKUP.kind, name))


def restore_key(namespace: str, name: str) -> ObjectKey:
    """Returns the key of a PlatformRestore."""
    return ObjectKey(namespace, ObjectId(PLATFORM_RESTORE.kind, name))


def schedule_key(platform: PlatformKey) -> ObjectKey:
    """Returns the key of the schedule of a platform, which is that of the platform."""
    return ObjectKey(platform.namespace, ObjectId(PLATFORM.kind, platform.name))


@dataclass
class BackupStore(KeyedStore):
    """Stores the newest known versions. Passes the key of each PlatformBackup, PlatformRestore and platform whose
    backups may have to be changed to `enqueue`."""

    enqueue: Callable[[ObjectKey], None]
    backups: dict[ObjectKey, Backup] = field(default_factory=dict)
    restores: dict[ObjectKey, Backup] = field(default_factory=dict)
    children: dict[ObjectKey, Child] = field(default_factory=dict)

    def store_backup(self, backup: Backup) -> None:
        """Stores a PlatformBackup unless a newer version is known."""
        key = backup_key(backup.namespace, backup.name)
        known = self.backups.get(key)
        if known is not None and known.version >= backup.version:
            return
        self.backups[key] = backup
        if known is None or replace(known, version=0, status={}) != replace(backup, version=0, status={}):
            self.enqueue(key)
        if known is None or known.status.get("phase") != backup.status.get("phase"):
            self._enqueue_platform(backup.namespace, str(backup.spec.get("platform", "")))

    def store_restore(self, restore: Backup) -> None:
        """Stores a PlatformRestore unless a newer version is known."""
        key = restore_key(restore.namespace, restore.name)
        known = self.restores.get(key)
        if known is not None and known.version >= restore.version:
            return
        self.restores[key] = restore
        if known is None or replace(known, version=0, status={}) != replace(restore, version=0, status={}):
            self.enqueue(key)

    def children_of(self, platform: PlatformKey) -> list[Child]:
        """Returns the objects of the backups and restores of a platform."""
        own = (platform.namespace, platform.name)
        return [one for one in self.children.values() if (one.key.namespace, one.platform) == own]

    def owned_by(self, owner: str) -> list[Child]:
        """Returns the objects with an owner of this UID."""
        return [one for one in self.children.values() if owner in one.owners]

    def newest(self, restore: Backup) -> Backup:
        """Returns the newest known version of a PlatformRestore, with what a pass has recorded in its status."""
        stored = self.restores.get(restore_key(restore.namespace, restore.name))
        return stored if stored is not None and stored.uid == restore.uid else restore

    def enqueue_restores_of(self, platform: PlatformKey) -> None:
        """Enqueues the PlatformRestores that wait for a change of a platform."""
        for key, one in self.restores.items():
            if one.namespace == platform.namespace and one.spec.get("platform") == platform.name:
                self.enqueue(key)

    def store_child(self, child: Child) -> None:
        """Stores an object unless a newer version is known."""
        known = self.children.get(child.key)
        if known is not None and known.version >= child.version:
            return
        self.children[child.key] = child
        if known is None or replace(known, version=0) != replace(child, version=0):
            self._enqueue_owners(child)

    def _store(self, kind: Kind, manifest: Manifest) -> None:
        if kind is PLATFORM_BACKUP:
            self.store_backup(observe_backup(manifest))
        elif kind is PLATFORM_RESTORE:
            self.store_restore(observe_backup(manifest))
        else:
            self.store_child(observe_child(manifest))

    def _versions(self, kind: Kind) -> Mapping[ObjectKey, int]:
        if kind is PLATFORM_BACKUP:
            return {key: one.version for key, one in self.backups.items()}
        if kind is PLATFORM_RESTORE:
            return {key: one.version for key, one in self.restores.items()}
        return {key: one.version for key, one in self.children.items() if key.id.kind == kind.kind}

    def _remove(self, kind: Kind, key: ObjectKey) -> None:
        if kind is PLATFORM_BACKUP:
            self.backups.pop(key, None)
            self.enqueue(key)
        elif kind is PLATFORM_RESTORE:
            gone_restore = self.restores.pop(key, None)
            if gone_restore is not None:
                self._enqueue_platform(key.namespace, str(gone_restore.spec.get("platform", "")))
        elif (gone := self.children.pop(key, None)) is not None:
            self._enqueue_owners(gone)

    def _enqueue_owners(self, child: Child) -> None:
        """Enqueues the PlatformBackup, the PlatformRestore or the schedule that an object belongs to."""
        self._enqueue_platform(child.key.namespace, child.platform)
        for key, one in (*self.backups.items(), *self.restores.items()):
            if one.uid in child.owners:
                self.enqueue(key)

    def _enqueue_platform(self, namespace: str, name: str) -> None:
        self.enqueue(schedule_key(PlatformKey(namespace, name)))
