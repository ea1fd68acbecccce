"""Builds what the status of a platform says about its backups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from platform_operator.api.backups import BackupPolicy
from platform_operator.api.conditions import TIME_FORMAT, Condition, ConditionReason

Row = Mapping[str, Any]


@dataclass(frozen=True)
class BackupRun:
    """A run of the backup command that has ended."""

    command: str
    """`create`, `verify` or `restore`."""
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
    """Why it has failed, or what else has failed."""
    target: str = ""
    """The digest of the shop, destination and key that it was for."""

    resent: int = 0
    """How many published events a restore sends again."""
    was_restored: bool = False
    """True if a verification has restored the backup; that of an earlier release only read its files."""
    was_interrupted: bool = False
    """True if its pod was evicted, deleted or killed before it could report: another run may succeed."""

    @property
    def succeeded(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class BackupReport:
    """`status.backup` of a platform and its condition BackedUp. Both are empty for a shop without spec.backup."""

    row: Row = field(default_factory=dict)
    condition: Condition | None = None


def backup_report(
    policy: BackupPolicy,
    stored: Row,
    runs: Iterable[BackupRun],
    now: datetime,
    *,
    target: str,
    hibernated: bool,
    observes: bool = False,
    refusal: str = "",
    blocked_job: str = "",
) -> BackupReport:
    """Returns the report, given what the status says already and the runs that are known.

    Jobs are deleted after a time, so what is stored stands until a later run is known, but for what was stored for
    another target. `refusal` says why the schedule could not be applied, `blocked_job` which Job of it cannot start.
    """
    row = {**(stored if stored.get("targetDigest") == target else {}), "targetDigest": target}
    for run in sorted(runs, key=lambda one: one.ended):
        if run.command in _NAMES and run.target == target:
            row |= _with_run(row, run)
    pause = _OBSERVED if observes else _HIBERNATED if hibernated else ""
    condition = _condition(policy, row, now, pause=pause, hibernated=hibernated, refusal=refusal)
    return BackupReport(row, replace(condition, message=f"{condition.message} {blocked_job}".rstrip()))


_OBSERVED = "The shop is observed, and its schedule is not applied: set spec.mode to Manage, and paused to false."
_HIBERNATED = "The shop is hibernated, and backups are suspended: set spec.hibernated to false."
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
    note = {"message": run.message} if run.message else {}
    result = {"backupId": run.backup, **cut, "sizeBytes": run.size, **ended, **note}
    return {name: result, **_last_verified_restore(row, run)}


def _last_verified_restore(row: Row, run: BackupRun) -> Row:
    """Returns the time of the newest backup that a verification has restored; empty if this run has not."""
    if run.command != "verify" or not run.was_restored or run.cut is None:
        return {}
    return {"lastVerifiedRestore": max(row.get("lastVerifiedRestore", ""), run.cut.strftime(TIME_FORMAT))}


def _condition(
    policy: BackupPolicy, row: Row, now: datetime, *, pause: str, hibernated: bool, refusal: str
) -> Condition:
    good = row.get("lastSuccessful")
    if refusal:
        return _not_backed_up(
            ConditionReason.BACKUPS_NOT_SCHEDULED, f"The schedule is not applied: {refusal} {_newest(good)}"
        )
    if failure := _last_unresolved(row, "create"):
        return _not_backed_up(ConditionReason.BACKUP_FAILED, f"{_failed('backup', failure)} {_newest(good)}")
    if failure := _last_unresolved(row, "verify"):
        return _not_backed_up(
            ConditionReason.VERIFICATION_FAILED, f"{_failed('verification', failure)} {_newest(good)}"
        )
    if good is None:
        text = pause or f"The first one begins by the schedule {policy.schedule}."
        return _not_backed_up(ConditionReason.NO_BACKUP_YET, f"No backup has been taken yet. {text}")
    if not hibernated and now - _cut_of(good) >= timedelta(hours=policy.max_age_hours):
        text = f"No backup has succeeded for the {policy.max_age_hours} hours that spec.backup.maxAgeHours allows."
        advice = pause or "See whether the CronJob starts Jobs, and how they end."
        return _not_backed_up(ConditionReason.BACKUP_TOO_OLD, f"{text} {_newest(good)} {advice}")
    verified = row.get("lastVerified")
    checked = f" Backup {verified['backupId']} was verified at {verified['completionTime']}." if verified else ""
    if restored := row.get("lastVerifiedRestore"):
        checked += f" The newest backup that a verification has found restorable is of {restored}."
    note = f" {good['message']}" if "message" in good else ""
    return Condition("BackedUp", True, ConditionReason.BACKED_UP, f"{_newest(good)}{checked}{note}")


def _cut_of(good: Row) -> datetime:
    """Returns the time of the state that a backup has."""
    return _time(good.get("cutTime") or good["completionTime"])


def _not_backed_up(reason: ConditionReason, message: str) -> Condition:
    return Condition("BackedUp", False, reason, message)


def _last_unresolved(row: Row, command: str) -> Row | None:
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
        return "There is no successful backup."
    return f"The newest successful backup is {good['backupId']}, of {good.get('cutTime') or good['completionTime']}."


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
