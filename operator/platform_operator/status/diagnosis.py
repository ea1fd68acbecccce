"""Diagnoses why pods do not start. Pure.

A diagnosis is worded so that it stays the same while the cause does: a message that differs at every look would be
written to the status every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from platform_operator.api.kinds import Manifest

MAX_LENGTH = 500
"""Characters of a diagnosis. Its text comes from the shop's namespace."""


def diagnose(pods: Sequence[Manifest]) -> str:
    """Returns the first problem that the pods report, as `Reason: message`; empty if they report none."""
    living = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    problems = (problem for pod in sorted(living, key=_name) for problem in _pod_problems(pod))
    return next(problems, "")[:MAX_LENGTH]


def _name(pod: Manifest) -> str:
    return str(pod["metadata"]["name"])


def _pod_problems(pod: Manifest) -> Iterator[str]:
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}"
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        yield from _container_problems(container)


def _container_problems(status: Mapping[str, Any]) -> Iterable[str]:
    if status.get("ready"):
        return []
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason = waiting.get("reason", "")
    if reason in ("ErrImagePull", "ImagePullBackOff"):  # they alternate
        return [f"ImagePullBackOff: image {status['image']} cannot be pulled"]
    if reason in ("InvalidImageName", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return [f"{reason}: {waiting.get('message', '')}"]
    return _crashes(status)


def _crashes(status: Mapping[str, Any]) -> Iterable[str]:
    """Returns the last crash, alike whether the container waits for its next start or has just been started."""
    for state in ("state", "lastState"):
        ended = (status.get(state) or {}).get("terminated")
        if ended and (ended["exitCode"] or status.get("restartCount")):
            code, reason = ended["exitCode"], ended.get("reason", "")
            return [f"CrashLoopBackOff: container {status['name']} ends with exit code {code} ({reason})"]
    return []
