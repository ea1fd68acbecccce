"""Decides which attempt of a restore is made again, and when. Pure.

docs/adr/0061-a-restore-is-retried-while-its-shop-is-closed.md says which, and why that is safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from platform_operator.api.backups import RestorePhase, RestoreReason, parse_restore
from platform_operator.api.conditions import TIME_FORMAT
from platform_operator.backups.observed import Backup
from platform_operator.backups.restore_status import BEFORE_CLOSING, failure_reason, phase_of
from platform_operator.status.backups import BackupRun

TRANSIENT = (
    RestoreReason.DESTINATION_UNAVAILABLE, RestoreReason.DATABASE_UNREACHABLE, RestoreReason.RESTORE_INTERRUPTED,
)  # fmt: skip
"""The failures after which another attempt may succeed without any correction."""
SHORTEST_PAUSE, LONGEST_PAUSE = 10.0, 300.0
"""Seconds between two attempts."""


def is_check_retried(run: BackupRun) -> bool:
    """Returns whether a check that has failed is retried. It reads no database, so that is always safe."""
    return run.was_interrupted or failure_reason(run) in TRANSIENT


def is_restore_retried(run: BackupRun, *, inconsistent: bool) -> bool:
    """Returns whether a Job that restores, and has failed, is created again.

    If the databases may be `inconsistent` because of an interrupted Job, one that was refused is too: connections of
    the interrupted one may be left for minutes.
    """
    is_refused = failure_reason(run) is RestoreReason.RESTORE_REFUSED
    return is_check_retried(run) or (inconsistent and is_refused)


@dataclass(frozen=True)
class Retry:
    """When another attempt begins, and the time from which on none begins."""

    at: datetime
    deadline: datetime

    @property
    def is_too_late(self) -> bool:
        return self.at >= self.deadline

    @property
    def note(self) -> str:
        """Says that it is too late, as a sentence."""
        deadline = self.deadline.strftime(TIME_FORMAT)
        return f"It is not retried: another attempt would begin after {deadline}, the end of spec.deadlineSeconds."

    @property
    def when_unused(self) -> str:
        """Returns what an attempt that is due waits for, as the end of a sentence, without its full stop."""
        return f"retried when no pod and no Job uses the databases, and not after {self.deadline.strftime(TIME_FORMAT)}"

    def __str__(self) -> str:
        """Returns the times as the end of a sentence, without its full stop."""
        return f"retried at {self.at.strftime(TIME_FORMAT)}, and not after {self.deadline.strftime(TIME_FORMAT)}"


def deadline_of(restore: Backup, now: datetime) -> datetime:
    """Returns the time from which on a restore neither waits nor is retried.

    Its deadlineSeconds begin with the first check since it was last Pending, and again when the shop is closed.
    """
    return _begin_of(restore, now) + timedelta(seconds=parse_restore(restore.spec).deadline_seconds)


def next_retry(restore: Backup, run: BackupRun | None, now: datetime) -> Retry:
    """Returns when an attempt is retried: now, if its pause is over, or if its Job is gone (None)."""
    due = run.ended + retry_pause(run.ended - _begin_of(restore, now)) if run is not None else now
    return Retry(max(due, now), deadline_of(restore, now))


def retry_pause(failing_for: timedelta) -> timedelta:
    """Returns the pause before the next attempt: as long as all attempts so far have taken, within bounds."""
    return timedelta(seconds=min(max(failing_for.total_seconds(), SHORTEST_PAUSE), LONGEST_PAUSE))


def _begin_of(restore: Backup, now: datetime) -> datetime:
    phase = phase_of(restore)
    field = "checkStartTime" if phase in BEFORE_CLOSING else "startTime"
    stored = restore.status.get(field) if phase is not RestorePhase.PENDING else None
    return datetime.fromisoformat(stored) if stored else now
