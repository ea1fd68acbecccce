"""The conditions Ready, Progressing and Degraded, from the result of a pass, and MailConfigured. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from platform_operator.api.backups import RestorePhase
from platform_operator.api.conditions import Condition, ConditionReason, stored_condition
from platform_operator.api.kinds import ANNOTATION_ADOPT, CHILD_KINDS, ObjectId, PlatformKey
from platform_operator.api.restore_marks import RestoreMark
from platform_operator.api.spec import SERVICES, Spec
from platform_operator.cache.observed import ObservedObject
from platform_operator.errors import (
    ApiError,
    MasterKeyChangedError,
    MasterKeyMissingError,
    OperatorError,
    RenderError,
    UnexpectedError,
)
from platform_operator.plan.data_loss import ANNOTATION_ACCEPT_DATA_LOSS, MigrationTimes, loss_id
from platform_operator.plan.field_fights import FieldFight
from platform_operator.plan.fleet import Target
from platform_operator.plan.hibernation import Hibernation, is_in_steps, was_stopped_by
from platform_operator.plan.planner import Plan
from platform_operator.plan.prune_guard import ANNOTATION_ALLOW_PRUNE, GUARDED_KINDS, prune_id
from platform_operator.plan.readiness import Blocker, NameConflict, Refusal
from platform_operator.plan.upgrades import Upgrade
from platform_operator.secrets.named_secrets import SecretState, problems
from platform_operator.secrets.rotation import RotationReport

PROGRESS_DEADLINE = timedelta(minutes=5)
"""The time that an object may take to become ready before the platform counts as degraded."""


NAMESPACE_TEXT = "The namespace is being deleted, and the shop with it: nothing is created in it."


@dataclass(frozen=True)
class PassResult:
    """The result of one pass over a platform.

    It has no plan if it failed before it made one.
    """

    plan: Plan | None = None
    refusals: tuple[Refusal, ...] = ()
    name_conflicts: tuple[NameConflict, ...] = ()
    error: OperatorError | None = None
    blocked_for: Mapping[ObjectId, timedelta] = field(default_factory=dict)
    """The time for which each blocker has not been ready."""
    secrets: tuple[SecretState, ...] | None = None
    """The Secrets that the spec names. None if the pass ended before they were read."""
    fights: tuple[FieldFight, ...] | None = ()
    """The objects over which another writer fights. None if that is not known yet."""
    rotation: RotationReport | None = None
    """The rotations of credentials. None if the pass ended before they were looked at."""
    target: Target | None = None
    """The release that the shop is to run. None if the pass ended before it was chosen."""
    upgrade: Upgrade | None = None
    """The upgrade to that release, or the one that has failed."""
    holds: bool = False
    """True if the objects stay as they were applied, until the shop gets the operator's release."""
    diagnosis: str = ""
    """The problem that the pods of `degraded_part` report."""
    hibernation: Hibernation = Hibernation.NONE
    """What has no pods."""
    services_stopped: bool = False
    """True if the spec stops the services, and none had pods when the pass began, nor had a migration."""
    migration_times: MigrationTimes | None = None
    """When each database was migrated. None if the pass ended before this was known."""

    @property
    def converged(self) -> bool:
        """Tells whether everything is as it is to be and ready. In the steps of an upgrade, more is to come."""
        in_steps = self.upgrade is not None and self.upgrade.in_steps
        return self.plan is not None and self.plan.converged and not in_steps


def degraded_part(result: PassResult) -> Blocker | None:
    """Returns the blocker because of which the platform is degraded, if there is one."""
    if result.error is not None or result.refusals or result.plan is None:
        return None
    blockers = result.plan.blockers
    failed = [one for one in blockers if one.failed]
    if failed:
        return failed[0]
    overdue = [one for one in blockers if result.blocked_for.get(one.id, timedelta()) >= PROGRESS_DEADLINE]
    return min(overdue, key=lambda one: one.wave, default=None)


def hibernated_condition(
    result: PassResult, spec: Spec, status: Mapping[str, Any], *, has_pods: bool, running: Sequence[str] = ()
) -> Condition | None:
    """Returns the condition Hibernated; None for a shop that never was.

    `status` is the stored one. `running` names the Clusters that have still to stop.
    """
    if spec.hibernated:
        if result.converged and result.hibernation is Hibernation.ALL and not has_pods:
            text = "No pod runs. Volumes and Secrets are kept. To start the shop: set spec.hibernated to false."
            return Condition("Hibernated", True, ConditionReason.HIBERNATED, text)
        if spec.observes:
            text = "The shop is observed: no pod is stopped."
            return Condition("Hibernated", False, ConditionReason.OBSERVING, text)
        text = "The pods are being stopped: those of the services, and then those of the stores."
        text += f" These have still to stop: {', '.join(running)}." if running else ""
        if is_in_steps(status):
            text = "The pods are stopped when the upgrade has ended."
        return Condition("Hibernated", False, ConditionReason.HIBERNATING, text)
    if was_stopped_by(status, "Hibernated") and not result.converged:
        return Condition("Hibernated", False, ConditionReason.WAKING, "The shop is being started.")
    if stored_condition(status, "Hibernated") is None:
        return None
    return Condition("Hibernated", False, ConditionReason.AWAKE, "The shop runs.")


def closed_condition(result: PassResult, spec: Spec, status: Mapping[str, Any], *, restores: bool) -> Condition | None:
    """Returns the condition Closed; None for a shop whose spec never closed it.

    `status` is the stored one. `restores` says whether a PlatformRestore closes the shop, which may change the data.
    """
    if spec.closed:
        return _closed_by_spec(result, spec, upgrades=is_in_steps(status), restores=restores)
    if was_stopped_by(status, "Closed") and not (result.converged or spec.hibernated or restores):
        return Condition("Closed", False, ConditionReason.OPENING, "The services are being started.")
    if stored_condition(status, "Closed") is None:
        return None
    return Condition("Closed", False, ConditionReason.OPEN, "The spec does not close the shop.")


def _closed_by_spec(result: PassResult, spec: Spec, *, upgrades: bool, restores: bool) -> Condition:
    if restores:
        text = "A PlatformRestore has closed the shop: the condition Restoring says how far that is."
        return Condition("Closed", False, ConditionReason.RESTORING, text)
    if result.services_stopped and result.hibernation is not Hibernation.NONE:
        advice = "To open the shop: set spec.closed to false, or spec.platform.closed of its Tenant."
        text = f"No service runs, and nothing changes the data. {advice}"
        return Condition("Closed", True, ConditionReason.CLOSED, text)
    if spec.observes:
        text = "The shop is observed: no service is stopped."
        return Condition("Closed", False, ConditionReason.OBSERVING, text)
    text = "The services are stopped when the upgrade has ended." if upgrades else "The services are being stopped."
    return Condition("Closed", False, ConditionReason.CLOSING, text)


_STOPPING = (ConditionReason.HIBERNATING, ConditionReason.CLOSING, ConditionReason.RESTORING)
_STOP_REASONS = (
    *_STOPPING,
    ConditionReason.HIBERNATED,
    ConditionReason.CLOSED,
    ConditionReason.RESTORE_FAILED,
    ConditionReason.RESTORE_INCOMPLETE,
)


def restoring_condition(key: PlatformKey, mark: RestoreMark | None, *, reported_before: bool) -> Condition | None:
    """Returns the condition Restoring; None for a shop that was never restored."""
    if mark is None:
        text = "No PlatformRestore restores the shop."
        return Condition("Restoring", False, ConditionReason.NOT_RESTORING, text) if reported_before else None
    if mark.phase is RestorePhase.FAILED:
        return _failed_restore(key, mark)
    if mark.closes:
        name = mark.name or "of an annotation that was removed"
        text = f"The shop is closed while PlatformRestore {name} replaces its databases."
        return Condition("Restoring", True, ConditionReason.RESTORING, text)
    text = f"The shop is being opened: PlatformRestore {mark.name} has replaced its databases."
    return Condition("Restoring", True, ConditionReason.REOPENING, text)


def _failed_restore(key: PlatformKey, mark: RestoreMark) -> Condition:
    name = mark.name or "<name>"
    text = f"PlatformRestore {name} has failed or was deleted, and the shop is closed"
    seen = f"kubectl -n {key.namespace} describe platformrestore {name} says why"
    if not mark.inconsistent:
        return Condition("Restoring", False, ConditionReason.RESTORE_FAILED, f"{text}: {seen}, and what to do.")
    text += ". The databases may be inconsistent: do not open it, but create another PlatformRestore"
    return Condition("Restoring", False, ConditionReason.RESTORE_INCOMPLETE, f"{text}; {seen}.")


def ready_condition(
    result: PassResult, degraded: Condition, ready_services: int, stop: Condition | None, *, observes: bool
) -> Condition:
    """Returns the condition Ready. `stop` is the condition Hibernated or Closed, or Restoring of a closed shop."""
    if stop is not None and stops(stop) and not (degraded.status or observes):
        return Condition("Ready", False, stop.reason, stop.message)
    if result.converged:
        return Condition("Ready", True, ConditionReason.ALL_READY, "All parts of the shop are as specified and ready.")
    if degraded.status:
        return Condition("Ready", False, degraded.reason, degraded.message)
    if observes:
        return Condition("Ready", False, ConditionReason.OBSERVING, _observing(result.plan))
    reason, message = _progress(result)
    return Condition("Ready", False, reason, f"{ready_services} of {len(SERVICES)} services are ready. {message}")


def stops(condition: Condition) -> bool:
    """Returns whether a condition says that services are stopped, or are to be."""
    return condition.reason in _STOP_REASONS


def progressing_condition(
    result: PassResult, degraded: Condition, stop: Condition | None, *, observes: bool
) -> Condition:
    if observes:
        return Condition("Progressing", False, ConditionReason.OBSERVING, _observing(result.plan))
    if degraded.status and degraded.reason is not ConditionReason.PROGRESS_DEADLINE_EXCEEDED:
        message = "Stopped until the failure that condition Degraded reports is resolved."
        return Condition("Progressing", False, degraded.reason, message)
    changes_stores = stop is not None and stop.reason is ConditionReason.CLOSED and not result.converged
    if stop is not None and stops(stop) and not changes_stores:
        return Condition("Progressing", stop.reason in _STOPPING, stop.reason, stop.message)
    if result.converged:
        return Condition("Progressing", False, ConditionReason.STABLE, "All changes are rolled out.")
    return Condition("Progressing", True, *_progress(result))


def _observing(plan: Plan | None) -> str:
    text = "The shop is observed: nothing is changed, repaired or deleted."
    if plan is not None and (plan.due or plan.leftovers):
        text += (
            f" Objects to apply: {len(plan.due)}, to delete: {len(plan.leftovers)}; status.pending names the first of "
            "them, and set spec.mode to Manage to change them."
        )
    return text


_WAVE_REASONS = {
    1: ConditionReason.WAITING_FOR_STORES,
    2: ConditionReason.MIGRATING,
    3: ConditionReason.WAITING_FOR_SERVICES,
    4: ConditionReason.WAITING_FOR_GATEWAY,
}


def _progress(result: PassResult) -> tuple[ConditionReason, str]:
    if result.error is not None:
        message = f"The API server did not carry out a request: {result.error}. The operator retries."
        return ConditionReason.REQUEST_FAILED, message
    plan, upgrade = result.plan, result.upgrade
    if plan is not None and plan.converged and upgrade is not None and upgrade.in_steps:
        text = f"Step {upgrade.step_name} of the upgrade is observed before the next one begins."
        return ConditionReason.OBSERVING_STEP, text
    if plan is None or plan.blocked_wave is None:
        return ConditionReason.APPLYING, "Objects are being applied."
    first = [one for one in plan.blockers if one.wave == plan.blocked_wave]
    return _WAVE_REASONS.get(plan.blocked_wave, ConditionReason.APPLYING), f"Waiting for {_enumerate(first)}."


def is_same_failure(condition: Condition, stored: str) -> bool:
    """Returns whether a condition reports the failed request that the stored message does.

    Two attempts at one request may differ in numbers, such as a connection's port. They are one failure, whose status
    is written once.
    """
    is_failed_request = condition.reason is ConditionReason.REQUEST_FAILED
    return is_failed_request and re.sub(r"\d+", "0", condition.message) == re.sub(r"\d+", "0", stored)


def _enumerate(blockers: Sequence[Blocker]) -> str:
    return "; ".join(f"{one.id}: {one.message}" for one in blockers)


def degraded_condition(key: PlatformKey, result: PassResult, provider: str) -> Condition:
    """Returns the failures of a shop. `provider` is that of its databases, which says how one is restored."""
    return _failure(key, result, provider) or Condition(
        "Degraded", False, ConditionReason.HEALTHY, "No part has failed."
    )


def _failure(key: PlatformKey, result: PassResult, provider: str) -> Condition | None:
    """Returns the first failure, with the messages of the others after its own."""
    failures = list(_failures(key, result, provider))
    if not failures:
        return None
    return replace(failures[0], message=" ".join(one.message for one in failures))


def _failures(key: PlatformKey, result: PassResult, provider: str) -> Iterator[Condition]:
    if result.error is not None:
        failed_pass = _failed_pass(result.error)
        if failed_pass:
            yield failed_pass
        return
    yield from _stuck_upgrade(result)
    if result.refusals:
        yield _refused(key, result.refusals[0])
    if result.name_conflicts:
        yield _name_conflicts(key, result.name_conflicts)
    if missing := problems(result.secrets or (), key.namespace):
        yield _degraded(ConditionReason.SECRET_MISSING, " ".join(missing))
    lost = [one for one in result.plan.blockers if one.data_lost] if result.plan else []
    if lost:
        yield _data_lost(key, lost, result.migration_times or {}, provider)
    part = degraded_part(result)
    if part is not None and not part.data_lost:
        pods = f" Its pod reports {result.diagnosis}." if result.diagnosis else ""
        yield _failed(key, part, pods) if part.failed else _takes_too_long(key, part, pods)
    if result.plan is not None and result.plan.held_prune:
        yield _held_prune(key, result.plan.held_prune)


def _stuck_upgrade(result: PassResult) -> Iterator[Condition]:
    wait = result.target.wait if result.target is not None else None
    if wait is not None and wait.reason in (ConditionReason.ROLLBACK_FAILED, ConditionReason.UPGRADE_STOPPED):
        yield _degraded(wait.reason, wait.message)


def _degraded(reason: ConditionReason, message: str) -> Condition:
    return Condition("Degraded", True, reason, message)


def _failed_pass(error: OperatorError) -> Condition | None:
    """Returns None for an error of the API server that a retry may resolve."""
    if isinstance(error, ApiError):
        if error.transient:
            return None
        if error.namespace_terminating:
            return _degraded(ConditionReason.REFUSED, NAMESPACE_TEXT)
        return _degraded(
            ConditionReason.REFUSED,
            f"The API server refused a request: {error}. Grant the operator the right, or raise the quota, that the "
            "message names.",
        )
    if isinstance(error, UnexpectedError):
        return _degraded(
            ConditionReason.INTERNAL_ERROR,
            f"{error}. This is a fault of the operator, which retries: read its log, and report it.",
        )
    reasons = (reason for cause, reason in _ERROR_REASONS if isinstance(error, cause))
    return _degraded(next(reasons, ConditionReason.INVALID_SPEC), str(error))


_ERROR_REASONS = (
    (RenderError, ConditionReason.RENDER_FAILED),
    (MasterKeyMissingError, ConditionReason.MASTER_KEY_MISSING),
    (MasterKeyChangedError, ConditionReason.MASTER_KEY_CHANGED),
)


def _refused(key: PlatformKey, refusal: Refusal) -> Condition:
    text = f"The API server refused {refusal.id}: {refusal.error}."
    add_on = CHILD_KINDS[refusal.id.kind].add_on
    if refusal.error.status == 404 and add_on is not None:
        advice = f"{add_on.instead}, or install it" if add_on.instead else "Install it"
        return _degraded(ConditionReason.REFUSED, f"{add_on.name} is not installed: {text} {advice}: {add_on.install}")
    if refusal.error.status == 403:
        return _degraded(
            ConditionReason.REFUSED,
            f"{text} Raise the quota of namespace {key.namespace}, or grant the operator the right.",
        )
    if refusal.id.kind == "StatefulSet" and "Forbidden" in str(refusal.error):
        return _degraded(
            ConditionReason.IMMUTABLE_FIELD,
            f"The volumes of {refusal.id} cannot be changed in place; it runs on as it is, and nothing else waits for "
            "it. If their storage class allows it (allowVolumeExpansion), expand each of its PersistentVolumeClaims "
            f"with kubectl -n {key.namespace} edit pvc -l app.kubernetes.io/instance={key.name}, then "
            f"kubectl -n {key.namespace} delete statefulset {refusal.id.name} --cascade=orphan. If not, the store "
            "stays at its size: only a new platform, to which the data are copied, has larger volumes.",
        )
    return _degraded(ConditionReason.REFUSED, f"{text} Correct the field of the spec that the message names.")


MAX_NAMED_OBJECTS = 30
"""Objects that a message names, so that it stays readable."""


def _name_conflicts(key: PlatformKey, conflicts: Sequence[NameConflict]) -> Condition:
    named = ", ".join(map(str, conflicts[:MAX_NAMED_OBJECTS]))
    one = conflicts[0].id
    return _degraded(
        ConditionReason.NAME_CONFLICT,
        f"The shop needs names that objects of others have, which are left alone: {named}. Rename or delete them, or "
        f"give each of them to the shop, which then changes and deletes it as its own: kubectl -n {key.namespace} "
        f"annotate {one.kind.lower()} {one.name} {ANNOTATION_ADOPT}={key.name}",
    )


def _held_prune(key: PlatformKey, held: Sequence[ObservedObject]) -> Condition:
    return _degraded(
        ConditionReason.PRUNE_HELD,
        f"Not deleted, although the charts no longer render them and no change of the spec explains it: "
        f"{_names([one.id for one in held])}. If they may go, with the data in their volumes unless deletionPolicy "
        f"retains it: kubectl -n {key.namespace} annotate --overwrite ecp {key.name} "
        f"{ANNOTATION_ALLOW_PRUNE}={prune_id(held)}",
    )


def _names(identities: Sequence[ObjectId]) -> str:
    """Names objects, those with data first."""
    ordered = sorted(identities, key=lambda one: (one.kind not in GUARDED_KINDS, one))
    more = len(ordered) - MAX_NAMED_OBJECTS
    return ", ".join(map(str, ordered[:MAX_NAMED_OBJECTS])) + (f" and {more} more" if more > 0 else "")


def _failed(key: PlatformKey, part: Blocker, pods: str) -> Condition:
    namespace, name = key.namespace, part.id.name
    if "exceeded quota" in part.message:
        return _degraded(
            ConditionReason.QUOTA_EXCEEDED,
            f"{part.id} {part.message}. Raise the quota of namespace {namespace}, or lower what the spec asks for.",
        )
    if part.id.kind == "Job":
        return _degraded(
            ConditionReason.MIGRATION_FAILED,
            f"Job {name} failed: {part.message}.{pods} Read kubectl -n {namespace} logs job/{name}; "
            f"to retry at once: kubectl -n {namespace} delete job {name}",
        )
    return _degraded(
        ConditionReason.ROLLOUT_FAILED,
        f"{part.id} does not become ready: {part.message}{pods} "
        f"Read kubectl -n {namespace} describe {part.id.kind.lower()} {name} and the logs of its pods.",
    )


def _data_lost(key: PlatformKey, jobs: Sequence[Blocker], times: MigrationTimes, provider: str) -> Condition:
    """Names the databases that had a schema and are empty, and the commands that restore or accept them."""
    service_of = {one.id: one.id.name.removeprefix(f"{key.name}-").rpartition("-migrate-")[0] for one in jobs}
    losses = [loss_id(service, times[service]) for service in service_of.values() if service in times]
    named = ", ".join(f"{key.name}-{service}-db" for service in service_of.values())
    namespace, job, service = key.namespace, jobs[0].id.name, service_of[jobs[0].id]
    text = (
        f"Lost the data of {named}: empty, although migrated before. Nothing is written there, and the service waits. "
        f"Restore a backup: {_restore(key, service, provider)}; then kubectl -n {namespace} delete job {job}."
    )
    if not losses:
        return _degraded(ConditionReason.DATA_LOST, f"{text} The loss is accepted: the migration runs again soon.")
    return _degraded(
        ConditionReason.DATA_LOST,
        f"{text} Or begin with an empty database: kubectl -n {namespace} annotate --overwrite ecp {key.name} "
        f"{ANNOTATION_ACCEPT_DATA_LOSS}={','.join(losses)}",
    )


def _restore(key: PlatformKey, service: str, provider: str) -> str:
    """Returns how to restore the database of a service. Only a builtin one has a pod to do it in by hand."""
    if provider != "builtin":
        return f"render charts/backup with job={{restore,--only,{service}}}"
    return (
        f"kubectl -n {key.namespace} exec --stdin {key.name}-{service}-db-0 -- sh -c 'pg_restore "
        '--username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --no-privileges --single-transaction\' '
        f"< {service}.dump"
    )


def _takes_too_long(key: PlatformKey, part: Blocker, pods: str) -> Condition:
    return _degraded(
        ConditionReason.PROGRESS_DEADLINE_EXCEEDED,
        f"{part.id} {part.message} after more than {PROGRESS_DEADLINE.seconds // 60} minutes.{pods} "
        f"Read kubectl -n {key.namespace} describe {part.id.kind.lower()} {part.id.name} and describe its pods."
        f"{_delete_pod_advice(key, part)}",
    )


def _delete_pod_advice(key: PlatformKey, part: Blocker) -> str:
    """A StatefulSet waits for its unready pod before it creates a corrected one, and the operator has no right to
    delete pods."""
    if part.id.kind != "StatefulSet" or not part.pods:
        return ""
    return (
        " If the spec is the cause, correct it and delete the pod, so that it is created again: "
        f"kubectl -n {key.namespace} delete pod {part.id.name}-0"
    )


def upgraded_condition(result: PassResult, *, rolled_out: bool) -> Condition | None:
    """Returns whether the shop runs the operator's release, or its own version with the operator's charts. None if the
    pass did not choose a release."""
    target = result.target
    if target is None:
        return None
    if target.wait is not None:
        return Condition("Upgraded", False, target.wait.reason, target.wait.message)
    if not rolled_out:
        step = f" Step: {result.upgrade.step_name}." if result.upgrade is not None else ""
        return Condition("Upgraded", False, ConditionReason.ROLLING_OUT, f"{target.version} is rolled out.{step}")
    return Condition("Upgraded", True, ConditionReason.UP_TO_DATE, f"All parts of the shop run {target.version}.")


def fight_condition(result: PassResult, *, reported_before: bool) -> Condition | None:
    """Returns whether another writer takes fields again and again; None for a platform that has had no such writer."""
    if result.fights:
        text = "; ".join(_fight(one) for one in result.fights[:MAX_NAMED_FIGHTS])
        return Condition(
            "FieldFight",
            True,
            ConditionReason.TAKEN_AGAIN,
            f"{text}. The operator restores what the spec says at intervals that grow to five minutes. Stop the other "
            "writer, or set the field in the spec.",
        )
    if not reported_before:
        return None
    return Condition("FieldFight", False, ConditionReason.NO_FIELD_FIGHT, "No other writer takes fields again.")


MAX_NAMED_FIGHTS = 3
"""Fights that the message names."""


def _fight(fight: FieldFight) -> str:
    if not fight.manager:
        return f"{fight.id}: fields are removed again whenever they are restored"
    return f"{fight.id}: field {fight.field} is taken by {fight.manager} again whenever it is restored"


def mail_condition(spec: Spec | None) -> Condition:
    """Returns whether the shop can send mails. `spec` is None if it is invalid."""
    if spec is None:
        return Condition("MailConfigured", None, ConditionReason.INVALID_SPEC, "Not known: the spec is invalid.")
    if spec.notifications.smtp is not None:
        return Condition("MailConfigured", True, ConditionReason.MAIL_SERVER_SET, "Mails go to a mail server.")
    return Condition(
        "MailConfigured",
        False,
        ConditionReason.NO_MAIL_SERVER,
        "No mail is sent, those that confirm addresses and reset passwords included: notifications end as not_sent. "
        "Set spec.notifications.smtp.",
    )
