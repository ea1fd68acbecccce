"""Finds the backup that a PlatformRestore names, and what has to exist to read it."""

from __future__ import annotations

from dataclasses import dataclass

from platform_operator.api.backups import BackupPhase, PlatformRestoreSpec, RestoreReason, parse_backup
from platform_operator.api.kinds import CHILD_KINDS, VOLUME_CLAIM, PlatformKey
from platform_operator.api.spec import Spec
from platform_operator.backups.jobs import BackupJobs
from platform_operator.backups.objects import Source, Target, policy_target, target_digest, target_of
from platform_operator.backups.observed import UNKNOWN, Backup
from platform_operator.backups.restore_status import RestoreOutcome, pending, recorded_source, spec_of
from platform_operator.backups.store import backup_key
from platform_operator.cache.observed import Platform
from platform_operator.cache.store import Cache
from platform_operator.errors import InvalidSpecError


@dataclass(frozen=True)
class RestoreSources:
    """Finds the backups of PlatformRestores."""

    jobs: BackupJobs
    shops: Cache

    def find(self, restore: Backup, own: PlatformRestoreSpec, spec: Spec) -> Source | RestoreOutcome:
        """Returns the backup that is to be restored, or why it is not known. Once recorded, it stays the same.

        Raises PlatformInvalidError.
        """
        if recorded := recorded_source(restore.status):
            return recorded
        policy = spec.backup
        if own.source is not None:
            place = own.source
            target = policy_target(policy) if policy else None
            if place.destination is not None and place.encryption_key_secret_ref is not None:
                target = Target(place.destination, place.encryption_key_secret_ref.name)
            return self._found(target, place.shop or f"{restore.namespace}/{own.platform}", place.id or "")
        backup = self.jobs.store.backups.get(backup_key(restore.namespace, own.backup or ""))
        if backup is None:
            text = f"There is no PlatformBackup {own.backup} in the namespace: create a PlatformRestore with source, "
            return pending(RestoreReason.BACKUP_MISSING, text + "which names the place of the backup.")
        if backup.status.get("phase") != BackupPhase.SUCCEEDED or not backup.status.get("backupId"):
            phase = backup.status.get("phase", BackupPhase.PENDING)
            text = f"PlatformBackup {own.backup} is {phase}: the restore begins when it is "
            return pending(RestoreReason.BACKUP_NOT_COMPLETE, text + "Succeeded; create another for another backup.")
        if backup.status["backupId"] == UNKNOWN:
            text = f"The id of PlatformBackup {own.backup} is not known, since its pod did not report it: create a "
            return pending(RestoreReason.BACKUP_MISSING, text + "PlatformRestore with source.id.")
        try:
            made = parse_backup(backup.spec)
        except InvalidSpecError as error:
            return pending(RestoreReason.BACKUP_MISSING, f"PlatformBackup {own.backup} is invalid: {error}.")
        maker = self.shops.platforms.get(PlatformKey(restore.namespace, made.platform))
        makers = spec_of(maker).backup if maker else None
        target, maker_name = target_of(made, makers), f"{restore.namespace}/{made.platform}"
        if made.destination is None and _is_another(target, maker, backup):
            text = (
                f"PlatformBackup {own.backup} is of a former shop, or of another destination or "
                "key than spec.backup has today: create a PlatformRestore with source.id "
                f"{backup.status['backupId']}, and with the destination and the key of that time."
            )
            return pending(RestoreReason.BACKUP_MISSING, text)
        return self._found(target, maker_name, backup.status["backupId"])

    def _found(self, target: Target | None, shop: str, backup: str) -> Source | RestoreOutcome:
        if target is not None:
            return Source(target, shop, backup)
        text = (
            "Neither this PlatformRestore nor spec.backup of the shop says where the backup is: set spec.backup, or "
            "create a PlatformRestore with source.destination and source.encryptionKeySecretRef."
        )
        return pending(RestoreReason.NO_DESTINATION, text)

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


def _is_another(target: Target | None, maker: Platform | None, backup: Backup) -> bool:
    """Returns whether a PlatformBackup has another target than spec.backup. One of an earlier release has no digest."""
    digest = backup.status.get("targetDigest")
    return bool(digest and target and maker and digest != target_digest(maker.uid, target))
