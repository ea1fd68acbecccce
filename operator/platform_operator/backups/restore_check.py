"""Checks the backup of a restore by a Job, before its shop is closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from platform_operator.api.backups import RestorePhase, RestoreReason, parse_restore
from platform_operator.api.spec import Spec
from platform_operator.backups.jobs import BackupJobs
from platform_operator.backups.objects import Source, check_release, check_values
from platform_operator.backups.observed import UNKNOWN, Backup, Child
from platform_operator.backups.restore_status import (
    TRANSIENT,
    RestoreOutcome,
    begins_to_check,
    check_failure_advice,
    failure_reason,
    pending,
    phase_of,
    refusal_reason,
    repetition_advice,
)
from platform_operator.cache.observed import Platform
from platform_operator.plan.hibernation import is_closed
from platform_operator.render.values import Installation
from platform_operator.status.backups import BackupRun

SHORTEST_PAUSE, LONGEST_PAUSE = 10.0, 300.0
"""Seconds between two checks of a backup whose destination does not answer."""


@dataclass(frozen=True)
class BackupCheck:
    """Runs the checks of the backups of PlatformRestores."""

    jobs: BackupJobs
    installation: Installation
    now: Callable[[], datetime]

    async def result(self, restore: Backup, shop: Platform, spec: Spec, source: Source) -> Source | RestoreOutcome:
        """Checks the backup by a Job, which is created again if it was lost. Returns the backup that it has found.

        Raises ApiError, RenderError.
        """
        child = self.jobs.owned_job(restore.uid, restore.namespace, check_release(restore.name))
        if child is None:
            seconds = parse_restore(restore.spec).deadline_seconds
            return await self._start(restore, shop, spec, source, seconds)
        run = await self.jobs.run(child)
        if run is None:
            problem = await self.jobs.pod_problem(child)
            reason = RestoreReason.POD_NOT_STARTED if problem else RestoreReason.CHECKING_BACKUP
            return RestoreOutcome(RestorePhase.CHECKING, reason, problem or "A pod checks the backup.")
        if run.succeeded and (source.backup or run.backup != UNKNOWN):
            return replace(source, backup=source.backup or run.backup)
        if run.succeeded or failure_reason(run) in TRANSIENT:
            return await self._repeat(restore, shop, spec, source, child, run)
        return RestoreOutcome(
            RestorePhase.FAILED, failure_reason(run), check_failure_advice(run.message, closed=is_closed(shop))
        )

    async def _repeat(
        self, restore: Backup, shop: Platform, spec: Spec, source: Source, child: Child, run: BackupRun
    ) -> RestoreOutcome:
        """Repeats a check that has failed by what may pass, after a pause. At its deadline the restore has failed."""
        newest, now = self.jobs.store.newest(restore), self.now()
        is_checking = phase_of(newest) is RestorePhase.CHECKING  # else it has waited as Pending since the check
        started = datetime.fromisoformat(newest.status["checkStartTime"]) if is_checking else now
        seconds, again = parse_restore(restore.spec).deadline_seconds, next_check(started, run.ended)
        deadline = started + timedelta(seconds=seconds)
        if again >= deadline:
            text = f"{run.message} It was tried again until the deadline of {seconds} s"
            reason = RestoreReason.JOB_FAILED if run.succeeded else failure_reason(run)
            return RestoreOutcome(RestorePhase.FAILED, reason, check_failure_advice(text, closed=is_closed(shop)))
        reason = RestoreReason.CHECKING_BACKUP if run.succeeded else failure_reason(run)
        if now < again:
            text = repetition_advice(run.message, again, deadline, closed=is_closed(shop))
            return RestoreOutcome(RestorePhase.CHECKING, reason, text)
        await self.jobs.delete(child)
        return await self._start(restore, shop, spec, source, max(1, int((deadline - now).total_seconds())))

    async def _start(self, restore: Backup, shop: Platform, spec: Spec, source: Source, seconds: int) -> RestoreOutcome:
        """Starts a check that may take so many seconds."""
        values = check_values(shop, spec, source, self.installation, seconds)
        objects = await self.jobs.render_job(restore, shop.key.name, check_release(restore.name), values)
        refusal = await self.jobs.start(objects, restore.uid)
        if refusal is None:
            return begins_to_check()
        return pending(refusal_reason(name_taken=refusal.name_taken), refusal.message)


def next_check(started: datetime, ended: datetime) -> datetime:
    """Returns when a check is repeated that began at a time and has ended last at another. The pauses grow."""
    failing = (ended - started).total_seconds()
    return ended + timedelta(seconds=min(max(failing, SHORTEST_PAUSE), LONGEST_PAUSE))
