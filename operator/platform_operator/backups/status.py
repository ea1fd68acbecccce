"""Builds the status of a PlatformBackup. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platform_operator.api.backups import PLATFORM_BACKUP, BackupPhase, BackupReason
from platform_operator.api.conditions import TIME_FORMAT, Condition, dated, stored_condition
from platform_operator.api.kinds import Manifest
from platform_operator.backups.observed import Backup, JobState
from platform_operator.status.backups import BackupRun

MAX_MESSAGE = 1024
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
ENDS_BY_ITSELF = (BackupReason.RESTORING, BackupReason.RENDER_TIMED_OUT)
"""The reasons of a pending backup that begins without a person. `kubectl ecommerce` waits for it."""
_NO_WARNING = (BackupReason.RUNNING, BackupReason.SUCCEEDED, *ENDS_BY_ITSELF)
"""The reasons of a backup that makes progress, has succeeded, or waits for what ends by itself."""


@dataclass(frozen=True)
class Outcome:
    """The result of one pass over a PlatformBackup."""

    phase: BackupPhase
    reason: BackupReason
    message: str
    job: JobState | None = None
    run: BackupRun | None = None
    """The result of the Job, once it has ended."""

    @property
    def is_warning(self) -> bool:
        """True for a failure, and for what a person has to correct."""
        return self.reason not in _NO_WARNING


def has_progressed(stored: Mapping[str, Any], phase: str, reason: str) -> bool:
    """Returns whether a PlatformBackup or PlatformRestore has another phase or reason than its stored status says."""
    condition = stored_condition(stored, "Complete")
    return (stored.get("phase"), condition["reason"] if condition else None) != (phase, reason)


def describe(backup: Backup, outcome: Outcome, job_name: str, now: datetime) -> dict[str, Any]:
    """Returns the whole status. It equals the stored one if nothing has changed."""
    run, job = outcome.run, outcome.job
    started = job.started if job else None
    done = {BackupPhase.SUCCEEDED: True, BackupPhase.FAILED: False}.get(outcome.phase)
    condition = Condition("Complete", done, outcome.reason, outcome.message[:MAX_MESSAGE])
    return {
        "observedGeneration": backup.generation,
        "phase": str(outcome.phase),
        **({"job": job_name} if job else _stored_field(backup.status, "job")),
        **({"startTime": started.strftime(TIME_FORMAT)} if started else _stored_field(backup.status, "startTime")),
        **(_result(run, started) if run else {}),
        **({"completionTime": now.strftime(TIME_FORMAT)} if done is not None and run is None else {}),
        "conditions": [dated(condition, stored_condition(backup.status, "Complete"), backup.generation, now)],
    }


def _stored_field(status: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: status[name]} if name in status else {}


def _result(run: BackupRun, started: datetime | None) -> dict[str, Any]:
    seconds = {"durationSeconds": max(0, int((run.ended - started).total_seconds()))} if started else {}
    ended = {"completionTime": run.ended.strftime(TIME_FORMAT), **seconds}
    if not run.succeeded:
        return ended
    cut = {"cutTime": run.cut.strftime(TIME_FORMAT)} if run.cut else {}
    return {
        "backupId": run.backup,
        **cut,
        "size": size_text(run.size),
        "sizeBytes": run.size,
        "targetDigest": run.target,
        **ended,
    }


def size_text(size: int) -> str:
    """Returns a number of bytes as people read it, such as 12.3 MiB."""
    amount, unit = float(size), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{size} B"


def status_manifest(backup: Backup, status: Manifest) -> Manifest:
    metadata = {"name": backup.name, "uid": backup.uid}
    return {
        "apiVersion": PLATFORM_BACKUP.api_version,
        "kind": PLATFORM_BACKUP.kind,
        "metadata": metadata,
        "status": status,
    }
