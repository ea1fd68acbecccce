"""Finds the backup that a PlatformRestore names, and what has to exist to read it."""

from __future__ import annotations

from dataclasses import dataclass

from platform_operator.api.backups import (
    BackupPhase,
    BackupPolicy,
    PlatformRestoreSpec,
    RestoreReason,
    RestoreSource,
    parse_backup,
)
from platform_operator.api.kinds import CHILD_KINDS, VOLUME_CLAIM, PlatformKey
from platform_operator.api.spec import Spec
from platform_operator.backups.jobs import BackupJobs
from platform_operator.backups.objects import Source, Target, policy_target, target_digest, target_of
from platform_operator.backups.observed import UNKNOWN, Backup
from platform_operator.backups.restore_status import RestoreOutcome, pending, recorded_source
from platform_operator.backups.shop_specs import spec_of
from platform_operator.backups.store import backup_key
from platform_operator.cache.observed import Platform
from platform_operator.cache.store import Cache
from platform_operator.errors import InvalidSpecError


@dataclass(frozen=True)
class SourceFinder:
    """Finds the backups of PlatformRestores."""

    jobs: BackupJobs
    shops: Cache

    def find(self, restore: Backup, own: PlatformRestoreSpec, spec: Spec) -> Source | RestoreOutcome:
        """Returns the backup that is to be restored, or why it is not known. Once recorded, it stays the same.

        Raises PlatformInvalidError.
        """
        if recorded := recorded_source(restore.status):
            return recorded
        if own.source is not None:
            return _stated(own.source, spec.backup, f"{restore.namespace}/{own.platform}")
        return self._of_backup(restore.namespace, own.backup or "")

    def _of_backup(self, namespace: str, name: str) -> Source | RestoreOutcome:
        """Returns what a PlatformBackup has made. Raises PlatformInvalidError."""
        backup = self.jobs.store.backups.get(backup_key(namespace, name))
        if backup is None:
            text = f"There is no PlatformBackup {name} in the namespace: create a PlatformRestore with source, "
            return pending(RestoreReason.BACKUP_MISSING, text + "which names the place of the backup.")
        if backup.status.get("phase") == BackupPhase.FAILED:
            text = f"PlatformBackup {name} has failed: create a PlatformRestore of another one."
            return pending(RestoreReason.BACKUP_MISSING, text)
        if backup.status.get("phase") != BackupPhase.SUCCEEDED or not backup.status.get("backupId"):
            phase = backup.status.get("phase", BackupPhase.PENDING)
            text = f"PlatformBackup {name} is {phase}: the restore begins when it is Succeeded."
            return pending(RestoreReason.BACKUP_NOT_COMPLETE, text)
        if backup.status["backupId"] == UNKNOWN:
            text = f"The id of PlatformBackup {name} is not known, since its pod did not report it: create a "
            return pending(RestoreReason.BACKUP_MISSING, text + "PlatformRestore with source.id.")
        try:
            backup_spec = parse_backup(backup.spec)
        except InvalidSpecError as error:
            return pending(RestoreReason.BACKUP_MISSING, f"PlatformBackup {name} is invalid: {error}.")
        shop = self.shops.platforms.get(PlatformKey(namespace, backup_spec.platform))
        target = target_of(backup_spec, spec_of(shop).backup if shop else None)
        if backup_spec.destination is None and _is_another(target, shop, backup):
            text = (
                f"PlatformBackup {name} is of a former shop, or of another destination or "
                "key than spec.backup has today: create a PlatformRestore with source.id "
                f"{backup.status['backupId']}, and with the destination and the key of that time."
            )
            return pending(RestoreReason.BACKUP_MISSING, text)
        return _source(target, f"{namespace}/{backup_spec.platform}", backup.status["backupId"])

    async def missing(self, namespace: str, target: Target) -> str:
        """Returns the Secret or PersistentVolumeClaim of the backup that does not exist; empty if all exist.

        A pod would wait for it. Raises ApiError.
        """
        s3, volume = target.destination.s3, target.destination.volume
        needed = [(CHILD_KINDS["Secret"], target.key_secret)]
        needed += [(CHILD_KINDS["Secret"], s3.secret_ref.name)] if s3 else []
        needed += [(VOLUME_CLAIM, volume.claim_name)] if volume else []
        for kind, name in needed:
            if await self.jobs.client.get(kind, namespace, name) is None:
                return f"{kind.kind} {name}"
        return ""


def _stated(place: RestoreSource, policy: BackupPolicy | None, shop: str) -> Source | RestoreOutcome:
    """Returns the backup that a PlatformRestore states; of `shop`, and in the place of its policy by default."""
    target = policy_target(policy) if policy else None
    if place.destination is not None and place.encryption_key_secret_ref is not None:
        target = Target(place.destination, place.encryption_key_secret_ref.name)
    return _source(target, place.shop or shop, place.id or "")


def _source(target: Target | None, shop: str, backup: str) -> Source | RestoreOutcome:
    if target is not None:
        return Source(target, shop, backup)
    text = (
        "Neither this PlatformRestore nor spec.backup of the shop says where the backup is: set spec.backup, or "
        "create a PlatformRestore with source.destination and source.encryptionKeySecretRef."
    )
    return pending(RestoreReason.NO_DESTINATION, text)


def _is_another(target: Target | None, shop: Platform | None, backup: Backup) -> bool:
    """Returns whether a PlatformBackup has another target than spec.backup. One of an earlier release has no digest."""
    digest = backup.status.get("targetDigest")
    return bool(digest and target and shop and digest != target_digest(shop.uid, target))
