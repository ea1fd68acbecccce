"""PlatformBackups as stored, and the objects that the operator makes for backups. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from platform_operator.api.backups import ANNOTATION_START_PROBLEM, ANNOTATION_TARGET, BackupReason
from platform_operator.api.kinds import LABEL_PLATFORM, Manifest, ObjectKey, object_key
from platform_operator.cache.managed_fields import owned_digest
from platform_operator.status.backups import BackupRun

MAX_TEXT = 500
"""Characters of what a pod reports that are kept."""
UNKNOWN = "unknown"
"""The id of a backup whose pod has not reported it."""
_BY_SIGNAL = 128
"""A process that a signal ended has a greater exit code: 137 after SIGKILL, 143 after SIGTERM, 139 after SIGSEGV."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A PlatformBackup or PlatformRestore, as stored."""

    namespace: str
    name: str
    uid: str
    version: int
    generation: int
    deleting: bool
    spec: Mapping[str, Any]
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JobState:
    """How far a Job of the backup command is."""

    command: str
    """The command, which is the first argument of its container."""
    started: datetime | None
    ended: datetime | None
    """When it ended, with success or not."""
    failure: str
    """Why its pod could not start, or else the message of condition Failed; empty unless it has failed."""
    is_overdue: bool = False
    """True if it was stopped at its deadline."""
    has_failed_pods: bool = False
    """True if a pod of it has failed or was deleted, also if that pod is gone."""


@dataclass(frozen=True, slots=True)
class Child:
    """An object that the operator, or the controller of a CronJob, has made for backups."""

    key: ObjectKey
    uid: str
    version: int
    owned_digest: str
    platform: str
    owners: tuple[str, ...]
    """UIDs."""
    job: JobState | None
    target: str = ""
    """The digest of the target of a Job."""
    suspended: bool = False
    """True for a CronJob that starts no Jobs."""


def observe_backup(manifest: Manifest) -> Backup:
    metadata = manifest["metadata"]
    return Backup(
        metadata["namespace"],
        metadata["name"],
        metadata["uid"],
        int(metadata["resourceVersion"]),
        metadata["generation"],
        "deletionTimestamp" in metadata,
        manifest.get("spec") or {},
        manifest.get("status") or {},
    )


def observe_child(manifest: Manifest) -> Child:
    metadata = manifest["metadata"]
    return Child(
        object_key(manifest["kind"], manifest),
        metadata["uid"],
        int(metadata["resourceVersion"]),
        owned_digest(manifest),
        (metadata.get("labels") or {}).get(LABEL_PLATFORM, ""),
        tuple(one["uid"] for one in metadata.get("ownerReferences") or ()),
        _job(manifest) if manifest["kind"] == "Job" else None,
        (metadata.get("annotations") or {}).get(ANNOTATION_TARGET, ""),
        (manifest.get("spec") or {}).get("suspend") is True,
    )


def _job(manifest: Manifest) -> JobState:
    status = manifest.get("status") or {}
    ended, failure, is_overdue = None, "", False
    for condition in status.get("conditions") or ():
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            ended = _time(condition.get("lastTransitionTime"))
            if condition["type"] == "Failed":
                failure = _failure(manifest, condition)
                is_overdue = condition.get("reason") == "DeadlineExceeded"
    command = command_of(manifest["spec"]["template"])
    uncounted = status.get("uncountedTerminatedPods") or {}
    has_failed_pods = bool(status.get("failed") or uncounted.get("failed"))
    return JobState(command, _time(status.get("startTime")), ended, failure, is_overdue, has_failed_pods)


def _failure(job: Manifest, condition: Manifest) -> str:
    problem = (job["metadata"].get("annotations") or {}).get(ANNOTATION_START_PROBLEM)
    text = f"Its pod could not start: {problem}" if problem else condition.get("message") or condition.get("reason")
    return str(text or "Failed")[:MAX_TEXT]


def command_of(pod: Manifest) -> str:
    """Returns the command of platform_backup that a pod runs."""
    (container,) = pod["spec"]["containers"]
    return str((container.get("args") or ["create"])[0])


def read_run(name: str, job: JobState, ended: datetime, pods: Iterable[Manifest]) -> BackupRun:
    """Returns the result of a Job that has ended, by what its last pod has reported."""
    last = _last_pod_end(pods)
    report = last.report if last else {}
    if job.failure:
        reason = report.get("reason")
        known = reason if isinstance(reason, str) and reason in set(BackupReason) else BackupReason.JOB_FAILED
        end = last.text if last else "No pod of it is left."
        message = str(report.get("message") or f"{job.failure.rstrip('.')}. {end}".rstrip())[:MAX_TEXT]
        is_silent = not job.is_overdue and "reason" not in report
        was_interrupted = is_silent and (last is None or last.was_interrupted)
        return BackupRun(job.command, name, ended, reason=str(known), message=message, was_interrupted=was_interrupted)
    cut, size, backup = report.get("cut"), report.get("bytes"), report.get("id")
    if not isinstance(backup, str):
        text = "The Job has succeeded, and the report of its pod cannot be read: list the backups to find the id."
        return BackupRun(job.command, name, ended, UNKNOWN, message=text)
    failed = report.get("pruneFailed")
    return BackupRun(
        job.command,
        name,
        ended,
        backup[:64],
        _time(cut) if isinstance(cut, str) else None,
        size if isinstance(size, int) else 0,
        message=f"Older backups were not deleted: {failed}"[:MAX_TEXT] if failed else "",
        resent=_sum_of_counts(report.get("resent")),
        was_restored=job.command == "verify" and isinstance(report.get("invariants"), dict),
    )


def _sum_of_counts(counts: object) -> int:
    values = counts.values() if isinstance(counts, dict) else ()
    return sum(one for one in values if isinstance(one, int))


def last_failure(pods: Iterable[Manifest]) -> str:
    """Returns what the last attempt of a Job that still runs has failed with; empty if none has."""
    last = _last_pod_end(pods)
    if last is None:
        return ""
    report = last.report
    return (f"{report['reason']}: {report.get('message')}" if "reason" in report else last.text)[:MAX_TEXT]


@dataclass(frozen=True, slots=True)
class _PodEnd:
    """How a pod has ended."""

    at: str
    report: Mapping[str, Any]
    """What the command has left as termination message; empty if it was killed before."""
    text: str
    """Why a pod without a report has ended, by its exit code or eviction; empty if it succeeded."""
    was_interrupted: bool
    """True if it was evicted, deleted, or killed, but not for want of memory."""


def _last_pod_end(pods: Iterable[Manifest]) -> _PodEnd | None:
    """Returns the end of the pod that has ended last; None if none has. What earlier ones reported is not its cause."""
    ends = [end for pod in pods if (end := _pod_end(pod))]
    return max(ends, key=lambda one: one.at, default=None)


def _pod_end(pod: Manifest) -> _PodEnd | None:
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    states = (one.get("state") or {} for one in status.get("containerStatuses") or ())
    ended = next((state["terminated"] for state in states if state.get("terminated")), None)
    evicted = status.get("reason") if status.get("phase") == "Failed" else None  # it may have had no container
    if ended is None and not evicted:
        return None
    cause = f"{evicted}: {status.get('message', '')}".rstrip(". ") if evicted else _exit_text(ended or {})
    at = str((ended or {}).get("finishedAt") or pod["metadata"].get("creationTimestamp") or "")
    text = f"Pod {name} ended without a report: {cause}." if cause else ""
    was_interrupted = bool(evicted) or _is_disrupted(pod) or _is_killed(ended or {})
    return _PodEnd(at, _report(ended or {}), text, was_interrupted)


def _is_disrupted(pod: Manifest) -> bool:
    """Returns whether a pod was deleted, or evicted such as from a node that is drained."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    is_target = any(one["type"] == "DisruptionTarget" and one["status"] == "True" for one in conditions)
    return is_target or "deletionTimestamp" in pod["metadata"]


def _is_killed(ended: Mapping[str, Any]) -> bool:
    return ended.get("exitCode", 0) > _BY_SIGNAL and ended.get("reason") != "OOMKilled"


def _exit_text(ended: Mapping[str, Any]) -> str:
    return f"exit code {ended['exitCode']} ({ended.get('reason', 'Error')})" if ended.get("exitCode") else ""


def _report(ended: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the termination message of a container, as JSON; empty if it is none."""
    try:
        report = json.loads(ended.get("message") or "")
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}


def _time(text: str | None) -> datetime | None:
    """Returns a time of the API server or of the command; None for a text that is not a time."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
