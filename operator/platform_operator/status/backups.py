"""Builds what the status of a platform says about its backups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from platform_operator.api.backups import BackupPolicy
from platform_operator.api.conditions import TIME_FORMAT, Condition, ConditionReason

Row = Mapping[str, Any]


@dataclass(frozen=True)
class BackupRun:
    """A run of the backup command that has ended."""

    command: str
    """`create` or `verify`."""
    name: str
    """The Job, or the PlatformBackup."""
    ended: datetime
    backup: str = ""
    """The id of the backup; empty if the run has failed."""
    cut: datetime | None = None
    size: int = 0
    """Bytes."""
    reason: str = ""
    message: str = ""

    @property
    def succeeded(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class BackupReport:
    """`status.backup` of a platform and its condition BackedUp. Both are empty for a shop without spec.backup."""

    row: Row = field(default_factory=dict)
    condition: Condition | None = None


def backup_report(
    policy: BackupPolicy, stored: Row, runs: Iterable[BackupRun], now: datetime, *, hibernated: bool, refusal: str = ""
) -> BackupReport:
    """Returns the report, given what the status says already and the runs that are known.

    Jobs are deleted after a time, so what is stored stands until a later run is known. `refusal` says why the schedule
    could not be applied.
    """
    row = dict(stored)
    for run in sorted(runs, key=lambda one: one.ended):
        if run.command in _NAMES:
            row |= _with_run(row, run)
    return BackupReport(row, _condition(policy, row, now, hibernated=hibernated, refusal=refusal))


_NAMES = {"create": ("lastSuccessful", "lastFailure"), "verify": ("lastVerified", "lastVerificationFailure")}
"""The fields of the last success and of the last failure, by command."""


def _with_run(row: Row, run: BackupRun) -> Row:
    success, failure = _NAMES[run.command]
    name = success if run.succeeded else failure
    known = row.get(name)
    if known is not None and _time(known["completionTime"]) >= run.ended:
        return {}
    ended = {"name": run.name, "completionTime": run.ended.strftime(TIME_FORMAT)}
    if not run.succeeded:
        return {name: {**ended, "reason": run.reason, "message": run.message}}
    cut = {"cutTime": run.cut.strftime(TIME_FORMAT)} if run.cut else {}
    return {name: {"backupId": run.backup, **cut, "sizeBytes": run.size, **ended}}


def _condition(policy: BackupPolicy, row: Row, now: datetime, *, hibernated: bool, refusal: str) -> Condition:
    good = row.get("lastSuccessful")
    if refusal:
        return _not(ConditionReason.BACKUPS_NOT_SCHEDULED, f"The schedule is not applied: {refusal} {_newest(good)}")
    if failure := _unmended(row, "create"):
        return _not(ConditionReason.BACKUP_FAILED, f"{_failed('backup', failure)} {_newest(good)}")
    if failure := _unmended(row, "verify"):
        return _not(ConditionReason.VERIFICATION_FAILED, f"{_failed('verification', failure)} {_newest(good)}")
    if good is None:
        return _not(ConditionReason.NO_BACKUP_YET, f"No backup has been taken yet; one begins at {policy.schedule}.")
    if not hibernated and now - _cut_of(good) >= timedelta(hours=policy.max_age_hours):
        text = f"No backup has succeeded for {policy.max_age_hours} hours, which spec.backup.maxAgeHours allows."
        text = f"{text} {_newest(good)} See whether the CronJob starts Jobs, and how they end."
        return _not(ConditionReason.BACKUP_TOO_OLD, text)
    verified = row.get("lastVerified")
    checked = f" Backup {verified['backupId']} was verified at {verified['completionTime']}." if verified else ""
    return Condition("BackedUp", True, ConditionReason.BACKED_UP, f"{_newest(good)}{checked}")


def _cut_of(good: Row) -> datetime:
    """Returns the time of the state that a backup has."""
    return _time(good.get("cutTime") or good["completionTime"])


def _not(reason: ConditionReason, message: str) -> Condition:
    return Condition("BackedUp", False, reason, message)


def _unmended(row: Row, command: str) -> Row | None:
    """Returns the last failure of a command, if no success came after it."""
    good, bad = _NAMES[command]
    success: Row | None = row.get(good)
    failure: Row | None = row.get(bad)
    if failure is None or (success and _time(success["completionTime"]) >= _time(failure["completionTime"])):
        return None
    return failure


def _failed(what: str, failure: Row) -> str:
    return f"The last {what}, {failure['name']}, has failed with {failure['reason']}: {failure['message']}"


def _newest(good: Row | None) -> str:
    if good is None:
        return "There is no good backup."
    return f"The newest good backup is {good['backupId']}, of {good.get('cutTime') or good['completionTime']}."


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
