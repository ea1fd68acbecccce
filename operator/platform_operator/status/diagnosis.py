"""What ails a pod, in its own words as far as they stand still: a message that changed on each look would be written each time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from platform_operator.api.kinds import Manifest


def diagnose(pods: Sequence[Manifest]) -> str:
    """The first ailment found, as `Reason: what it says`; empty where the pods name none."""
    living = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    return next((found for pod in sorted(living, key=_name) for found in _ailments(pod)), "")


def _name(pod: Manifest) -> str:
    return str(pod["metadata"]["name"])


def _ailments(pod: Manifest) -> Iterator[str]:
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}"
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        yield from _of_container(container)


def _of_container(status: Mapping[str, Any]) -> Iterable[str]:
    if status.get("ready"):
        return []
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason = waiting.get("reason", "")
    if reason in ("ErrImagePull", "ImagePullBackOff"):  # they take turns
        return [f"ImagePullBackOff: image {status['image']} cannot be pulled"]
    if reason in ("InvalidImageName", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return [f"{reason}: {waiting.get('message', '')}"]
    return _of_crashes(status)


def _of_crashes(status: Mapping[str, Any]) -> Iterable[str]:
    """Whether it waits for its next try or is at it just now."""
    for state in ("state", "lastState"):
        ended = (status.get(state) or {}).get("terminated")
        if ended and (ended["exitCode"] or status.get("restartCount")):
            return [
                f"CrashLoopBackOff: container {status['name']} ends with exit code {ended['exitCode']} ({ended.get('reason', '')})"
            ]
    return []
