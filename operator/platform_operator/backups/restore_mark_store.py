"""Writes the annotation of a shop by which a restore closes and opens it (docs/adr/0071)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from platform_operator.api.backups import RestorePhase
from platform_operator.api.conditions import ConditionReason, is_met, stored_condition
from platform_operator.api.kinds import FIELD_MANAGER, PLATFORM, PlatformKey
from platform_operator.api.restore_marks import ANNOTATION_RESTORE, RestoreMark, restore_mark
from platform_operator.backups.observed import Backup
from platform_operator.backups.restore_status import BEFORE_CLOSING, FINISHED, phase_of
from platform_operator.backups.store import BackupStore, restore_key
from platform_operator.cache.observed import Platform, observe_platform
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient

MARK_MANAGER = f"{FIELD_MANAGER}-restore"
"""The field manager of the annotation alone, so that setting or removing it changes no other field."""


@dataclass(frozen=True)
class RestoreMarkStore:
    """Reads and writes the marks of shops, so that of several restores one has a shop to its end."""

    client: KubernetesClient
    store: BackupStore
    shops: Cache
    shop_changed: Callable[[PlatformKey], None]
    """Called when the annotation of a platform has changed, which its reconciler acts on: the cache has it already, so
    that the watch reports nothing new."""

    async def finish_deleted_restore(self, key: PlatformKey) -> None:
        """Opens a shop that was being opened by a PlatformRestore that was deleted, and leaves another one closed.

        Raises ApiError, with a conflict if the shop was written since it was read.
        """
        shop = self.shops.platforms.get(key)
        mark = restore_mark(shop.annotations, shop.status) if shop is not None and not shop.deleting else None
        if shop is None or mark is None or self._has_restore(shop, mark):
            return
        if mark.phase is RestorePhase.OPENING:
            if is_open(shop):
                await self._record_success(shop, mark)
        elif mark.phase is not RestorePhase.FAILED:
            failed = RestoreMark(mark.name, mark.uid, RestorePhase.FAILED, mark.may_be_inconsistent)
            await self._write(shop, failed, shop.uid)

    def _has_restore(self, shop: Platform, mark: RestoreMark) -> bool:
        """Returns whether the PlatformRestore of the shop still exists. The one that closed it repairs its mark."""
        if mark.uid:
            one = self.store.restores.get(restore_key(shop.key.namespace, mark.name))
            return one is not None and one.uid == mark.uid
        closers = (one for one in self.store.restores.values() if one.status.get("platformUID") == shop.uid)
        return any(phase_of(one) not in (*BEFORE_CLOSING, *FINISHED) for one in closers)

    def other(self, restore: Backup, shop: Platform) -> RestoreMark | None:
        """Returns the mark of another PlatformRestore that has not ended, and so has the shop.

        One whose shop cannot be opened is replaced by the next one.
        """
        mark = restore_mark(shop.annotations, shop.status)
        if mark is None or mark.uid == restore.uid or _does_not_open(shop, mark):
            return None
        other = self.store.restores.get(restore_key(restore.namespace, mark.name))
        if other is None or other.uid == restore.uid or mark.uid not in ("", other.uid):
            return None
        return None if other.status.get("phase") in FINISHED else mark

    def is_marked(self, restore: Backup, shop: Platform, phase: RestorePhase) -> bool:
        """Returns whether the mark of a shop is that of this PlatformRestore in this phase."""
        mark = restore_mark(shop.annotations, shop.status)
        return mark is not None and (mark.uid, mark.phase) == (restore.uid, phase)

    async def set(
        self, restore: Backup, shop: Platform, phase: RestorePhase, *, inconsistent: bool | None = None
    ) -> RestoreMark | None:
        """Sets the annotation that closes or opens the shop. If another restore has the shop, returns that one's mark.

        `inconsistent` says whether the databases may be inconsistent; None keeps what the mark says. Raises ApiError.
        """
        newest = self.shops.platforms.get(shop.key, shop)
        if other := self.other(restore, newest):
            return other
        if inconsistent is None:
            inconsistent = was_inconsistent(restore, newest)
        mark = RestoreMark(restore.name, restore.uid, phase, inconsistent)
        if restore_mark(newest.annotations, newest.status) != mark:
            await self._write(newest, mark, shop.uid)
        return None

    async def end(self, restore: Backup, shop: Platform) -> None:
        """Records that a PlatformRestore has succeeded, if the mark of the shop is still its own. Raises ApiError."""
        mark = restore_mark(shop.annotations, shop.status)
        if mark is not None and mark.uid == restore.uid:
            await self._record_success(shop, mark)

    async def _record_success(self, shop: Platform, mark: RestoreMark) -> None:
        """Leaves the name of the restore in the shop, so that one that is created again does not restore again."""
        await self._write(shop, RestoreMark(mark.name, mark.uid, RestorePhase.SUCCEEDED), shop.uid)

    async def _write(self, shop: Platform, mark: RestoreMark, uid: str) -> None:
        """Applies the annotation. Raises ApiError.

        It is a conflict if the platform was written since it was read, so that of two restores one gets the shop, and
        if that of `uid` is gone, which is not created again.
        """
        metadata = {
            "name": shop.key.name,
            "uid": uid,
            "resourceVersion": str(shop.version),
            "annotations": {ANNOTATION_RESTORE: str(mark)},
        }
        manifest = {"apiVersion": PLATFORM.api_version, "kind": PLATFORM.kind, "metadata": metadata}
        answer = await self.client.apply(PLATFORM, shop.key.namespace, manifest, manager=MARK_MANAGER)
        self.shops.store_platform(observe_platform(answer))
        self.shop_changed(shop.key)


def is_open(shop: Platform) -> bool:
    """Returns whether a shop serves what was restored."""
    return is_reopening(shop) and is_met(shop.status, "Ready")


def is_reopening(shop: Platform) -> bool:
    """Returns whether the reconciler of a shop opens it: its other conditions are not those of before."""
    stored = stored_condition(shop.status, "Restoring")
    return stored is not None and stored["reason"] == ConditionReason.REOPENING


def _does_not_open(shop: Platform, mark: RestoreMark) -> bool:
    return mark.phase is RestorePhase.OPENING and is_reopening(shop) and is_met(shop.status, "Degraded")


def was_inconsistent(restore: Backup, shop: Platform) -> bool:
    """Returns whether the databases may be inconsistent because of what came before the Job of a restore: another
    restore, or an earlier Job of this one."""
    mark = restore_mark(shop.annotations, shop.status)
    return mark is not None and (mark.inconsistent if mark.uid == restore.uid else mark.may_be_inconsistent)
