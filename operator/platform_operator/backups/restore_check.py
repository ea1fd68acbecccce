"""Checks the backup of a restore by a Job, before its shop is closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from platform_operator.api.backups import RestorePhase, RestoreReason
from platform_operator.api.spec import Spec
from platform_operator.backups.jobs import BackupJobs
from platform_operator.backups.objects import Source, check_release, check_values
from platform_operator.backups.observed import UNKNOWN, Backup, Child
from platform_operator.backups.restore_retries import is_check_retried, next_retry
from platform_operator.backups.restore_status import (
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
        child = self.jobs.owned_job(restore.uid, restore.namespace, check_release(restore.name))
        if child is None:
            return await self._start(restore, shop, spec, source)
        run = await self.jobs.run(child)
        if run is None:
            problem = await self.jobs.pod_problem(child)
            reason = RestoreReason.POD_NOT_STARTED if problem else RestoreReason.CHECKING_BACKUP
            return RestoreOutcome(RestorePhase.CHECKING, reason, problem or "A pod checks the backup.")
        if run.succeeded and (source.backup or run.backup != UNKNOWN):
            return replace(source, backup=source.backup or run.backup)
        if run.succeeded or is_check_retried(run):
            return await self._retry(restore, shop, spec, source, child, run)
        return RestoreOutcome(
            RestorePhase.FAILED,
            failure_reason(run),
            check_failure_advice(run.message, closed=is_closed_by_restore(shop)),
        )

    async def _retry(
        self, restore: Backup, shop: Platform, spec: Spec, source: Source, child: Child, run: BackupRun
    ) -> RestoreOutcome:
        """Checks again after a pause what may pass. If that would be after the deadline, the restore has failed."""
        retry = next_retry(self.jobs.store.newest(restore), run, self.now())
        if retry.is_too_late:
            reason = RestoreReason.JOB_FAILED if run.succeeded else failure_reason(run)
            text = check_failure_advice(run.message, retry.note, closed=is_closed_by_restore(shop))
            return RestoreOutcome(RestorePhase.FAILED, reason, text)
        if self.now() < retry.at:
            reason = RestoreReason.CHECKING_BACKUP if run.succeeded else failure_reason(run)
            text = check_retry_advice(run.message, str(retry), closed=is_closed_by_restore(shop))
            return RestoreOutcome(RestorePhase.CHECKING, reason, text)
        await self.jobs.delete(child)
        return await self._start(restore, shop, spec, source)

    async def _start(self, restore: Backup, shop: Platform, spec: Spec, source: Source) -> RestoreOutcome:
        """Starts a check that may take until the deadline. After it the restore has failed."""
        now, name = self.now(), check_release(restore.name)
        retry = next_retry(self.jobs.store.newest(restore), None, now)
        if retry.is_too_late:
            text = check_failure_advice(
                f"The Job {name} does not exist.", retry.note, closed=is_closed_by_restore(shop)
            )
            return RestoreOutcome(RestorePhase.FAILED, RestoreReason.JOB_LOST, text)
        seconds = max(1, int((retry.deadline - now).total_seconds()))
        values = check_values(shop, spec, source, self.installation, seconds)
        objects = await self.jobs.render_job(restore, shop.key.name, name, values)
        refusal = await self.jobs.start(objects, restore.uid)
        if refusal is None:
            return begins_to_check()
        return pending(RestoreReason(refusal.reason), refusal.message)
