"""The objects of backups, from what charts/backup renders. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

from platform_operator.api.backups import ANNOTATION_TARGET, BackupPolicy, Destination, PlatformBackupSpec
from platform_operator.api.conditions import TIME_FORMAT
from platform_operator.api.kinds import FIELD_MANAGER, LABEL_MANAGED_BY, LABEL_PART_OF, LABEL_PLATFORM, Kind, Manifest
from platform_operator.api.spec import WITH_DATABASE, Spec
from platform_operator.cache.managed_fields import owned_fields
from platform_operator.cache.observed import UNKNOWN_TIME, Platform
from platform_operator.digests import digest
from platform_operator.render.values import ChartValues, Installation

JOB = Kind("batch/v1", "Job", "jobs")
CRON_JOB = Kind("batch/v1", "CronJob", "cronjobs")
POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
CHILD_KINDS = (JOB, CRON_JOB, POLICY)

BACKUP_LABELS = {LABEL_PART_OF: "ecommerce-backups", LABEL_MANAGED_BY: FIELD_MANAGER}
"""Labels of all objects of backups. With those of a shop's children the informers would take them for the shop's."""
BACKUP_SELECTOR = ",".join(f"{name}={value}" for name, value in sorted(BACKUP_LABELS.items()))

KEEP_ALL = {"count": 1_000_000, "days": 0}
"""The retention of a PlatformBackup: it deletes none. A scheduled backup does, those of PlatformBackups included."""

JOB_TTL_SECONDS = 7 * 24 * 3600
"""Seconds for which the Job of a PlatformBackup, and the logs of its pods, are kept once it has ended."""


@dataclass(frozen=True)
class Target:
    """The place of backups, and the Secret of their key."""

    destination: Destination
    key_secret: str


def schedule_release(platform: str) -> str:
    """Returns the name of the Helm release of the schedule of a shop, after which its objects are named."""
    return f"{platform}-backup"


def backup_release(name: str) -> str:
    """Returns the name of the Helm release of a PlatformBackup, which is the name of its Job, too."""
    return f"backup-{name}"


def restore_release(name: str) -> str:
    """Returns the name of the Helm release of a PlatformRestore, which is the name of its Job, too."""
    return f"restore-{name}"


def check_release(name: str) -> str:
    """Returns the name of the Helm release, and of the Job, by which a PlatformRestore checks its backup."""
    return f"check-{name}"


def target_of(spec: PlatformBackupSpec, policy: BackupPolicy | None) -> Target | None:
    """Returns the target of a PlatformBackup. None if it names none, and its shop has none."""
    if spec.destination is not None and spec.encryption_key_secret_ref is not None:
        return Target(spec.destination, spec.encryption_key_secret_ref.name)
    return policy_target(policy) if policy else None


def policy_target(policy: BackupPolicy) -> Target:
    return Target(policy.destination, policy.encryption_key_secret_ref.name)


def target_digest(platform_uid: str, target: Target) -> str:
    """Returns the digest of a shop, its destination and the name of its key's Secret.

    A later shop of the same name has another, and the name of the Secret with the bucket's credentials does not count.
    """
    s3, volume = target.destination.s3, target.destination.volume
    destination = [s3.endpoint, s3.bucket, s3.prefix] if s3 else [volume.claim_name if volume else ""]
    return digest([platform_uid, destination, target.key_secret])


def with_target(rendered: Iterable[Manifest], target: str) -> list[Manifest]:
    """Returns rendered objects, with the digest of their target at the Jobs of each CronJob."""
    objects = copy.deepcopy(list(rendered))
    for one in objects:
        if one["kind"] == CRON_JOB.kind:
            one["spec"]["jobTemplate"]["metadata"]["annotations"] = {ANNOTATION_TARGET: target}
    return objects


def schedule_values(
    platform: Platform, spec: Spec, policy: BackupPolicy, installation: Installation, *, closed_by_restore: bool
) -> ChartValues:
    """Returns the values of charts/backup for spec.backup.

    A hibernated shop has no database to back up, and one that is closed for a restore may have half of one.
    """
    return {
        **_common(platform.key.name, spec, policy_target(policy), installation),
        **_identity(platform),
        "schedule": policy.schedule,
        "verifySchedule": policy.verify_schedule or "",
        "verification": {"scratchSize": policy.verify_storage},
        "timeZone": policy.time_zone,
        "suspend": spec.hibernated or closed_by_restore,
        "retention": {"count": policy.retention.count, "days": policy.retention.days},
    }


def backup_values(platform: Platform, spec: Spec, target: Target, installation: Installation) -> ChartValues:
    """Returns the values of charts/backup for one backup."""
    values = _common(platform.key.name, spec, target, installation)
    return {**values, **_identity(platform), "retention": KEEP_ALL}


def _identity(platform: Platform) -> ChartValues:
    """Returns the values by which backups of a shop are told from those of another shop of the same name."""
    created = "" if platform.created == UNKNOWN_TIME else platform.created.strftime(TIME_FORMAT)
    return {"shopUid": platform.uid, "shopCreated": created}


@dataclass(frozen=True)
class Source:
    """The backup that is restored."""

    target: Target
    shop: str
    """The shop that was backed up, as <namespace>/<name>."""
    backup: str
    """The id; empty for the newest whole one."""


def restore_values(
    platform: Platform, spec: Spec, source: Source, installation: Installation, deadline_seconds: int
) -> ChartValues:
    """Returns the values of charts/backup for one restore, which replaces what the databases have."""
    values = _of_source(platform, spec, source, installation, "restore", "--replace")
    return {**values, "deadlineSeconds": deadline_seconds}


def check_values(
    platform: Platform, spec: Spec, source: Source, installation: Installation, deadline_seconds: int
) -> ChartValues:
    """Returns the values of charts/backup for the check of the backup of a restore, which reads no database."""
    values = _of_source(platform, spec, source, installation, "check")
    return {**values, "deadlineSeconds": deadline_seconds}


def _of_source(
    platform: Platform, spec: Spec, source: Source, installation: Installation, command: str, *flags: str
) -> ChartValues:
    values = _common(platform.key.name, spec, source.target, installation)
    chosen = [source.backup] if source.backup else []
    policies = {**values["networkPolicies"], "ofJob": True}
    return {
        **values,
        **(_identity(platform) if source.shop == str(platform.key) else {}),
        "networkPolicies": policies,
        "backupsOf": source.shop,
        "job": [command, *chosen, *flags],
    }


def _common(platform: str, spec: Spec, target: Target, installation: Installation) -> ChartValues:
    external = spec.databases.external
    runtime = {name: one.runtime_secret_ref.name for name, one in external.items() if one.runtime_secret_ref}
    own = [secret.name for secret in spec.pods.image_pull_secrets or ()]
    return {
        "shop": platform,
        "services": list(WITH_DATABASE),
        "databaseSecrets": {name: one.secret_ref.name for name, one in external.items()},
        "runtimeSecrets": runtime,
        **({"databasePorts": sorted({one.port or 5432 for one in external.values()})} if external else {}),
        "keySecret": target.key_secret,
        "destination": _destination(target.destination),
        "image": {
            "registry": installation.registry,
            "tag": installation.version,
            "pullSecrets": list(dict.fromkeys((*installation.pull_secrets, *own))),
        },
        "pods": {"userIds": spec.pods.user_ids},
        "networkPolicies": {"enabled": spec.network_policies.enabled},
    }


def _destination(destination: Destination) -> ChartValues:
    if destination.s3 is None:
        return {"volume": {"claim": destination.volume.claim_name if destination.volume else ""}}
    bucket = destination.s3.model_dump(include={"bucket", "prefix", "endpoint", "region"})
    return {"s3": {**bucket, "secret": destination.s3.secret_ref.name}}


def children(rendered: Iterable[Manifest], namespace: str, platform: str, owner: Manifest) -> list[Manifest]:
    """Returns rendered objects with the labels of the operator, and an owner with which they are deleted."""
    return [_child(one, namespace, platform, owner) for one in rendered]


def _child(rendered: Manifest, namespace: str, platform: str, owner: Manifest) -> Manifest:
    manifest = copy.deepcopy(rendered)
    labels = {**BACKUP_LABELS, LABEL_PLATFORM: platform}
    metadata = manifest["metadata"]
    metadata["labels"] = {**metadata.get("labels", {}), **labels}
    metadata |= {"namespace": namespace, "ownerReferences": [owner]}
    if manifest["kind"] == JOB.kind:  # a restore waits for its pods, also when it was deleted
        pod = manifest["spec"]["template"]["metadata"]
        pod["labels"] = {**pod.get("labels", {}), LABEL_PLATFORM: platform}
    if manifest["kind"] == CRON_JOB.kind:
        template = manifest["spec"]["jobTemplate"]["metadata"]
        template["labels"] = {**template.get("labels", {}), **labels}
    return manifest


def is_own(stored: Manifest, desired: Manifest) -> bool:
    """Returns whether a stored object is the one that was applied: it has the same owner, or has lost its owner."""
    metadata, expected = stored["metadata"], desired["metadata"]
    if owners := metadata.get("ownerReferences"):
        return any(one["uid"] == owner["uid"] for one in owners for owner in expected["ownerReferences"])
    labels = {**BACKUP_LABELS, LABEL_PLATFORM: expected["labels"][LABEL_PLATFORM]}
    return labels.items() <= (metadata.get("labels") or {}).items() and bool(owned_fields(stored))


def job_from_cron_job(rendered: Iterable[Manifest], name: str) -> list[Manifest]:
    """Returns the policies and, of the CronJob, the Job that it would start, as `kubectl create job --from` does."""
    return [_named_job(one["spec"]["jobTemplate"], name) if one["kind"] == CRON_JOB.kind else one for one in rendered]


def named_job(rendered: Iterable[Manifest], name: str) -> list[Manifest]:
    """Returns the policies and the Job, which gets a name, so that it is created once."""
    return [_named_job(one, name) if one["kind"] == JOB.kind else one for one in rendered]


def _named_job(template: Manifest, name: str) -> Manifest:
    metadata = {key: value for key, value in template["metadata"].items() if key != "generateName"} | {"name": name}
    spec = {**template["spec"], "ttlSecondsAfterFinished": JOB_TTL_SECONDS}
    return {"apiVersion": JOB.api_version, "kind": JOB.kind, "metadata": metadata, "spec": spec}
