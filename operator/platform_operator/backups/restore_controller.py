"""Reconciles PlatformRestores: checks the backup, closes the shop, restores once, opens the shop, checks invariants.

Each step is recorded before the next one begins: in the status, and for the reconciler of the shop in an annotation of
the shop (docs/adr/0071). So any pass may be the last one of a process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from platform_operator.api.backups import PLATFORM_RESTORE, RestorePhase, RestoreReason, parse_restore
from platform_operator.api.conditions import TIME_FORMAT, ConditionReason, stored_condition
from platform_operator.api.kinds import ObjectKey, PlatformKey
from platform_operator.api.restore_marks import RestoreMark, last_restore, restore_mark
from platform_operator.api.spec import WITH_DATABASE, Spec
from platform_operator.apply.conflicts import reading_again
from platform_operator.backups.database_clients import DatabaseClients
from platform_operator.backups.jobs import BackupJobs, not_created
from platform_operator.backups.objects import Source, restore_release, restore_values
from platform_operator.backups.observed import Backup, Child, observe_backup
from platform_operator.backups.restore_check import BackupChecker
from platform_operator.backups.restore_mark_store import RestoreMarkStore, was_inconsistent
from platform_operator.backups.restore_retries import Retry, deadline_of, is_restore_retried, next_retry
from platform_operator.backups.restore_source import SourceFinder
from platform_operator.backups.restore_status import (
    BEFORE_CLOSING,
    FINISHED,
    MAY_HAVE_CHANGED,
    Failure,
    RestoreOutcome,
    begins_to_check,
    begins_to_restore,
    closing,
    describe_restore,
    failure_advice,
    failure_reason,
    pending,
    phase_of,
    recorded_failure,
    recorded_source,
    retry_advice,
    shop_key,
    status_manifest,
    waiting_advice,
)
from platform_operator.backups.shop_opener import ShopOpener
from platform_operator.backups.shop_specs import blocker_text, spec_of, stop_by_spec
from platform_operator.backups.status import has_progressed
from platform_operator.cache.observed import Platform
from platform_operator.cache.store import Cache
from platform_operator.errors import ApiError, InvalidSpecError, PlatformInvalidError, RenderError, RenderTimeoutError
from platform_operator.invariants.scrape_results import ScrapeResult
from platform_operator.plan.hibernation import is_in_steps
from platform_operator.render.values import Installation
from platform_operator.status.backups import BackupRun
from platform_operator.status.events import InvolvedObject
from platform_operator.status.recorder import EventRecorder
from platform_operator.workqueue import Requeue

logger = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between two looks at a restore: no event announces the end of a pod, and the shop is closed until then."""
_REFUSALS = (RestoreReason.REFUSED, RestoreReason.NAME_TAKEN)
"""The reasons of a Job that was not created."""


@dataclass(frozen=True)
class _DueRetry:
    """The retry of an attempt that has failed, whose pause is over."""

    failure: Failure
    retry: Retry
    job: Child | None = None
    """The Job that has failed, which is deleted before another one is created; None if there is none."""


@dataclass
class RestoreController:
    """Brings PlatformRestores to their end, one pass at a time."""

    jobs: BackupJobs
    shops: Cache
    installation: Installation
    now: Callable[[], datetime]
    scrape_results: Callable[[PlatformKey], Mapping[str, ScrapeResult]]
    """The newest scrape results of a platform's services; none of a shop that is closed."""
    shop_changed: Callable[[PlatformKey], None]
    """Called when the annotation of a platform has changed, which its reconciler acts on."""
    recorder: EventRecorder
    marks: RestoreMarkStore = field(init=False)
    clients: DatabaseClients = field(init=False)
    source_finder: SourceFinder = field(init=False)
    checker: BackupChecker = field(init=False)
    opener: ShopOpener = field(init=False)

    def __post_init__(self) -> None:
        self.marks = RestoreMarkStore(self.jobs.client, self.jobs.store, self.shops, self.shop_changed)
        self.clients = DatabaseClients(self.jobs, self.shops, self.now)
        self.source_finder = SourceFinder(self.jobs, self.shops)
        self.checker = BackupChecker(self.jobs, self.installation, self.now)
        self.opener = ShopOpener(self.marks, self.scrape_results, self.now)

    async def reconcile(self, key: ObjectKey) -> Requeue:
        """Makes a pass over a PlatformRestore. Raises ApiError if it has to be retried.

        If the API server refused a write as out of date, the shop is read again first.
        """
        restore = self.jobs.store.restores.get(key)
        if restore is None or restore.deleting:
            return Requeue.never()
        if restore.status.get("phase") in FINISHED:
            return await self.jobs.clean_up(restore.uid, INTERVAL)
        shop = shop_key(restore)
        if shop not in self.shops.platforms and self.shops.is_of_another(shop):
            return Requeue.never()
        async with reading_again(self.jobs.client, self.shops, shop):
            outcome = await self._outcome_of(restore)
        await self._report(restore, outcome)
        if outcome.phase in FINISHED:
            return await self.jobs.clean_up(restore.uid, INTERVAL)
        return Requeue.after(INTERVAL)

    async def reconcile_shop(self, key: PlatformKey) -> None:
        """Continues with a shop whose PlatformRestore was deleted: one that was being opened is opened, and another one
        stays closed. Raises ApiError if it has to be retried.

        If the API server refused a write as out of date, the shop is read again first.
        """
        async with reading_again(self.jobs.client, self.shops, key):
            await self.marks.finish_deleted_restore(key)

    async def _report(self, restore: Backup, outcome: RestoreOutcome) -> None:
        restore, now = self.jobs.store.newest(restore), self.now()
        status = describe_restore(restore, outcome, now)
        if status == restore.status:
            return
        has_changed, shop = has_progressed(restore.status, outcome.phase, outcome.reason), shop_key(restore)
        if has_changed:
            involved = InvolvedObject(PLATFORM_RESTORE, restore.namespace, restore.name, restore.uid)
            self.recorder.emit_progress(shop, involved, outcome, now)
        manifest = status_manifest(restore, status)
        answer = await self.jobs.client.apply(PLATFORM_RESTORE, restore.namespace, manifest, "status")
        self.jobs.store.store_restore(observe_backup(answer))
        if has_changed:
            details = {"platform": str(shop), "restore": restore.name, "reason": str(outcome.reason)}
            logger.info(outcome.message, extra=details)

    async def _outcome_of(self, restore: Backup) -> RestoreOutcome:
        """Returns the result of a pass, also of one that found something invalid. Raises ApiError."""
        try:
            return await self._advance(restore)
        except RenderTimeoutError as error:
            phase, reason = phase_of(restore), RestoreReason.RENDER_TIMED_OUT
            if phase in BEFORE_CLOSING:
                return RestoreOutcome(phase, reason, f"{error}. The operator renders it again.")
            return await self._wait(restore, reason, f"{error}.")
        except RenderError as error:
            shop = f"EcommercePlatform {shop_key(restore).name}"
            text = f"The backup chart cannot be rendered for {shop}: {error}. Correct the spec of {shop}."
            return await self._wait(restore, RestoreReason.RENDER_FAILED, text)
        except PlatformInvalidError as error:
            return await self._wait(restore, RestoreReason.PLATFORM_INVALID, str(error))
        except InvalidSpecError as error:  # its own spec, which cannot be changed
            return await self._failed(restore, RestoreReason.RENDER_FAILED, str(error))

    async def _advance(self, restore: Backup) -> RestoreOutcome:
        """Raises ApiError, PlatformInvalidError, InvalidSpecError, RenderError."""
        phase, shop = phase_of(restore), self.shops.platforms.get(shop_key(restore))
        if phase in BEFORE_CLOSING:
            if shop is not None and self.marks.is_marked(restore, shop, RestorePhase.CLOSING):
                recorded = recorded_source(restore.status)
                return closing(recorded.backup if recorded else "", platform_uid=shop.uid)  # and it was not reported
            return await self._begin(restore, shop)
        if shop is None or shop.deleting or shop.uid != restore.status.get("platformUID"):
            reason = RestoreReason.PLATFORM_MISSING if shop is None else RestoreReason.PLATFORM_REPLACED
            if not await self._delete_job(restore):
                return RestoreOutcome(phase, reason, "The shop was deleted, and the Job is being deleted.")
            text = "The shop that was being restored was deleted: create another PlatformRestore for the shop of today."
            return RestoreOutcome(RestorePhase.FAILED, reason, text)
        if phase is RestorePhase.CLOSING:
            return await self._close(restore, shop)
        if phase is RestorePhase.RESTORING:
            return await self._follow(restore, shop)
        return await self.opener.advance(restore, shop)

    # Pending and Checking: what a restore needs, before anything is changed. Every pass checks all of it again.

    async def _begin(self, restore: Backup, shop: Platform | None) -> RestoreOutcome:
        own = parse_restore(restore.spec)
        if shop is None or shop.deleting:
            text = f"There is no EcommercePlatform {own.platform} in the namespace: create it, and the restore begins."
            return pending(RestoreReason.PLATFORM_MISSING, text)
        spec = spec_of(shop)
        last = last_restore(shop.annotations)
        if last is not None and last.name == restore.name and last.uid != restore.uid:
            text = (
                f"The shop serves what a PlatformRestore of the name {last.name} has restored: nothing is done. To "
                "restore again, create one of another name."
            )
            return RestoreOutcome(RestorePhase.FAILED, RestoreReason.ALREADY_RESTORED, text)
        if blocker := self._blocker(restore, shop, spec):
            return blocker
        source = self.source_finder.find(restore, own, spec)
        if isinstance(source, RestoreOutcome):
            return source
        if missing := await self.source_finder.missing(restore.namespace, source.target):
            return pending(RestoreReason.NO_DESTINATION, f"{missing} of the backup does not exist: create it.")
        await self._record(restore, source)
        checked = await self.checker.check(restore, shop, spec, source)
        if isinstance(checked, RestoreOutcome):
            return checked
        await self._record(restore, checked)
        if other := await self.marks.set(restore, shop, RestorePhase.CLOSING):
            return _other_restore(other)
        return closing(checked.backup, platform_uid=shop.uid)

    async def _record(self, restore: Backup, source: Source) -> None:
        """Records the backup that was chosen, before anything is done with it. Raises ApiError."""
        if source != recorded_source(self.jobs.store.newest(restore).status):
            await self._report(restore, begins_to_check(source))

    def _blocker(self, restore: Backup, shop: Platform, spec: Spec) -> RestoreOutcome | None:
        """Returns what keeps a shop from being closed and restored now."""
        if spec.observes:
            text = "The shop is observed, and nothing is done to it: set its spec.mode to Manage, and paused to false."
            return pending(RestoreReason.OBSERVED, text)
        if stop := stop_by_spec(shop):
            reason, text = stop
            return pending(reason, f"{text} The restore closes the shop by itself.")
        if is_in_steps(shop.status):
            return pending(
                RestoreReason.UPGRADING, "The shop is being upgraded: the restore begins when that has ended."
            )
        if other := self.marks.other(restore, shop):
            return _other_restore(other)
        if running := self.clients.running_jobs(shop.key):
            return pending(RestoreReason.BACKUP_RUNNING, _running_job(running[0]))
        rows = {one["name"]: one for one in shop.status.get("databases", ())}
        missing = [name for name in WITH_DATABASE if not _is_usable(rows.get(f"{name}-db", {}))]
        if missing:
            text = (
                f"These databases are not ready, or were never migrated: {', '.join(missing)}. Wait until the shop has "
                "been Ready once, or see its conditions."
            )
            return pending(RestoreReason.DATABASES_NOT_READY, text)
        return None

    # Closing: until no service has pods.

    async def _close(self, restore: Backup, shop: Platform) -> RestoreOutcome:
        is_unanswered = self.marks.is_marked(restore, shop, RestorePhase.RESTORING)  # the creation of the Job
        other = None if is_unanswered else await self.marks.set(restore, shop, RestorePhase.CLOSING)
        if other is not None:
            return _other_restore(other)
        created = self.jobs.owned_job(restore.uid, restore.namespace, restore_release(restore.name))
        due = await self._due_retry(restore, shop, created)
        if isinstance(due, RestoreOutcome):
            return due
        if outcome := await self._wait_for_clients(restore, shop, due):
            return outcome
        spec = spec_of(shop)
        source = self.source_finder.find(restore, parse_restore(restore.spec), spec)
        if isinstance(source, RestoreOutcome):
            return await self._wait(restore, source.reason, source.message)
        return await self._start(restore, shop, spec, source, due)

    async def _due_retry(
        self, restore: Backup, shop: Platform, created: Child | None
    ) -> _DueRetry | RestoreOutcome | None:
        """Returns the retry that is due; None before the first attempt.

        Otherwise returns how the restore goes on: with the Job that exists, in a pause, or not at all.
        """
        if created is None:
            failure = self._failure_without_job(restore, shop)
            return await self._retry_without_job(restore, shop, failure) if failure is not None else None
        run = await self.jobs.run(created)
        if run is None or run.succeeded or not is_restore_retried(run, inconsistent=was_inconsistent(restore, shop)):
            return begins_to_restore(created.key.id.name)  # its creation was not answered or not reported
        retry = next_retry(restore, run, self.now())
        if retry.is_too_late or self.now() < retry.at:
            return await self._pause(restore, shop, run, retry)
        return _DueRetry(Failure(failure_reason(run), run.message), retry, created)

    def _failure_without_job(self, restore: Backup, shop: Platform) -> Failure | None:
        """Returns why a restore has no Job although it has made an attempt; None before the first one.

        If this operator has deleted the Job and could not create the next one, that is why.
        """
        recorded = recorded_failure(restore.status)
        is_starting = self.marks.is_marked(restore, shop, RestorePhase.RESTORING)
        if recorded is not None and (is_starting or recorded.reason in _REFUSALS):
            return recorded
        if "job" in restore.status:
            return Failure(RestoreReason.JOB_LOST, f"The Job {restore.status['job']} does not exist any more.")
        return None

    async def _retry_without_job(self, restore: Backup, shop: Platform, failure: Failure) -> _DueRetry | RestoreOutcome:
        """Returns a retry that is due at once. After the deadline, the restore has failed."""
        retry = next_retry(restore, None, self.now())
        if retry.is_too_late:
            return await self._failed(restore, failure.reason, failure.message, shop, note=retry.note)
        return _DueRetry(failure, retry)

    async def _wait_for_clients(self, restore: Backup, shop: Platform, due: _DueRetry | None) -> RestoreOutcome | None:
        """Returns that the databases are in use, or may be; None if they are not. Raises ApiError."""
        if await self._may_have_clients(shop):
            blocker = blocker_text(shop)
            if due is not None:
                return self._wait_to_retry(shop, due, blocker)
            return closing(str(restore.status.get("backupId", "")), blocker)
        if running := self.clients.running_jobs(shop.key):
            text = _running_job(running[0])
            if due is not None:
                return self._wait_to_retry(shop, due, f" {text}")
            return RestoreOutcome(RestorePhase.CLOSING, RestoreReason.BACKUP_RUNNING, text)
        return None

    async def _may_have_clients(self, shop: Platform) -> bool:
        stored = stored_condition(shop.status, "Restoring")
        is_seen = stored is not None and stored["reason"] == ConditionReason.RESTORING
        return not is_seen or self.clients.may_start(shop.key) or await self.clients.have_pods(shop.key)

    def _wait_to_retry(self, shop: Platform, due: _DueRetry, blocker: str = "") -> RestoreOutcome:
        """Returns that a Job is created again when nothing uses the databases. It keeps the reason of the failure."""
        mark = restore_mark(shop.annotations, shop.status)
        inconsistent = mark is None or mark.may_be_inconsistent
        failure = due.failure
        text = retry_advice(failure.message, due.retry.when_unused, blocker, inconsistent=inconsistent)
        return RestoreOutcome(RestorePhase.CLOSING, failure.reason, text, failure=failure)

    async def _start(
        self, restore: Backup, shop: Platform, spec: Spec, source: Source, due: _DueRetry | None
    ) -> RestoreOutcome:
        """Creates the Job, in place of one that has failed. Raises ApiError, RenderError.

        The mark comes before the deletion, so that a later pass knows who has deleted the former Job.
        """
        name = restore_release(restore.name)
        deadline = parse_restore(restore.spec).deadline_seconds
        values = restore_values(shop, spec, source, self.installation, deadline)
        objects = await self.jobs.render_job(restore, shop.key.name, name, values)
        if other := await self.marks.set(restore, shop, RestorePhase.RESTORING):
            return _other_restore(other)
        if due is not None and due.job is not None and not await self.jobs.delete(due.job):
            await self.marks.set(restore, shop, RestorePhase.CLOSING)
            return self._wait_to_retry(shop, due)
        try:
            refusal = await self.jobs.start(objects, restore.uid)
        except ApiError as error:
            if not error.conflict:
                await self._report(restore, self._without_answer(restore, due, error))
            raise
        if refusal is None:
            return begins_to_restore(name, source)
        await self.marks.set(restore, shop, RestorePhase.CLOSING)
        failure = Failure(RestoreReason(refusal.reason), refusal.message)
        return self._wait_to_retry(shop, _DueRetry(failure, next_retry(restore, None, self.now())))

    def _without_answer(self, restore: Backup, due: _DueRetry | None, error: ApiError) -> RestoreOutcome:
        """Returns that the API server has failed to create a Job, as with an admission webhook that does not answer, or
        has given no answer, so that the Job may exist. An earlier failure stays the recorded one."""
        text, retry = not_created(error), next_retry(restore, None, self.now())
        failure = due.failure if due is not None else Failure(RestoreReason.REFUSED, text)
        advice = retry_advice(text, retry.when_unused, inconsistent=True)
        return RestoreOutcome(RestorePhase.CLOSING, RestoreReason.REFUSED, advice, failure=failure)

    # Restoring: one Job at a time, which is created again only after a failure that may pass.

    async def _follow(self, restore: Backup, shop: Platform) -> RestoreOutcome:
        name = restore_release(restore.name)
        child = self.jobs.owned_job(restore.uid, restore.namespace, name)
        if child is None:
            text = f"The Job {name} does not exist any more, and how it ended is not known."
            return await self._failed(restore, RestoreReason.JOB_LOST, text, shop)
        run = await self.jobs.run(child)
        if run is None:
            await self.marks.set(restore, shop, RestorePhase.RESTORING)
            return await self._running(child)
        if run.succeeded:
            await self.marks.set(restore, shop, RestorePhase.OPENING, inconsistent=False)
            text = "The databases are restored, and the services are being started."
            return RestoreOutcome(RestorePhase.OPENING, RestoreReason.OPENING, text, run=run)
        if not is_restore_retried(run, inconsistent=was_inconsistent(restore, shop)):
            return await self._failed(restore, failure_reason(run), run.message, shop)
        return await self._pause(restore, shop, run, next_retry(restore, run, self.now()))

    async def _running(self, child: Child) -> RestoreOutcome:
        if problem := await self.jobs.pod_problem(child):
            return RestoreOutcome(RestorePhase.RESTORING, RestoreReason.POD_NOT_STARTED, problem)
        return RestoreOutcome(RestorePhase.RESTORING, RestoreReason.RUNNING, "A pod restores the databases.")

    async def _pause(self, restore: Backup, shop: Platform, run: BackupRun, retry: Retry) -> RestoreOutcome:
        """Returns to the phase Closing after a failure that may pass: a further Job is created as the first one was,
        once no pod uses the databases. If that would be after the deadline, the restore has failed. Raises ApiError."""
        reason = failure_reason(run)
        if retry.is_too_late:
            return await self._failed(restore, reason, run.message, shop, note=retry.note)
        inconsistent = was_inconsistent(restore, shop) or reason in MAY_HAVE_CHANGED
        if other := await self.marks.set(restore, shop, RestorePhase.CLOSING, inconsistent=inconsistent):
            return _other_restore(other)
        text = retry_advice(run.message, str(retry), inconsistent=inconsistent)
        return RestoreOutcome(RestorePhase.CLOSING, reason, text, failure=Failure(reason, run.message))

    # Shared by several phases.

    async def _wait(self, restore: Backup, reason: RestoreReason, message: str) -> RestoreOutcome:
        """Returns that a restore waits until a person has corrected something.

        One that has closed its shop has failed after the deadline of its spec. Raises ApiError.
        """
        phase = phase_of(restore)
        if phase in BEFORE_CLOSING:
            return pending(reason, message)
        now = self.now()
        deadline = deadline_of(restore, now)
        if now >= deadline:
            note = f"It was not corrected until {deadline.strftime(TIME_FORMAT)}, the end of spec.deadlineSeconds."
            return await self._failed(restore, reason, message, note=note)
        return RestoreOutcome(phase, reason, waiting_advice(message, deadline))

    async def _failed(
        self, restore: Backup, reason: RestoreReason, message: str, shop: Platform | None = None, note: str = ""
    ) -> RestoreOutcome:
        """Returns the end of a restore that has failed. A shop that it has closed stays closed. The `note` is a
        sentence that says why it is not retried. Raises ApiError."""
        key = shop_key(restore)
        shop = shop or self.shops.platforms.get(key)
        if phase_of(restore) in BEFORE_CLOSING or shop is None:
            return RestoreOutcome(RestorePhase.FAILED, reason, message)
        mark, inconsistent = restore_mark(shop.annotations, shop.status), was_inconsistent(restore, shop)
        if phase_of(restore) is RestorePhase.RESTORING:
            inconsistent = inconsistent or reason in MAY_HAVE_CHANGED
        elif mark is not None:  # the creation of a Job may have had no answer
            inconsistent = mark.may_be_inconsistent
        await self.marks.set(restore, shop, RestorePhase.FAILED, inconsistent=inconsistent)
        text = failure_advice(key, message, note, inconsistent=inconsistent)
        return RestoreOutcome(RestorePhase.FAILED, reason, text)

    async def _delete_job(self, restore: Backup) -> bool:
        """Deletes the Job of a restore whose shop is gone: a later shop of the name may have the databases of it.

        Returns whether it is gone. Raises ApiError.
        """
        child = self.jobs.owned_job(restore.uid, restore.namespace, restore_release(restore.name))
        return child is None or await self.jobs.delete(child)


def _running_job(job: str) -> str:
    return f"Job {job} still uses the databases: the restore begins when it has ended."


def _other_restore(mark: RestoreMark) -> RestoreOutcome:
    text = f"PlatformRestore {mark.name} restores the shop: this one begins when that has ended."
    return pending(RestoreReason.OTHER_RESTORE, text)


def _is_usable(row: Mapping[str, object]) -> bool:
    """Returns whether a database serves, and has been migrated, which has made the role of its service."""
    return bool(row.get("ready")) and "migratedAt" in row
