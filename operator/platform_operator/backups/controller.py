"""Reconciles backups: makes the Job of each PlatformBackup and the CronJobs of each spec.backup, and reports."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from platform_operator.api.backups import PLATFORM_BACKUP, BackupPhase, BackupReason, RestorePhase, parse_backup
from platform_operator.api.kinds import (
    PLATFORM,
    Manifest,
    ObjectKey,
    PlatformKey,
    object_key,
    owner_reference,
)
from platform_operator.api.restore_marks import RestoreMark, restore_mark
from platform_operator.api.spec import Spec, parse
from platform_operator.backups.jobs import BackupJobs, BlockedPod
from platform_operator.backups.objects import (
    Target,
    backup_release,
    backup_values,
    children,
    job_from_cron_job,
    policy_target,
    schedule_release,
    schedule_values,
    target_digest,
    target_of,
    with_target,
)
from platform_operator.backups.observed import (
    UNKNOWN,
    Backup,
    Child,
    JobState,
    last_failure,
    observe_backup,
)
from platform_operator.backups.status import Outcome, describe, has_progressed, status_manifest
from platform_operator.cache.observed import Platform
from platform_operator.cache.store import Cache
from platform_operator.digests import digest
from platform_operator.errors import ApiError, InvalidSpecError, NameTakenError, RenderError, RenderTimeoutError
from platform_operator.plan.hibernation import is_closed_by_restore
from platform_operator.render.values import Installation
from platform_operator.status.backups import BackupReport, BackupRun, backup_report
from platform_operator.status.events import InvolvedObject
from platform_operator.status.recorder import EventRecorder
from platform_operator.workqueue import Requeue

logger = logging.getLogger(__name__)

SCHEDULE_INTERVAL = 60.0
"""Seconds between two looks at a schedule: no event announces that the newest backup is too old."""
RUNNING_INTERVAL = 15.0
"""Seconds between two looks at the pods of a running backup, at what a pending one waits for, and at a schedule that
the API server did not accept."""
STARTS_WITHIN = timedelta(hours=1)
"""The time within which each pod of a scheduled Job has to start. The chart has the same for the Job itself."""
_FINISHED = (BackupPhase.SUCCEEDED, BackupPhase.FAILED)


@dataclass(frozen=True)
class _BlockedJob:
    """A Job of a schedule whose pod cannot start."""

    job: Child
    pod: BlockedPod

    def __str__(self) -> str:
        """Returns which Job it is, why its pod cannot start, and what to do."""
        name, namespace = self.job.key.id.name, self.job.key.namespace
        return (
            f"The pod of Job {name} cannot start: {self.pod.problem.rstrip('.')}. Correct this, and delete the Job if "
            f"its own spec was wrong: kubectl -n {namespace} delete job {name}"
        )


@dataclass
class BackupController:
    """Brings backups to the state that their specs describe, one pass at a time."""

    jobs: BackupJobs
    shops: Cache
    """The platforms, which the reconciler's informers keep current."""
    installation: Installation
    now: Callable[[], datetime]
    report_changed: Callable[[PlatformKey], None]
    """Called when the report of a platform has changed, which the reconciler writes."""
    recorder: EventRecorder
    reports: dict[PlatformKey, BackupReport] = field(default_factory=dict)
    _rendered: dict[PlatformKey, tuple[str, list[Manifest]]] = field(init=False, default_factory=dict)
    """What Helm printed for the schedule of each platform, and the digest of its values."""

    async def reconcile(self, key: ObjectKey) -> Requeue:
        """Makes a pass over a PlatformBackup or the schedule of a platform. Raises ApiError if it has to be retried."""
        if key.id.kind == PLATFORM.kind:
            return await self._reconcile_schedule(PlatformKey(key.namespace, key.id.name))
        backup = self.jobs.store.backups.get(key)
        if backup is None or backup.deleting:
            return Requeue.never()
        if backup.status.get("phase") in _FINISHED:
            return await self.jobs.clean_up(backup.uid, RUNNING_INTERVAL)
        return await self._reconcile_backup(backup)

    # One backup.

    async def _reconcile_backup(self, backup: Backup) -> Requeue:
        key = PlatformKey(backup.namespace, str(backup.spec.get("platform", "")))
        if key not in self.shops.platforms and self.shops.is_of_another(key):
            return Requeue.never()
        name = backup_release(backup.name)
        try:
            outcome = await self._advance(backup, self.shops.platforms.get(key), name)
        except RenderTimeoutError as error:
            text = f"{error}. The operator renders it again."
            outcome = Outcome(BackupPhase.PENDING, BackupReason.RENDER_TIMED_OUT, text)
        except RenderError as error:
            text = f"The backup chart cannot be rendered for EcommercePlatform {key.name}: {error}. Correct its spec."
            outcome = Outcome(BackupPhase.PENDING, BackupReason.RENDER_FAILED, text)
        except InvalidSpecError as error:  # its own spec, which cannot be changed
            outcome = Outcome(BackupPhase.FAILED, BackupReason.RENDER_FAILED, str(error))
        status = describe(backup, outcome, name, self.now())
        if status != backup.status:
            if has_progressed(backup.status, outcome.phase, outcome.reason):
                involved = InvolvedObject(PLATFORM_BACKUP, backup.namespace, backup.name, backup.uid)
                self.recorder.emit_progress(key, involved, outcome, self.now())
            answer = await self.jobs.client.apply(
                PLATFORM_BACKUP, backup.namespace, status_manifest(backup, status), "status"
            )
            self.jobs.store.store_backup(observe_backup(answer))
            details = {"platform": str(key), "backup": backup.name, "reason": str(outcome.reason)}
            logger.info(outcome.message, extra=details)
        if outcome.phase in _FINISHED:
            return await self.jobs.clean_up(backup.uid, RUNNING_INTERVAL)
        return Requeue.after(RUNNING_INTERVAL)

    async def _advance(self, backup: Backup, shop: Platform | None, name: str) -> Outcome:
        """Raises ApiError, InvalidSpecError, RenderError."""
        child = self.jobs.owned_job(backup.uid, backup.namespace, name)
        if child is not None and child.job is not None:
            return await self._follow(child, child.job)
        if "job" in backup.status:
            text = (
                f"The Job {name} does not exist any more, and how it ended is not known: list the backups, and create "
                "another PlatformBackup if there is none of that time."
            )
            return Outcome(BackupPhase.FAILED, BackupReason.JOB_LOST, text)
        own = parse_backup(backup.spec)
        if shop is None or shop.deleting:
            text = (
                f"There is no EcommercePlatform {backup.spec['platform']} in the namespace: create it, or name another."
            )
            return Outcome(BackupPhase.PENDING, BackupReason.PLATFORM_MISSING, text)
        try:
            spec = parse(shop.spec)
        except InvalidSpecError as error:
            text = f"The spec of the shop is invalid: {error}. Correct it."
            return Outcome(BackupPhase.PENDING, BackupReason.PLATFORM_INVALID, text)
        if spec.observes:
            text = "The shop is observed, and nothing is made for it: set its spec.mode to Manage, and paused to false."
            return Outcome(BackupPhase.PENDING, BackupReason.OBSERVED, text)
        if (mark := restore_mark(shop.annotations, shop.status)) is not None and mark.closes:
            return _closed(mark)
        if spec.hibernated:
            text = "The shop is hibernated, and its databases are stopped: set spec.hibernated of it to false."
            return Outcome(BackupPhase.PENDING, BackupReason.HIBERNATED, text)
        target = target_of(own, spec.backup)
        if target is None:
            text = (
                "Neither this PlatformBackup nor spec.backup of its shop says where to: set spec.backup, or create a "
                "PlatformBackup with destination and encryptionKeySecretRef."
            )
            return Outcome(BackupPhase.PENDING, BackupReason.NO_DESTINATION, text)
        return await self._start(backup, shop, spec, target, name)

    async def _start(self, backup: Backup, shop: Platform, spec: Spec, target: Target, name: str) -> Outcome:
        """Creates the policies, then the Job, which has the name of its PlatformBackup, so that it is made once."""
        values = backup_values(shop, spec, target, self.installation)
        rendered = await self.jobs.render(PlatformKey(backup.namespace, name), values)
        rendered = job_from_cron_job(with_target(rendered, target_digest(shop.uid, target)), name)
        owner = owner_reference(PLATFORM_BACKUP, backup.name, backup.uid)
        objects = children(rendered, backup.namespace, shop.key.name, owner)
        refusal = await self.jobs.try_to_start(objects, backup.uid)
        if refusal is None:
            return Outcome(BackupPhase.RUNNING, BackupReason.RUNNING, "The backup begins.")
        return Outcome(BackupPhase.PENDING, refusal.reason, refusal.message)

    async def _follow(self, child: Child, job: JobState) -> Outcome:
        run = await self.jobs.run(child)
        if run is None:
            pods = await self.jobs.pods(child)
            if blocked := await self.jobs.blocked_pod(child, pods):
                return Outcome(BackupPhase.RUNNING, BackupReason.POD_NOT_STARTED, blocked.problem, job)
            if failure := last_failure(pods):
                text = f"An attempt has failed, and Kubernetes starts another: {failure}"
                return Outcome(BackupPhase.RUNNING, BackupReason.RETRYING, text, job)
            return Outcome(BackupPhase.RUNNING, BackupReason.RUNNING, "A pod backs up the shop.", job)
        if not run.succeeded:
            return Outcome(BackupPhase.FAILED, BackupReason(run.reason), run.message, job, run)
        text = run.message if run.backup == UNKNOWN else f"Backup {run.backup} is complete. {run.message}".rstrip()
        return Outcome(BackupPhase.SUCCEEDED, BackupReason.SUCCEEDED, text, job, run)

    # The schedule of a shop.

    async def _reconcile_schedule(self, key: PlatformKey) -> Requeue:
        platform = self.shops.platforms.get(key)
        if platform is None or platform.deleting:  # the garbage collector deletes what it owns
            self._forget(key)
            return Requeue.never()
        try:
            spec = parse(platform.spec)
        except InvalidSpecError:
            return Requeue.never()  # the reconciler reports it
        policy = spec.backup
        refusal = "" if spec.observes else await self._apply_schedule(platform, spec)
        if policy is None:
            self._set_report(key, BackupReport())
            has_schedule = bool(self.jobs.store.owned_by(platform.uid))
            return Requeue.after(SCHEDULE_INTERVAL) if has_schedule and not spec.observes else Requeue.never()
        stored, runs = platform.status.get("backup", {}), await self._runs_of(platform)
        known = self.reports[key].row if key in self.reports else stored
        blocked = await self._blocked_job(platform)
        if blocked is not None and not spec.observes:
            await self._end_overdue_job(blocked)
        report = backup_report(
            policy,
            known,
            runs,
            self.now(),
            target=target_digest(platform.uid, policy_target(policy)),
            hibernated=spec.hibernated,
            observes=spec.observes,
            refusal=refusal,
            blocked_job=str(blocked or ""),
        )
        self._set_report(key, report)
        return Requeue.after(RUNNING_INTERVAL if refusal else SCHEDULE_INTERVAL)

    async def _apply_schedule(self, platform: Platform, spec: Spec) -> str:
        """Applies the objects of the schedule, and deletes those of a former one. Returns why that has failed.

        Raises ApiError if another attempt may succeed, but for a failure of the API server, which is returned.
        """
        desired = set()
        try:
            for one in await self._schedule(platform, spec):
                desired.add(object_key(one["kind"], one))
                await self.jobs.apply_if_changed(one)
        except (NameTakenError, RenderError) as error:
            return f"{error}."
        except ApiError as error:
            if error.transient and not error.is_server_failure:
                raise
            return f"The API server did not accept it: {error}."
        for child in self.jobs.store.owned_by(platform.uid):
            if child.key not in desired:
                await self.jobs.delete(child)
        return ""

    async def _schedule(self, platform: Platform, spec: Spec) -> list[Manifest]:
        """Returns the objects of the schedule, rendered once for each content; none without spec.backup."""
        key = platform.key
        if spec.backup is None:
            self._rendered.pop(key, None)
            return []
        is_closed = is_closed_by_restore(platform)
        values = schedule_values(platform, spec, spec.backup, self.installation, closed_by_restore=is_closed)
        content = digest(values)
        if self._rendered.get(key, ("", []))[0] != content:
            rendered = await self.jobs.render(PlatformKey(key.namespace, schedule_release(key.name)), values)
            self._rendered[key] = content, rendered
        rendered = with_target(self._rendered[key][1], target_digest(platform.uid, policy_target(spec.backup)))
        return children(rendered, key.namespace, key.name, owner_reference(PLATFORM, key.name, platform.uid))

    async def _runs_of(self, platform: Platform) -> list[BackupRun]:
        """Returns the results of the Jobs of the schedule, and of the PlatformBackups."""
        key = platform.key
        runs = [await self.jobs.run(child) for child in self._scheduled_jobs(platform)]
        backups = (one for one in self.jobs.store.backups.values() if one.namespace == key.namespace)
        made = (_run_of(one) for one in backups if one.spec.get("platform") == key.name)
        return [one for one in (*runs, *made) if one]

    def _scheduled_jobs(self, platform: Platform) -> list[Child]:
        """Returns the Jobs of the CronJobs of a platform."""
        own = {one.uid for one in self.jobs.store.owned_by(platform.uid)}
        return [one for one in self.jobs.store.children_of(platform.key) if one.job and own & {*one.owners}]

    async def _blocked_job(self, platform: Platform) -> _BlockedJob | None:
        """Returns the first Job of the schedule whose pod cannot start; None if there is none. Raises ApiError."""
        for child in self._scheduled_jobs(platform):
            if child.job is None or child.job.ended is not None:
                continue
            if pod := await self.jobs.blocked_pod(child, await self.jobs.pods(child)):
                return _BlockedJob(child, pod)
        return None

    async def _end_overdue_job(self, blocked: _BlockedJob) -> None:
        """Ends a Job whose pod has not started for STARTS_WITHIN: its CronJob starts no other until it has ended, also
        with a corrected spec. Raises ApiError if another attempt may succeed."""
        since = blocked.pod.since
        if since is not None and self.now() - since >= STARTS_WITHIN:
            await self._end_job(blocked.job, blocked.pod.problem)

    async def _end_job(self, child: Child, problem: str) -> None:
        """Ends a Job. Raises ApiError if another attempt may succeed."""
        try:
            await self.jobs.end(child, problem)
        except ApiError as error:
            if error.transient:
                raise
            shop = PlatformKey(child.key.namespace, child.platform)
            logger.warning("cannot end Job %s: %s", child.key.id.name, error, extra={"platform": str(shop)})

    def _set_report(self, key: PlatformKey, report: BackupReport) -> None:
        if self.reports.get(key) != report:
            self.reports[key] = report
            self.report_changed(key)

    def _forget(self, key: PlatformKey) -> None:
        self.reports.pop(key, None)
        self._rendered.pop(key, None)


def _closed(mark: RestoreMark) -> Outcome:
    """Returns why a shop that a restore has closed is not backed up."""
    if mark.phase is RestorePhase.FAILED:
        text = (
            "The last restore of the shop has failed, and the shop is closed: do what the message of that "
            "PlatformRestore says. The backup begins when the shop is open."
        )
        return Outcome(BackupPhase.PENDING, BackupReason.RESTORE_FAILED, text)
    text = "The shop is closed for a restore, and its databases are being replaced: wait until it is open."
    return Outcome(BackupPhase.PENDING, BackupReason.RESTORING, text)


def _run_of(backup: Backup) -> BackupRun | None:
    """Returns a PlatformBackup that has succeeded as a run; None for another."""
    status = backup.status
    if status.get("phase") != BackupPhase.SUCCEEDED or "completionTime" not in status:
        return None
    cut = datetime.fromisoformat(status["cutTime"]) if "cutTime" in status else None
    ended = datetime.fromisoformat(status["completionTime"])
    target = status.get("targetDigest", "")
    return BackupRun("create", backup.name, ended, status["backupId"], cut, status["sizeBytes"], target=target)
