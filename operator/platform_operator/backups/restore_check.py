"""Checks the backup of a restore by a Job, before its shop is closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from platform_operator.api.backups import RestorePhase, RestoreReason
from platform_operator.api.spec import Spec
from platform_operator.backups.jobs import BackupJobs
from platform_operator.backups.objects import Source, check_release, check_values
from platform_operator.backups.observed import UNKNOWN, Backup
from platform_operator.backups.restore_retries import is_check_retried, next_retry
from platform_operator.backups.restore_status import (
    Failure,
    RestoreOutcome,
    begins_to_check,
    check_failure_advice,
    check_retry_advice,
    failure_reason,
    pending,
)
from platform_operator.cache.observed import Platform
from platform_operator.plan.hibernation import is_closed_by_restore
from platform_operator.render.values import Installation
from platform_operator.status.backups import BackupRun


@dataclass(frozen=True)
class BackupChecker:
    """Runs the checks of the backups of PlatformRestores."""

    jobs: BackupJobs
    installation: Installation
    now: Callable[[], datetime]

    async def check(self, restore: Backup, shop: Platform, spec: Spec, source: Source) -> Source | RestoreOutcome:
        """Checks the backup by a Job, which is created again if it was lost. Returns the backup that it has found.

        Raises ApiError, RenderError.
        """
        name = check_release(restore.name)
        child = self.jobs.owned_job(restore.uid, restore.namespace, name)
        run = await self.jobs.run(child) if child is not None else None
        if child is not None and run is None:
            problem = await self.jobs.pod_problem(child)
            reason = RestoreReason.POD_NOT_STARTED if problem else RestoreReason.CHECKING_BACKUP
            return RestoreOutcome(RestorePhase.CHECKING, reason, problem or "A pod checks the backup.")
        if run is not None and run.succeeded and (source.backup or run.backup != UNKNOWN):
            return replace(source, backup=source.backup or run.backup)
        failure = _failure(name, run)
        if run is not None and not run.succeeded and not is_check_retried(run):
            return _failed(shop, failure)
        now = self.now()
        retry = next_retry(self.jobs.store.newest(restore), run, now)
        if retry.is_too_late:
            return _failed(shop, failure, retry.note)
        if now < retry.at:
            reason = RestoreReason.CHECKING_BACKUP if run is not None and run.succeeded else failure.reason
            text = check_retry_advice(failure.message, str(retry), closed=is_closed_by_restore(shop))
            return RestoreOutcome(RestorePhase.CHECKING, reason, text)
        if child is not None:
            await self.jobs.delete(child)
        return await self._start(restore, shop, spec, source, retry.deadline)

    async def _start(
        self, restore: Backup, shop: Platform, spec: Spec, source: Source, deadline: datetime
    ) -> RestoreOutcome:
        """Creates the Job, which may run until the deadline. Raises ApiError, RenderError."""
        name, seconds = check_release(restore.name), max(1, int((deadline - self.now()).total_seconds()))
        values = check_values(shop, spec, source, self.installation, seconds)
        objects = await self.jobs.render_job(restore, shop.key.name, name, values)
        refusal = await self.jobs.try_to_start(objects, restore.uid)
        return begins_to_check() if refusal is None else pending(RestoreReason(refusal.reason), refusal.message)


def _failure(job: str, run: BackupRun | None) -> Failure:
    """Returns why there is no result of a check: its Job has failed, has not reported the backup, or does not exist."""
    if run is None:
        return Failure(RestoreReason.JOB_LOST, f"The Job {job} does not exist.")
    return Failure(RestoreReason.JOB_FAILED if run.succeeded else failure_reason(run), run.message)


def _failed(shop: Platform, failure: Failure, note: str = "") -> RestoreOutcome:
    text = check_failure_advice(failure.message, note, closed=is_closed_by_restore(shop))
    return RestoreOutcome(RestorePhase.FAILED, failure.reason, text)
