"""Reconciles PlatformRestores: checks the backup, closes the shop, restores once, opens the shop, checks invariants.

Each step is recorded before the next one begins: in the status, and for the reconciler of the shop in an annotation of
the shop (docs/adr/0071). So any pass may be the last one of a process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from platform_operator.api.backups import (
    PLATFORM_RESTORE,
    BackupPhase,
    PlatformRestoreSpec,
    RestorePhase,
    RestoreReason,
    parse_backup,
    parse_restore,
)
from platform_operator.api.conditions import ConditionReason, is_met, stored_condition
from platform_operator.api.kinds import (
    CHILD_KINDS,
    FIELD_MANAGER,
    LABEL_COMPONENT,
    LABEL_INSTANCE,
    LABEL_PLATFORM,
    PLATFORM,
    POD,
    VOLUME_CLAIM,
    Manifest,
    ObjectId,
    ObjectKey,
    PlatformKey,
    owner_reference,
)
from platform_operator.api.restore_marks import ANNOTATION_RESTORE, RestoreMark, last_restore, restore_mark
from platform_operator.api.spec import SERVICES, WITH_DATABASE, Spec, parse
from platform_operator.backups.jobs import BackupJobs, JobRefusal
from platform_operator.backups.objects import (
    CRON_JOB,
    JOB,
    Source,
    Target,
    check_release,
    check_values,
    children,
    named_job,
    policy_target,
    restore_release,
    restore_values,
    target_digest,
    target_of,
)
from platform_operator.backups.observed import UNKNOWN, Backup, Child, observe_backup
from platform_operator.backups.restore_status import (
    MAY_HAVE_CHANGED,
    RestoreOutcome,
    describe_restore,
    failure_advice,
    refusal_advice,
    status_manifest,
)
from platform_operator.backups.store import backup_key, restore_key
from platform_operator.cache.observed import JobProgress, Platform, observe_platform
from platform_operator.cache.store import Cache
from platform_operator.errors import ApiError, InvalidSpecError, RenderError, RenderTimeoutError
from platform_operator.invariants.scrape_results import UNKNOWN_AFTER, ScrapeResult
from platform_operator.plan.hibernation import is_closed, is_in_steps, services_are_stopped
from platform_operator.render.values import ChartValues, Installation
from platform_operator.status.backups import BackupRun
from platform_operator.workqueue import Requeue

logger = logging.getLogger(__name__)

MARK_MANAGER = f"{FIELD_MANAGER}-restore"
"""The field manager of the annotation alone, so that setting or removing it changes no other field."""
INTERVAL = 5.0
"""Seconds between two looks at a restore: no event announces the end of a pod, and the shop is closed until then."""
_USES_DATABASES = ("create", "restore")
"""Commands. The command verify reads the backup alone."""
LOOK_AGAIN = 1.0
"""Seconds until a pass is repeated whose view of the shop was old."""
CONFLICT = 409
FINISHED = (RestorePhase.SUCCEEDED, RestorePhase.FAILED)
_BEFORE_CLOSING = (RestorePhase.PENDING, RestorePhase.CHECKING)
"""The phases before a restore closes the shop. An earlier restore may have left it closed."""


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
    """Called when the annotation of a platform has changed, which its reconciler acts on: the cache has it already, so
    that the watch reports nothing new."""

    async def reconcile(self, key: ObjectKey) -> Requeue:
        """Makes a pass over a PlatformRestore. Raises ApiError if it has to be retried."""
        restore = self.jobs.store.restores.get(key)
        if restore is None or restore.deleting:
            return Requeue.never()
        if restore.status.get("phase") in FINISHED:
            await self.jobs.delete_policies(restore.uid)
            return Requeue.never()
        shop_key = _shop_key(restore)
        if shop_key not in self.shops.platforms and self.shops.is_of_another(shop_key):
            return Requeue.never()
        try:
            outcome = await self._advance(restore)
        except ApiError as error:
            if error.status != CONFLICT:
                raise
            return Requeue.after(LOOK_AGAIN)
        except RenderTimeoutError as error:
            outcome = RestoreOutcome(
                _phase(restore), RestoreReason.RENDER_TIMED_OUT, f"{error}. The operator renders it again."
            )
        except (InvalidSpecError, RenderError) as error:
            outcome = await self._failed(restore, RestoreReason.RENDER_FAILED, str(error))
        await self._report(restore, outcome)
        if outcome.phase in FINISHED:
            await self.jobs.delete_policies(restore.uid)
            return Requeue.never()
        return Requeue.after(INTERVAL)

    async def reconcile_shop(self, key: PlatformKey) -> None:
        """Continues with a shop whose PlatformRestore was deleted: one that was being opened is opened, and another one
        stays closed. Raises ApiError if it has to be retried."""
        try:
            await self._lead_on(key)
        except ApiError as error:
            if error.status != CONFLICT:  # else the watch brings the newer shop, and another pass
                raise

    async def _lead_on(self, key: PlatformKey) -> None:
        shop = self.shops.platforms.get(key)
        mark = restore_mark(shop.annotations, shop.status) if shop is not None and not shop.deleting else None
        if shop is None or mark is None or self._has_restore(shop, mark):
            return
        if mark.phase is RestorePhase.OPENING:
            if _is_open(shop):
                await self._record_success(shop, mark)
        elif mark.phase is not RestorePhase.FAILED:
            failed = RestoreMark(mark.name, mark.uid, RestorePhase.FAILED, mark.may_be_mixed)
            await self._write_mark(shop, failed, shop.uid)

    def _has_restore(self, shop: Platform, mark: RestoreMark) -> bool:
        """Returns whether the PlatformRestore of the shop still exists. The one that closed it repairs its mark."""
        if mark.uid:
            one = self.jobs.store.restores.get(restore_key(shop.key.namespace, mark.name))
            return one is not None and one.uid == mark.uid
        closers = (one for one in self.jobs.store.restores.values() if one.status.get("platformUID") == shop.uid)
        return any(_phase(one) not in (*_BEFORE_CLOSING, *FINISHED) for one in closers)

    async def _report(self, restore: Backup, outcome: RestoreOutcome) -> None:
        status = describe_restore(restore, outcome, self.now())
        if status == restore.status:
            return
        manifest = status_manifest(restore, status)
        answer = await self.jobs.client.apply(PLATFORM_RESTORE, restore.namespace, manifest, "status")
        self.jobs.store.store_restore(observe_backup(answer))
        if outcome.reason == _reason(restore.status):
            return
        details = {"platform": str(_shop_key(restore)), "restore": restore.name, "reason": str(outcome.reason)}
        logger.info(outcome.message, extra=details)

    async def _advance(self, restore: Backup) -> RestoreOutcome:
        """Raises ApiError, InvalidSpecError, RenderError."""
        phase, shop = _phase(restore), self.shops.platforms.get(_shop_key(restore))
        if phase in _BEFORE_CLOSING:
            if shop is not None and self._is_marked(restore, shop, RestorePhase.CLOSING):
                return await self._closing(restore, shop)  # it was marked, and that was not reported
            return await self._begin(restore, shop)
        if shop is None or shop.deleting or shop.uid != restore.status.get("platformUID"):
            await self._delete_job(restore)
            reason = RestoreReason.PLATFORM_MISSING if shop is None else RestoreReason.PLATFORM_REPLACED
            text = "The shop that was being restored was deleted: create another PlatformRestore for the shop of today."
            return RestoreOutcome(RestorePhase.FAILED, reason, text)
        if phase is RestorePhase.CLOSING:
            return await self._close(restore, shop)
        if phase is RestorePhase.RESTORING:
            return await self._follow(restore, shop)
        return await self._open(restore, shop)

    # Pending and Checking: what a restore needs, before anything is changed. Every pass checks all of it again.

    async def _begin(self, restore: Backup, shop: Platform | None) -> RestoreOutcome:
        own = parse_restore(restore.spec)
        if shop is None or shop.deleting:
            text = f"There is no EcommercePlatform {own.platform} in the namespace: create it, and the restore begins."
            return _pending(RestoreReason.PLATFORM_MISSING, text)
        try:
            spec = parse(shop.spec)
        except InvalidSpecError as error:
            text = f"The spec of the shop is invalid: {error}. Correct it."
            return _pending(RestoreReason.PLATFORM_INVALID, text)
        last = last_restore(shop.annotations)
        if last is not None and last.name == restore.name and last.uid != restore.uid:
            text = (
                f"The shop serves what a PlatformRestore of the name {last.name} has restored: nothing is done. To "
                "restore again, create one of another name."
            )
            return RestoreOutcome(RestorePhase.FAILED, RestoreReason.ALREADY_RESTORED, text)
        if obstacle := self._obstacle(restore, shop, spec):
            return obstacle
        source = self._source(restore, own, spec)
        if isinstance(source, RestoreOutcome):
            return source
        if missing := await self._missing(restore.namespace, source.target):
            return _pending(RestoreReason.NO_DESTINATION, f"{missing} of the backup does not exist: create it.")
        if unchecked := await self._check(restore, shop, spec, source):
            return unchecked
        if other := await self._mark(restore, shop, RestorePhase.CLOSING):
            return _other_restore(other)
        return await self._closing(restore, shop)

    async def _closing(self, restore: Backup, shop: Platform) -> RestoreOutcome:
        """Reports that the shop is being closed, and which backup the check has found, if its Job still exists."""
        child = self._job(restore, check_release(restore.name))
        run = await self.jobs.run(child) if child else None
        return RestoreOutcome(
            RestorePhase.CLOSING, RestoreReason.CLOSING, "The services are being stopped.", platform_uid=shop.uid,
            backup=run.backup if run and run.backup != UNKNOWN else "",
        )  # fmt: skip

    def _obstacle(self, restore: Backup, shop: Platform, spec: Spec) -> RestoreOutcome | None:
        """Returns what keeps a shop from being closed and restored now."""
        if spec.observes:
            text = "The shop is observed, and nothing is done to it: set its spec.mode to Manage, and paused to false."
            return _pending(RestoreReason.OBSERVED, text)
        if spec.hibernated:
            text = (
                "The shop is hibernated, and its databases are stopped: set spec.hibernated of it to false, or "
                "spec.suspended of its Tenant."
            )
            return _pending(RestoreReason.HIBERNATED, text)
        if is_in_steps(shop.status):
            return _pending(
                RestoreReason.UPGRADING, "The shop is being upgraded: the restore begins when that has ended."
            )
        if other := self._other(restore, shop):
            return _other_restore(other)
        if running := self._running_backups(shop.key):
            return _pending(RestoreReason.BACKUP_RUNNING, _running_backup(running[0]))
        rows = {one["name"]: one for one in shop.status.get("databases", ())}
        missing = [name for name in WITH_DATABASE if not _is_usable(rows.get(f"{name}-db", {}))]
        if missing:
            text = (
                f"These databases are not ready, or were never migrated: {', '.join(missing)}. Wait until the shop has "
                "been Ready once, or see its conditions."
            )
            return _pending(RestoreReason.DATABASES_NOT_READY, text)
        return None

    def _other(self, restore: Backup, shop: Platform) -> RestoreMark | None:
        """Returns the mark of another PlatformRestore that has not ended, and so has the shop.

        One whose shop cannot be opened is replaced by the next one.
        """
        mark = restore_mark(shop.annotations, shop.status)
        if mark is None or mark.uid == restore.uid or _does_not_open(shop, mark):
            return None
        other = self.jobs.store.restores.get(restore_key(restore.namespace, mark.name))
        if other is None or other.uid == restore.uid or mark.uid not in ("", other.uid):
            return None
        return None if other.status.get("phase") in FINISHED else mark

    def _source(self, restore: Backup, own: PlatformRestoreSpec, spec: Spec) -> Source | RestoreOutcome:
        """Returns the backup that is to be restored, or why it is not known. Raises InvalidSpecError."""
        policy = spec.backup
        if own.source is not None:
            place = own.source
            target = policy_target(policy) if policy else None
            if place.destination is not None and place.encryption_key_secret_ref is not None:
                target = Target(place.destination, place.encryption_key_secret_ref.name)
            return self._found(target, place.shop or f"{restore.namespace}/{own.platform}", place.id or "")
        backup = self.jobs.store.backups.get(backup_key(restore.namespace, own.backup or ""))
        if backup is None:
            text = f"There is no PlatformBackup {own.backup} in the namespace: create a PlatformRestore with source, "
            return _pending(RestoreReason.BACKUP_MISSING, text + "which names the place of the backup.")
        if backup.status.get("phase") != BackupPhase.SUCCEEDED or not backup.status.get("backupId"):
            phase = backup.status.get("phase", BackupPhase.PENDING)
            text = f"PlatformBackup {own.backup} is {phase}: the restore begins when it is "
            return _pending(RestoreReason.BACKUP_NOT_COMPLETE, text + "Succeeded; create another for another backup.")
        if backup.status["backupId"] == UNKNOWN:
            text = f"The id of PlatformBackup {own.backup} is not known, since its pod did not report it: create a "
            return _pending(RestoreReason.BACKUP_MISSING, text + "PlatformRestore with source.id.")
        made = parse_backup(backup.spec)
        maker = self.shops.platforms.get(PlatformKey(restore.namespace, made.platform))
        makers = parse(maker.spec).backup if maker else None
        target, maker_name = target_of(made, makers), f"{restore.namespace}/{made.platform}"
        if made.destination is None and _is_another(target, maker, backup):
            text = (
                f"PlatformBackup {own.backup} is of a former shop, or of another destination or "
                "key than spec.backup has today: create a PlatformRestore with source.id "
                f"{backup.status['backupId']}, and with the destination and the key of that time."
            )
            return _pending(RestoreReason.BACKUP_MISSING, text)
        return self._found(target, maker_name, backup.status["backupId"])

    def _found(self, target: Target | None, shop: str, backup: str) -> Source | RestoreOutcome:
        if target is not None:
            return Source(target, shop, backup)
        text = (
            "Neither this PlatformRestore nor spec.backup of the shop says where the backup is: set spec.backup, or "
            "create a PlatformRestore with source.destination and source.encryptionKeySecretRef."
        )
        return _pending(RestoreReason.NO_DESTINATION, text)

    async def _missing(self, namespace: str, target: Target) -> str:
        """Returns the Secret or PersistentVolumeClaim of the backup that does not exist; empty if all exist.

        A pod would wait for it. Raises ApiError.
        """
        s3, volume = target.destination.s3, target.destination.volume
        needed = [(CHILD_KINDS["Secret"], target.key_secret)]
        needed += [(CHILD_KINDS["Secret"], s3.secret_ref.name)] if s3 else []
        needed += [(VOLUME_CLAIM, volume.claim_name)] if volume else []
        for kind, name in needed:
            if await self.jobs.client.get(kind, namespace, name) is None:
                return f"{kind.kind} {name}"
        return ""

    async def _check(self, restore: Backup, shop: Platform, spec: Spec, source: Source) -> RestoreOutcome | None:
        """Checks the backup by a Job, which is created again if it was lost. Returns None when it has succeeded.

        Raises ApiError, RenderError.
        """
        child = self._job(restore, check_release(restore.name))
        if child is None:
            return await self._start_check(restore, shop, spec, source)
        run = await self.jobs.run(child)
        if run is None:
            problem = await self.jobs.pod_problem(child)
            reason = RestoreReason.POD_NOT_STARTED if problem else RestoreReason.CHECKING_BACKUP
            return RestoreOutcome(RestorePhase.CHECKING, reason, problem or "A pod checks the backup.")
        if run.succeeded:
            return None
        return RestoreOutcome(RestorePhase.FAILED, _failure(run), refusal_advice(run.message, closed=is_closed(shop)))

    async def _start_check(self, restore: Backup, shop: Platform, spec: Spec, source: Source) -> RestoreOutcome:
        values = check_values(shop, spec, source, self.installation)
        objects = await self._render(restore, shop, check_release(restore.name), values)
        refusal = await self.jobs.start(objects, restore.uid)
        if refusal is None:
            text = "The backup is checked before the shop is closed."
            return RestoreOutcome(RestorePhase.CHECKING, RestoreReason.CHECKING_BACKUP, text)
        return _pending(_refused(refusal), refusal.message)

    # Closing: until no service has pods.

    async def _close(self, restore: Backup, shop: Platform) -> RestoreOutcome:
        is_unanswered = self._is_marked(restore, shop, RestorePhase.RESTORING)  # the creation of the Job
        other = None if is_unanswered else await self._mark(restore, shop, RestorePhase.CLOSING)
        if other is not None:
            return _other_restore(other)
        name = restore_release(restore.name)
        if self._job(restore, name) is not None:  # it was created, and that was not answered or not reported
            return RestoreOutcome(RestorePhase.RESTORING, RestoreReason.RUNNING, "The restore begins.", job=name)
        stored = stored_condition(shop.status, "Restoring")
        is_seen = stored is not None and stored["reason"] == ConditionReason.RESTORING
        if not is_seen or self._may_start_pods(shop.key) or await self._has_pods(shop.key):
            return RestoreOutcome(
                RestorePhase.CLOSING, RestoreReason.CLOSING, f"The services are being stopped.{_hold(shop)}"
            )
        if running := self._running_backups(shop.key):
            return RestoreOutcome(RestorePhase.CLOSING, RestoreReason.BACKUP_RUNNING, _running_backup(running[0]))
        own, spec = parse_restore(restore.spec), parse(shop.spec)
        source = self._source(restore, own, spec)
        if isinstance(source, RestoreOutcome):
            return await self._failed(restore, source.reason, source.message)
        found = restore.status.get("backupId", source.backup)  # the one that was checked, even if there is a newer one
        return await self._start(restore, shop, spec, replace(source, backup=found))

    def _may_start_pods(self, key: PlatformKey) -> bool:
        """Returns whether a controller may still start a pod that uses a database: the pass over the shop that should
        have stopped them may have failed."""
        observed = self.shops.children(key)
        jobs = (one.state for one in observed.values() if isinstance(one.state, JobProgress))
        crons = (one for one in self.jobs.store.children.values() if one.key.id.kind == CRON_JOB.kind)
        own = (one for one in crons if (one.key.namespace, one.platform) == (key.namespace, key.name))
        return (
            not services_are_stopped(observed)
            or any(not (one.complete or one.failure) for one in jobs)
            or any(not one.suspended for one in own)
        )

    async def _has_pods(self, key: PlatformKey) -> bool:
        """Returns whether a pod of a service, a migration or a backup may use a database: that of a deleted Job may
        still run. One on a node that does not answer is past its end, and counts no longer: the restore itself
        refuses databases with other connections."""
        parts = ",".join([*SERVICES, *(f"{name}-migrate" for name in SERVICES)])
        for selector in (
            f"{LABEL_INSTANCE}={key.name},{LABEL_COMPONENT} in ({parts})",
            f"{LABEL_PLATFORM}={key.name},{LABEL_COMPONENT}=backup",
        ):
            pods, _ = await self.jobs.client.list(POD, key.namespace, selector)
            if any(_runs(one, self.now()) for one in pods):
                return True
        return False

    def _running_backups(self, key: PlatformKey) -> list[str]:
        """Returns the Jobs of a shop that use its databases and have not ended."""
        jobs = (
            one
            for one in self.jobs.store.children.values()
            if one.job and one.job.command in _USES_DATABASES and one.job.ended is None
        )
        return [one.key.id.name for one in jobs if (one.key.namespace, one.platform) == (key.namespace, key.name)]

    async def _start(self, restore: Backup, shop: Platform, spec: Spec, source: Source) -> RestoreOutcome:
        name = restore_release(restore.name)
        deadline = parse_restore(restore.spec).deadline_seconds
        values = restore_values(shop, spec, source, self.installation, deadline)
        objects = await self._render(restore, shop, name, values)
        if other := await self._mark(restore, shop, RestorePhase.RESTORING):
            return _other_restore(other)
        refusal = await self.jobs.start(objects, restore.uid)
        if refusal is None:
            return RestoreOutcome(RestorePhase.RESTORING, RestoreReason.RUNNING, "The restore begins.", job=name)
        await self._mark(restore, shop, RestorePhase.CLOSING)
        return RestoreOutcome(RestorePhase.CLOSING, _refused(refusal), refusal.message)

    async def _render(self, restore: Backup, shop: Platform, name: str, values: ChartValues) -> list[Manifest]:
        """Returns the Job of this name and its policies. Raises RenderError."""
        rendered = await self.jobs.render(PlatformKey(restore.namespace, name), values)
        owner = owner_reference(PLATFORM_RESTORE, restore.name, restore.uid)
        return children(named_job(rendered, name), restore.namespace, shop.key.name, owner)

    # Restoring: one Job, which is never started again.

    async def _follow(self, restore: Backup, shop: Platform) -> RestoreOutcome:
        name = restore_release(restore.name)
        child = self._job(restore, name)
        if child is None:
            text = f"The Job {name} does not exist any more, and how it ended is not known."
            return await self._failed(restore, RestoreReason.JOB_LOST, text, shop)
        run = await self.jobs.run(child)
        if run is None:
            await self._mark(restore, shop, RestorePhase.RESTORING)
            return await self._running(child)
        if not run.succeeded:
            return await self._failed(restore, _failure(run), run.message, shop)
        await self._mark(restore, shop, RestorePhase.OPENING, mixed=False)
        text = "The databases are restored, and the services are being started."
        return RestoreOutcome(RestorePhase.OPENING, RestoreReason.OPENING, text, run=run)

    def _job(self, restore: Backup, name: str) -> Child | None:
        """Returns the Job of this name, if it is that of the restore."""
        key = ObjectKey(restore.namespace, ObjectId(JOB.kind, name))
        child = self.jobs.store.children.get(key)
        return child if child is not None and child.job is not None and restore.uid in child.owners else None

    async def _running(self, child: Child) -> RestoreOutcome:
        if problem := await self.jobs.pod_problem(child):
            return RestoreOutcome(RestorePhase.RESTORING, RestoreReason.POD_NOT_STARTED, problem)
        return RestoreOutcome(RestorePhase.RESTORING, RestoreReason.RUNNING, "A pod restores the databases.")

    # Opening: until the shop serves, and each service has looked at its invariants.

    async def _open(self, restore: Backup, shop: Platform) -> RestoreOutcome:
        mark = restore_mark(shop.annotations, shop.status)
        if mark is not None and not mark.uid:  # it was removed before the reconciler had seen it
            await self._mark(restore, shop, RestorePhase.OPENING, mixed=False)
            return RestoreOutcome(RestorePhase.OPENING, RestoreReason.OPENING, "The services are being started.")
        if mark is not None and mark.uid != restore.uid:
            text = (
                f"The databases were restored, and PlatformRestore {mark.name} replaces them before the shop was open."
            )
            return RestoreOutcome(RestorePhase.FAILED, RestoreReason.OTHER_RESTORE, text)
        if self._is_marked(restore, shop, RestorePhase.OPENING) and not _is_open(shop):
            ready = stored_condition(shop.status, "Ready")
            said = f" {ready['message']}" if _is_reopening(shop) and ready else ""
            text = f"The databases are restored, and the services are being started.{_hold(shop) or said}"
            return RestoreOutcome(RestorePhase.OPENING, RestoreReason.OPENING, text)
        broken = _broken_invariants(self.scrape_results(shop.key))
        if broken is None and self._is_overdue(restore):
            await self._end(restore, shop)
            text = (
                "The shop serves what was restored. Not all services report their invariants: "
                "kubectl ecommerce invariants shows which."
            )
            return RestoreOutcome(RestorePhase.SUCCEEDED, RestoreReason.SUCCEEDED, text, invariants="unknown")
        if broken is None:
            text = "The shop serves, and its services check their invariants."
            return RestoreOutcome(RestorePhase.OPENING, RestoreReason.CHECKING_INVARIANTS, text)
        await self._end(restore, shop)
        if broken:
            text = (
                f"The shop serves what was restored. Broken invariants: {', '.join(broken)}. The services compare what "
                "they know and correct the most of it within minutes: kubectl ecommerce invariants shows what is left."
            )
            return RestoreOutcome(
                RestorePhase.SUCCEEDED, RestoreReason.INVARIANT_BROKEN, text, invariants=f"{len(broken)} broken"
            )
        text = "The shop serves what was restored, and all invariants hold."
        return RestoreOutcome(RestorePhase.SUCCEEDED, RestoreReason.SUCCEEDED, text, invariants="all hold")

    def _is_overdue(self, restore: Backup) -> bool:
        """Returns whether the services have had the time to check their invariants since the shop serves."""
        closed = restore.status.get("closedSeconds")
        if closed is None:
            return False
        served = datetime.fromisoformat(restore.status["startTime"]) + timedelta(seconds=closed)
        return self.now() - served >= timedelta(seconds=UNKNOWN_AFTER)

    # Shared by several phases.

    async def _failed(
        self, restore: Backup, reason: RestoreReason, message: str, shop: Platform | None = None
    ) -> RestoreOutcome:
        """Returns the end of a restore that has failed. A shop that it has closed stays closed. Raises ApiError."""
        key = _shop_key(restore)
        shop = shop or self.shops.platforms.get(key)
        if _phase(restore) in _BEFORE_CLOSING or shop is None:
            return RestoreOutcome(RestorePhase.FAILED, reason, message)
        mark, mixed = restore_mark(shop.annotations, shop.status), _was_mixed(restore, shop)
        if _phase(restore) is RestorePhase.RESTORING:
            mixed = mixed or reason in MAY_HAVE_CHANGED
        elif mark is not None:  # the creation of a Job may have had no answer
            mixed = mark.may_be_mixed
        await self._mark(restore, shop, RestorePhase.FAILED, mixed=mixed)
        return RestoreOutcome(RestorePhase.FAILED, reason, failure_advice(key, message, mixed=mixed))

    async def _delete_job(self, restore: Backup) -> None:
        """Deletes the Job of a restore whose shop is gone: a later shop of the name may have the databases of it."""
        if (child := self._job(restore, restore_release(restore.name))) is not None:
            await self.jobs.delete(child)

    def _is_marked(self, restore: Backup, shop: Platform, phase: RestorePhase) -> bool:
        mark = restore_mark(shop.annotations, shop.status)
        return mark is not None and (mark.uid, mark.phase) == (restore.uid, phase)

    async def _mark(
        self, restore: Backup, shop: Platform, phase: RestorePhase, *, mixed: bool | None = None
    ) -> RestoreMark | None:
        """Sets the annotation that closes or opens the shop. If another restore has the shop, returns that one's mark.

        `mixed` says whether the databases may be inconsistent; None keeps what the mark says. Raises ApiError.
        """
        newest = self.shops.platforms.get(shop.key, shop)
        if other := self._other(restore, newest):
            return other
        mark = RestoreMark(restore.name, restore.uid, phase, _was_mixed(restore, newest) if mixed is None else mixed)
        if restore_mark(newest.annotations, newest.status) != mark:
            await self._write_mark(newest, mark, shop.uid)
        return None

    async def _end(self, restore: Backup, shop: Platform) -> None:
        mark = restore_mark(shop.annotations, shop.status)
        if mark is not None and mark.uid == restore.uid:
            await self._record_success(shop, mark)

    async def _record_success(self, shop: Platform, mark: RestoreMark) -> None:
        """Leaves the name of the restore in the shop, so that one that is created again does not restore again."""
        await self._write_mark(shop, RestoreMark(mark.name, mark.uid, RestorePhase.SUCCEEDED), shop.uid)

    async def _write_mark(self, shop: Platform, mark: RestoreMark, uid: str) -> None:
        """Applies the annotation. Fails with 409 if the platform was written since it was read, so that of two restores
        one gets the shop, or if that of `uid` is gone: it is not created again. Raises ApiError."""
        metadata = {
            "name": shop.key.name,
            "uid": uid,
            "resourceVersion": str(shop.version),
            "annotations": {ANNOTATION_RESTORE: str(mark)},
        }
        manifest = {"apiVersion": PLATFORM.api_version, "kind": PLATFORM.kind, "metadata": metadata}
        answer = await self.jobs.client.apply(PLATFORM, shop.key.namespace, manifest, manager=MARK_MANAGER)
        self.shops.store_platform(observe_platform(answer))
        self.shop_changed(shop.key)


def _shop_key(restore: Backup) -> PlatformKey:
    return PlatformKey(restore.namespace, str(restore.spec.get("platform", "")))


def _is_open(shop: Platform) -> bool:
    """Returns whether a shop serves what was restored."""
    return _is_reopening(shop) and is_met(shop.status, "Ready")


def _hold(shop: Platform) -> str:
    """Returns what keeps the reconciler of a shop from stopping and starting its services; empty if nothing does."""
    if shop.spec.get("paused") or shop.spec.get("mode") == "Observe":
        return " But the shop is observed: set its spec.mode to Manage, and paused to false."
    return ""


def _does_not_open(shop: Platform, mark: RestoreMark) -> bool:
    return mark.phase is RestorePhase.OPENING and _is_reopening(shop) and is_met(shop.status, "Degraded")


def _is_reopening(shop: Platform) -> bool:
    """Returns whether the reconciler of a shop opens it: its other conditions are not those of before."""
    stored = stored_condition(shop.status, "Restoring")
    return stored is not None and stored["reason"] == ConditionReason.REOPENING


def _is_another(target: Target | None, maker: Platform | None, backup: Backup) -> bool:
    """Returns whether a PlatformBackup has another target than spec.backup. One of an earlier release has no digest."""
    digest = backup.status.get("targetDigest")
    return bool(digest and target and maker and digest != target_digest(maker.uid, target))


def _reason(status: Mapping[str, Any]) -> str | None:
    stored = stored_condition(status, "Complete")
    return stored["reason"] if stored else None


def _phase(restore: Backup) -> RestorePhase:
    return RestorePhase(restore.status.get("phase", RestorePhase.PENDING))


def _was_mixed(restore: Backup, shop: Platform) -> bool:
    """Returns whether the databases may be inconsistent because of another restore than this one."""
    mark = restore_mark(shop.annotations, shop.status)
    return mark is not None and (mark.mixed if mark.uid == restore.uid else mark.may_be_mixed)


def _running_backup(job: str) -> str:
    return f"The backup {job} still reads the databases: the restore begins when it has ended."


def _other_restore(mark: RestoreMark) -> RestoreOutcome:
    text = f"PlatformRestore {mark.name} restores the shop: this one begins when that has ended."
    return _pending(RestoreReason.OTHER_RESTORE, text)


def _refused(refusal: JobRefusal) -> RestoreReason:
    return RestoreReason.NAME_TAKEN if refusal.name_taken else RestoreReason.REFUSED


def _failure(run: BackupRun) -> RestoreReason:
    """Returns the reason of a Job that has failed."""
    return RestoreReason(run.reason) if run.reason in set(RestoreReason) else RestoreReason.JOB_FAILED


def _pending(reason: RestoreReason, message: str) -> RestoreOutcome:
    return RestoreOutcome(RestorePhase.PENDING, reason, message)


def _is_usable(row: Mapping[str, object]) -> bool:
    """Returns whether a database serves, and has been migrated, which has made the role of its service."""
    return bool(row.get("ready")) and "migratedAt" in row


def _runs(pod: Manifest, now: datetime) -> bool:
    end = pod["metadata"].get("deletionTimestamp")
    is_over = end is not None and datetime.fromisoformat(end) <= now
    return not is_over and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")


def _broken_invariants(results: Mapping[str, ScrapeResult]) -> list[str] | None:
    """Returns the invariants that the services report as broken; None until each has checked its own."""
    metrics = {name: results[name].metrics for name in WITH_DATABASE if name in results}
    checked = {name: one for name, one in metrics.items() if one is not None and one.checked}
    if len(checked) < len(WITH_DATABASE):
        return None
    return [
        f"{invariant} of {name} ({_rows(count)})"
        for name, one in checked.items()
        for invariant, count in one.violations.items()
        if count
    ]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
