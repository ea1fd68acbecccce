"""Backups in the API: `spec.backup` of an EcommercePlatform, PlatformBackup and PlatformRestore, with their rules."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from platform_operator.api.kinds import GROUP, PLATFORM_VERSION, Kind
from platform_operator.api.schema import Model, ObjectName, SecretRef, TimeZone, parse_stored, rule, rules

PLATFORM_BACKUP = Kind(f"{GROUP}/{PLATFORM_VERSION}", "PlatformBackup", "platformbackups")
PLATFORM_RESTORE = Kind(f"{GROUP}/{PLATFORM_VERSION}", "PlatformRestore", "platformrestores")

ANNOTATION_TARGET = f"{GROUP}/backup-target"
"""Annotation of a Job: the digest of its shop, destination and key. Backups with another digest are not the shop's."""
ANNOTATION_START_PROBLEM = f"{GROUP}/start-problem"
"""Annotation of a Job of a schedule that the operator has ended: why its pod could not start."""
MAX_BACKUP_NAME = 40
"""Characters of the name of a PlatformBackup or PlatformRestore: its Job and its pods are named after it."""


class BackupPhase(StrEnum):
    """How far a PlatformBackup is."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class BackupReason(StrEnum):
    """The reason of condition Complete of a PlatformBackup. Part of the API."""

    PLATFORM_MISSING = "PlatformMissing"
    PLATFORM_INVALID = "PlatformInvalid"
    OBSERVED = "Observed"
    HIBERNATED = "Hibernated"
    RESTORING = "Restoring"
    RESTORE_FAILED = "RestoreFailed"
    NO_DESTINATION = "NoDestination"
    REFUSED = "Refused"
    RENDER_TIMED_OUT = "RenderTimedOut"
    RENDER_FAILED = "RenderFailed"
    NAME_TAKEN = "NameTaken"
    RUNNING = "Running"
    RETRYING = "Retrying"
    POD_NOT_STARTED = "PodNotStarted"
    SUCCEEDED = "Succeeded"
    JOB_LOST = "JobLost"
    JOB_FAILED = "JobFailed"

    SETTINGS_WRONG = "SettingsWrong"
    DESTINATION_UNAVAILABLE = "DestinationUnavailable"
    DESTINATION_MISSING = "DestinationMissing"
    DESTINATION_REFUSED = "DestinationRefused"
    DESTINATION_FULL = "DestinationFull"
    DATABASE_FAILED = "DatabaseFailed"
    DATABASE_UNREACHABLE = "DatabaseUnreachable"
    POSTGRES_TOOLS_TOO_OLD = "PostgresToolsTooOld"
    BACKUP_NOT_FOUND = "BackupNotFound"
    WRONG_KEY = "WrongKey"
    BACKUP_DAMAGED = "BackupDamaged"
    RESTORE_REFUSED = "RestoreRefused"
    RESTORE_INCOMPLETE = "RestoreIncomplete"
    RESTORE_INTERRUPTED = "RestoreInterrupted"
    BACKUP_NOT_RESTORABLE = "BackupNotRestorable"
    INVARIANT_BROKEN = "InvariantBroken"
    SCRATCH_SERVER_FAILED = "ScratchServerFailed"


class RestorePhase(StrEnum):
    """How far a PlatformRestore is."""

    PENDING = "Pending"
    CHECKING = "Checking"
    CLOSING = "Closing"
    RESTORING = "Restoring"
    OPENING = "Opening"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class RestoreReason(StrEnum):
    """The reason of condition Complete of a PlatformRestore. Part of the API."""

    PLATFORM_MISSING = "PlatformMissing"
    PLATFORM_INVALID = "PlatformInvalid"
    PLATFORM_REPLACED = "PlatformReplaced"
    OBSERVED = "Observed"
    HIBERNATED = "Hibernated"
    CLOSED = "Closed"
    UPGRADING = "Upgrading"
    DATABASES_NOT_READY = "DatabasesNotReady"
    BACKUP_MISSING = "BackupMissing"
    BACKUP_NOT_COMPLETE = "BackupNotComplete"
    NO_DESTINATION = "NoDestination"
    OTHER_RESTORE = "OtherRestore"
    ALREADY_RESTORED = "AlreadyRestored"
    REFUSED = "Refused"
    RENDER_TIMED_OUT = "RenderTimedOut"
    RENDER_FAILED = "RenderFailed"
    NAME_TAKEN = "NameTaken"
    CHECKING_BACKUP = "CheckingBackup"
    CLOSING = "Closing"
    BACKUP_RUNNING = "BackupRunning"
    RUNNING = "Running"
    POD_NOT_STARTED = "PodNotStarted"
    OPENING = "Opening"
    CHECKING_INVARIANTS = "CheckingInvariants"
    SUCCEEDED = "Succeeded"
    INVARIANT_BROKEN = "InvariantBroken"
    JOB_LOST = "JobLost"
    JOB_FAILED = "JobFailed"

    SETTINGS_WRONG = "SettingsWrong"
    DESTINATION_UNAVAILABLE = "DestinationUnavailable"
    DESTINATION_MISSING = "DestinationMissing"
    DESTINATION_REFUSED = "DestinationRefused"
    DESTINATION_FULL = "DestinationFull"
    DATABASE_FAILED = "DatabaseFailed"
    DATABASE_UNREACHABLE = "DatabaseUnreachable"
    POSTGRES_TOOLS_TOO_OLD = "PostgresToolsTooOld"
    BACKUP_NOT_FOUND = "BackupNotFound"
    WRONG_KEY = "WrongKey"
    BACKUP_DAMAGED = "BackupDamaged"
    RESTORE_REFUSED = "RestoreRefused"
    RESTORE_INCOMPLETE = "RestoreIncomplete"
    RESTORE_INTERRUPTED = "RestoreInterrupted"


class Bucket(Model):
    """A bucket of an S3-compatible server."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.bucket.matches('^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$')",
                "s3.bucket must be the name of a bucket alone: write for example shop-backups, and a path in s3.prefix",
                ".bucket",
            ),
            rule(
                "self.prefix == '' || self.prefix.matches('^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$')",
                "s3.prefix must be a path without a slash at its ends: write for example shops/eu",
                ".prefix",
            ),
            rule(
                "self.endpoint == '' || self.endpoint.matches('^https?://[^/]+$')",
                "s3.endpoint must be a URL without a path: write for example https://minio.example.com:9000, or remove "
                "it for AWS",
                ".endpoint",
            ),
        )
    )

    bucket: Annotated[str, Field(max_length=63)] = Field(description="Name of the bucket.")
    prefix: Annotated[str, Field(max_length=253)] = Field(default="", description="Path in the bucket.")
    endpoint: Annotated[str, Field(max_length=253)] = Field(
        default="", description="URL of the server. Default: the bucket is one of AWS."
    )
    region: Annotated[str, Field(max_length=63)] = Field(default="us-east-1", description="Region of the bucket.")
    secret_ref: SecretRef = Field(
        description="Secret with BACKUP_S3_ACCESS_KEY_ID and BACKUP_S3_SECRET_ACCESS_KEY, and optionally BACKUP_S3_CA, "
        "the authority by which the server's certificate is verified."
    )


class Volume(Model):
    """A volume in the platform's namespace."""

    claim_name: ObjectName = Field(description="Name of a PersistentVolumeClaim in the platform's namespace.")


class Destination(Model):
    """The place of backups: a bucket or a volume."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.s3) != has(self.volume)",
                "destination must have exactly one of s3 and volume: remove one, or write one",
            ),
        )
    )

    s3: Bucket | None = Field(default=None, description="A bucket of an S3-compatible server.")
    volume: Volume | None = Field(default=None, description="A volume in the platform's namespace.")


class Retention(Model):
    """Which backups a scheduled backup keeps. The newest whole one is always kept."""

    count: int = Field(default=7, ge=1, le=10000, description="Number of the newest backups that are kept.")
    days: int = Field(default=0, ge=0, le=3650, description="Age in days up to which all backups are kept.")


_NAMED = "yearly|annually|monthly|weekly|daily|midnight|hourly"
_CRON = f"matches('^(@({_NAMED})|[0-9A-Za-z*/,?-]+( [0-9A-Za-z*/,?-]+){{4}})$')"


def _cron(field: str, example: str) -> str:
    return f"{field} must be a cron schedule of five fields, or one such as @daily: write for example {example}"


class BackupPolicy(Model):
    """Backups of all databases of a shop by a schedule, and their verification."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(f"self.schedule.{_CRON}", _cron("backup.schedule", "0 3 * * *"), ".schedule"),
            rule(
                f"!has(self.verifySchedule) || self.verifySchedule.{_CRON}",
                _cron("backup.verifySchedule", "0 6 * * 0"),
                ".verifySchedule",
            ),
            rule(
                "!has(self.verifyStorage) || isQuantity(self.verifyStorage)",
                "backup.verifyStorage must be a Kubernetes quantity: write for example 20Gi",
                ".verifyStorage",
            ),
            rule(
                "self.timeZone.matches('^[A-Za-z][A-Za-z0-9_+/-]*$')",
                "backup.timeZone must be a name of the IANA time zone database: write for example Europe/Berlin",
                ".timeZone",
            ),
        )
    )

    schedule: Annotated[str, Field(max_length=100)] = Field(
        default="0 3 * * *", description="When a backup begins, as a cron schedule of five fields or e.g. @daily."
    )
    verify_schedule: Annotated[str, Field(max_length=100)] | None = Field(
        default=None,
        description="When the newest backup is restored into a scratch server and its invariants are checked, as a "
        "cron schedule. Default: backups are not verified.",
    )
    verify_storage: Annotated[str, Field(max_length=32)] = Field(
        default="20Gi",
        description="Room on the node for a verification: more than the largest database.",
    )
    time_zone: TimeZone = Field(
        default="Etc/UTC", description="Time zone of the schedules, a name of the IANA database such as Europe/Berlin."
    )
    max_age_hours: int = Field(
        default=48,
        ge=1,
        le=87600,
        description="Age in hours of the newest successful backup from which condition BackedUp is False. Set it above "
        "the interval of the schedule.",
    )
    retention: Retention = Field(default=Retention(), description="Which backups are kept.")
    destination: Destination = Field(description="Where the backups are: a bucket or a volume.")
    encryption_key_secret_ref: SecretRef = Field(
        description="Secret with BACKUP_KEY, as `openssl rand -base64 32` prints it. Keep a copy outside the cluster: "
        "without the key no backup can be restored."
    )


class PlatformBackupSpec(Model):
    """One backup of one shop."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self == oldSelf", "the spec of a PlatformBackup cannot be changed: create another PlatformBackup"),
            rule(
                "has(self.destination) == has(self.encryptionKeySecretRef)",
                "destination and encryptionKeySecretRef belong together: write both, or neither for those of the "
                "shop's spec.backup",
            ),
        )
    )

    platform: ObjectName = Field(description="Name of the EcommercePlatform, in the same namespace.")
    destination: Destination | None = Field(
        default=None, description="Where the backup is written. Default: the destination of the shop's spec.backup."
    )
    encryption_key_secret_ref: SecretRef | None = Field(
        default=None, description="Secret with BACKUP_KEY. Default: the key of the shop's spec.backup."
    )


def parse_backup(spec: Mapping[str, Any]) -> PlatformBackupSpec:
    """Parses the stored spec of a PlatformBackup. Raises InvalidSpecError."""
    return parse_stored(PlatformBackupSpec, spec, "create another PlatformBackup")


class RestoreSource(Model):
    """A backup that is named by its place."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.destination) == has(self.encryptionKeySecretRef)",
                "source.destination and source.encryptionKeySecretRef belong together: write both, or neither for "
                "those of the shop's spec.backup",
            ),
            rule(
                "!has(self.shop) || self.shop.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
                "source.shop must be <namespace>/<name> of the shop that was backed up: write for example "
                "market/market",
                ".shop",
            ),
            rule(
                "!has(self.id) || self.id.matches('^[0-9]{8}T[0-9]{6}[.][0-9]{6}Z-[0-9a-f]+$')",
                "source.id must be the id of a backup: write for example 20260131T030000.000000Z-a1b2c3, or remove it "
                "for the newest one",
                ".id",
            ),
        )
    )

    destination: Destination | None = Field(
        default=None, description="Where the backup is. Default: the destination of the shop's spec.backup."
    )
    encryption_key_secret_ref: SecretRef | None = Field(
        default=None, description="Secret with the BACKUP_KEY that it was made with. Default: that of spec.backup."
    )
    shop: Annotated[str, Field(max_length=127)] | None = Field(
        default=None, description="The shop that was backed up, as <namespace>/<name>. Default: the shop itself."
    )
    id: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Id of the backup. Default: the newest whole one whose verification has not failed."
    )


class RecordedSource(Model):
    """The backup of a PlatformRestore, as its status records it: with the names of Secrets, not their values."""

    shop: str = Field(description="The shop that was backed up, as <namespace>/<name>.")
    id: str = Field(default="", description="Id of the backup; empty until the check has found the newest whole one.")
    destination: Destination = Field(description="Where the backup is.")
    encryption_key_secret_ref: SecretRef = Field(description="Secret with the BACKUP_KEY that it is read with.")


class RecordedFailure(Model):
    """The failure of the last attempt of a PlatformRestore, as its status records it."""

    reason: str = Field(description="Reason of the failure, one of those of condition Complete.")
    message: str = Field(description="What has failed, without what follows from it.")


class PlatformRestoreSpec(Model):
    """One restore of one backup into one shop, whose data it replaces."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self == oldSelf", "the spec of a PlatformRestore cannot be changed: create another PlatformRestore"),
            rule(
                "has(self.backup) != has(self.source)",
                "exactly one of backup and source says what is restored: write backup with the name of a "
                "PlatformBackup, or source with the place of a backup",
            ),
        )
    )

    platform: ObjectName = Field(
        description="Name of the EcommercePlatform whose data are replaced, in the same namespace."
    )
    backup: ObjectName | None = Field(
        default=None, description="Name of a PlatformBackup in the same namespace, which is restored."
    )
    source: RestoreSource | None = Field(
        default=None,
        description="Where the backup is, if no PlatformBackup of the namespace names it: the schedule made it, it is "
        "of another shop, or its PlatformBackup was deleted.",
    )
    deadline_seconds: int = Field(
        default=21_600,
        ge=60,
        le=86_400,
        description="Seconds that each Job that restores may run. One that is stopped then is not retried: the restore "
        "has failed, the shop stays closed, and its databases may be inconsistent. The same time limits the retries: "
        "no check of the backup begins later than that after the first check, and after a Job that restores has failed "
        "or was refused, none is created later than that after status.startTime. Nor does a closed shop wait longer "
        "for an invalid spec to be corrected.",
    )


def parse_restore(spec: Mapping[str, Any]) -> PlatformRestoreSpec:
    """Parses the stored spec of a PlatformRestore. Raises InvalidSpecError."""
    return parse_stored(PlatformRestoreSpec, spec, "create another PlatformRestore")
