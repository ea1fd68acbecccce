"""Builds and reads the status of a PlatformRestore. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platform_operator.api.backups import (
    PLATFORM_RESTORE,
    RecordedFailure,
    RecordedSource,
    RestorePhase,
    RestoreReason,
)
from platform_operator.api.conditions import TIME_FORMAT, Condition, dated, stored_condition
from platform_operator.api.kinds import Manifest, PlatformKey
from platform_operator.api.restore_marks import ANNOTATION_RESTORE
from platform_operator.api.schema import SecretRef
from platform_operator.backups.objects import Source, Target
from platform_operator.backups.observed import Backup
from platform_operator.backups.status import MAX_MESSAGE
from platform_operator.status.backups import BackupRun

MAY_HAVE_CHANGED = (
    RestoreReason.RESTORE_INCOMPLETE, RestoreReason.RESTORE_INTERRUPTED, RestoreReason.JOB_FAILED,
    RestoreReason.JOB_LOST,
)  # fmt: skip
"""The failures of a Job that may have committed. Before any other one it has committed nothing."""
FINISHED = (RestorePhase.SUCCEEDED, RestorePhase.FAILED)
BEFORE_CLOSING = (RestorePhase.PENDING, RestorePhase.CHECKING)
"""The phases before a restore closes the shop. An earlier restore may have left it closed."""
_ATTEMPTING = (RestorePhase.CLOSING, RestorePhase.RESTORING)
"""The phases between two attempts and during one."""
_KEPT = (
    "platformUID", "job", "source", "checkStartTime", "startTime", "backupId", "cutTime", "sizeBytes", "resentEvents",
    "closedSeconds",
)  # fmt: skip
_SERVES = (RestoreReason.CHECKING_INVARIANTS, RestoreReason.SUCCEEDED, RestoreReason.INVARIANT_BROKEN)
"""The reasons of a shop that serves again."""
ENDS_BY_ITSELF = (
    RestoreReason.UPGRADING, RestoreReason.DATABASES_NOT_READY, RestoreReason.BACKUP_NOT_COMPLETE,
    RestoreReason.BACKUP_RUNNING, RestoreReason.OTHER_RESTORE, RestoreReason.RENDER_TIMED_OUT,
)  # fmt: skip
"""The reasons of a pending restore that begins without a person. `kubectl ecommerce` waits for it."""
_NO_WARNING = (
    *ENDS_BY_ITSELF, RestoreReason.CHECKING_BACKUP, RestoreReason.CLOSING, RestoreReason.RUNNING,
    RestoreReason.OPENING, RestoreReason.CHECKING_INVARIANTS, RestoreReason.SUCCEEDED,
)  # fmt: skip
"""The reasons of a restore that makes progress, has succeeded, or waits for what ends by itself."""


@dataclass(frozen=True)
class Failure:
    """Why a Job that restores has failed, is gone, or was not created."""

    reason: RestoreReason
    message: str


@dataclass(frozen=True)
class RestoreOutcome:
    """The result of one pass over a PlatformRestore."""

    phase: RestorePhase
    reason: RestoreReason
    message: str
    platform_uid: str = ""
    """The shop that this pass has begun to close."""
    source: Source | None = None
    """The backup that this pass has chosen."""
    backup: str = ""
    """The id of the backup that was found for it."""
    job: str = ""
    """The Job that this pass has created."""
    failure: Failure | None = None
    """The failure after which the restore is retried."""
    run: BackupRun | None = None
    """The result of the Job, once it has succeeded."""
    invariants: str = ""

    @property
    def is_warning(self) -> bool:
        """True for a failure, and for what a person has to correct."""
        return self.phase is RestorePhase.FAILED or self.reason not in _NO_WARNING


def describe_restore(restore: Backup, outcome: RestoreOutcome, now: datetime) -> dict[str, Any]:
    """Returns the whole status. It equals the stored one if nothing has changed."""
    done = {RestorePhase.SUCCEEDED: True, RestorePhase.FAILED: False}.get(outcome.phase)
    condition = Condition("Complete", done, outcome.reason, outcome.message[:MAX_MESSAGE])
    kept = {name: restore.status[name] for name in _KEPT if name in restore.status}
    status = {
        "observedGeneration": restore.generation,
        "phase": str(outcome.phase),
        **kept,
        **({"platformUID": outcome.platform_uid} if outcome.platform_uid else {}),
        **({"startTime": now.strftime(TIME_FORMAT)} if outcome.platform_uid else {}),
        **({"source": _recorded(outcome.source)} if outcome.source else {}),
        **({"checkStartTime": now.strftime(TIME_FORMAT)} if _begins_to_check(restore, outcome) else {}),
        **({"backupId": outcome.backup} if outcome.backup else {}),
        **({"job": outcome.job} if outcome.job else {}),
        **_last_failure(restore, outcome),
        **(_result(outcome.run) if outcome.run else {}),
        **({"invariants": outcome.invariants} if outcome.invariants else {}),
        "conditions": [dated(condition, stored_condition(restore.status, "Complete"), restore.generation, now)],
    }
    ended = {"completionTime": now.strftime(TIME_FORMAT)} if done is not None else {}
    return {**_closed_seconds(status, now), **status, **ended} if outcome.reason in _SERVES else {**status, **ended}


def _begins_to_check(restore: Backup, outcome: RestoreOutcome) -> bool:
    is_checking = phase_of(restore) is RestorePhase.CHECKING and "checkStartTime" in restore.status
    return outcome.phase is RestorePhase.CHECKING and not is_checking


def recorded_source(status: Mapping[str, Any]) -> Source | None:
    """Returns the backup that a PlatformRestore has chosen; None before that."""
    if "source" not in status:
        return None
    stored = RecordedSource.model_validate(status["source"])
    return Source(Target(stored.destination, stored.encryption_key_secret_ref.name), stored.shop, stored.id)


def _last_failure(restore: Backup, outcome: RestoreOutcome) -> dict[str, Any]:
    """Returns the failure of this pass, or else that of an earlier one, while the restore makes attempts."""
    if outcome.failure is not None:
        recorded = RecordedFailure(reason=outcome.failure.reason, message=outcome.failure.message[:MAX_MESSAGE])
        return {"lastFailure": recorded.model_dump(by_alias=True)}
    is_kept = outcome.phase in _ATTEMPTING and "lastFailure" in restore.status
    return {"lastFailure": restore.status["lastFailure"]} if is_kept else {}


def recorded_failure(status: Mapping[str, Any]) -> Failure | None:
    """Returns the failure of the last attempt of a PlatformRestore; None if none has failed."""
    if "lastFailure" not in status:
        return None
    stored = RecordedFailure.model_validate(status["lastFailure"])
    return Failure(_known_reason(stored.reason), stored.message)


def _recorded(source: Source) -> dict[str, Any]:
    recorded = RecordedSource(
        shop=source.shop,
        id=source.backup,
        destination=source.target.destination,
        encryption_key_secret_ref=SecretRef(name=source.target.key_secret),
    )
    return recorded.model_dump(by_alias=True, exclude_none=True)


def _result(run: BackupRun) -> dict[str, Any]:
    cut = {"cutTime": run.cut.strftime(TIME_FORMAT)} if run.cut else {}
    return {"backupId": run.backup, **cut, "sizeBytes": run.size, "resentEvents": run.resent}


def _closed_seconds(status: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Returns for how long the shop was closed. What the status says already goes first."""
    return {"closedSeconds": max(0, int((now - datetime.fromisoformat(status["startTime"])).total_seconds()))}


def failure_advice(key: PlatformKey, message: str, note: str = "", *, inconsistent: bool) -> str:
    """Returns why a restore of a closed shop has failed, the state of the shop, and what to do. The `note` is a
    sentence that says why it is not retried."""
    if inconsistent:
        advice = (
            "The shop is closed, and its databases may be inconsistent: do not open it, but correct this and create "
            "another PlatformRestore."
        )
    else:
        advice = (
            "Nothing was changed, and the shop is closed: correct this and create another PlatformRestore, or open the "
            f"shop as it was: kubectl -n {key.namespace} annotate ecp {key.name} {ANNOTATION_RESTORE}-"
        )
    return _with_advice(message, f"{note} {advice}".lstrip())


def retry_advice(message: str, retry: str, blocker: str = "", *, inconsistent: bool) -> str:
    """Returns why a Job that restores has failed, the state of the shop, when the Job is created again, and what may
    prevent that."""
    state = "its databases may be inconsistent" if inconsistent else "nothing was changed"
    return _with_advice(message, f"The shop stays closed, and {state}: the restore is {retry}.{blocker}")


def check_failure_advice(message: str, note: str = "", *, closed: bool) -> str:
    """Returns why a restore has failed before it touched the shop, and what to do. An earlier restore that has failed
    may have left the shop `closed`."""
    advice = f"{note} {_unchanged(closed=closed)}: correct this and create another PlatformRestore."
    return _with_advice(message, advice.lstrip())


def check_retry_advice(message: str, retry: str, *, closed: bool) -> str:
    """Returns why a check has failed, and when it is retried."""
    return _with_advice(message, f"{_unchanged(closed=closed)}: the check is {retry}.")


def _unchanged(*, closed: bool) -> str:
    return f"Nothing was changed, and the shop stays {'closed' if closed else 'open'}"


def waiting_advice(message: str, deadline: datetime) -> str:
    """Returns what a restore waits for while its shop is closed, and when it fails."""
    advice = "The shop is closed: the restore goes on once this is corrected, and fails at "
    return _with_advice(message, f"{advice}{deadline.strftime(TIME_FORMAT)}.")


def _with_advice(message: str, advice: str) -> str:
    """Returns a message and the whole advice after it: the message is what is shortened, by its end."""
    return f"{message[: MAX_MESSAGE - len(advice) - 2].rstrip('. ')}. {advice}"


def phase_of(restore: Backup) -> RestorePhase:
    """Returns how far a PlatformRestore is."""
    return RestorePhase(restore.status.get("phase", RestorePhase.PENDING))


def shop_key(restore: Backup) -> PlatformKey:
    """Returns the key of the shop whose data a PlatformRestore replaces."""
    return PlatformKey(restore.namespace, str(restore.spec.get("platform", "")))


def pending(reason: RestoreReason, message: str) -> RestoreOutcome:
    """Returns that a restore has not begun, and what it waits for."""
    return RestoreOutcome(RestorePhase.PENDING, reason, message)


def closing(backup: str, blocker: str = "", platform_uid: str = "") -> RestoreOutcome:
    """Returns that the services are being stopped, since the check has found the backup, and what may prevent it."""
    found = f"The check has found backup {backup}. " if backup else ""
    return RestoreOutcome(
        RestorePhase.CLOSING, RestoreReason.CLOSING, f"{found}The services are being stopped.{blocker}",
        platform_uid=platform_uid, backup=backup,
    )  # fmt: skip


def begins_to_restore(job: str, source: Source | None = None) -> RestoreOutcome:
    """Returns that the Job that restores a backup is created."""
    text = "The services are stopped, and the restore begins."
    return RestoreOutcome(RestorePhase.RESTORING, RestoreReason.RUNNING, text, job=job, source=source)


def begins_to_check(source: Source | None = None) -> RestoreOutcome:
    """Returns that the backup is checked, once it was chosen or its check was started."""
    text = "The backup is checked before the shop is closed."
    return RestoreOutcome(RestorePhase.CHECKING, RestoreReason.CHECKING_BACKUP, text, source=source)


def failure_reason(run: BackupRun) -> RestoreReason:
    """Returns the reason of a Job that has failed."""
    return _known_reason(run.reason)


def _known_reason(reason: str) -> RestoreReason:
    return RestoreReason(reason) if reason in set(RestoreReason) else RestoreReason.JOB_FAILED


def status_manifest(restore: Backup, status: Manifest) -> Manifest:
    return {
        "apiVersion": PLATFORM_RESTORE.api_version,
        "kind": PLATFORM_RESTORE.kind,
        "metadata": {"name": restore.name, "uid": restore.uid},
        "status": status,
    }
