"""Reads from Kubernetes Events why objects are not ready. Pure.

A controller reports what it cannot do for an object on the object itself or on what it made for it: a StatefulSet whose
pods exceed a quota has no pods to ask, and neither has the ReplicaSet of a Deployment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from platform_operator.api.kinds import BROKER_CLUSTER, DATABASE_CLUSTER, Manifest, ObjectId
from platform_operator.plan.planner import Plan
from platform_operator.plan.readiness import Blocker

WARNINGS = "type=Warning"
"""The field selector of the Events that are read."""
MAX_EVENTS = 500
"""Events of a namespace that are read."""
MAX_LENGTH = 300
"""Characters of a cause. Anyone who may write Events in a namespace can make one."""
MAX_SKEW = timedelta(minutes=1)
"""An Event this much older than the first look at an object that is not ready may be its cause: clocks differ."""

_POD_REFUSED = "FailedCreate"
_POD_CREATED = "SuccessfulCreate"
_REASONS = (
    _POD_REFUSED,
    "FailedScheduling",
    "FailedMount",
    "FailedAttachVolume",
    "FailedBinding",
    "ProvisioningFailed",
    "VolumeResizeFailed",
)
"""The reasons of Events that are causes. Others, such as failed probes, are symptoms."""


def with_causes(plan: Plan, events: Iterable[Manifest], since: Mapping[ObjectId, datetime], now: datetime) -> Plan:
    """Returns the plan with the cause in the message of each blocker. `since` says when each was first not ready; the
    others are not ready since now.

    A blocker whose pods are refused has failed: waiting does not help.
    """
    causes = [event for event in events if event.get("reason") in _REASONS]
    causes.sort(key=_time, reverse=True)
    return replace(plan, blockers=tuple(_explained(one, causes, since.get(one.id, now)) for one in plan.blockers))


def _explained(blocker: Blocker, causes: Sequence[Manifest], since: datetime) -> Blocker:
    own = (event for event in causes if _concerns(event.get("involvedObject") or {}, blocker.id))
    cause = next((event for event in own if _time(event) >= since - MAX_SKEW), None)
    if cause is None or blocker.failed or (cause["reason"] == _POD_REFUSED and not blocker.lacks_pods):
        return blocker
    return replace(blocker, message=f"{blocker.message} ({_text(cause)})", failed=cause["reason"] == _POD_REFUSED)


def pod_refusal(events: Iterable[Manifest]) -> str:
    """Returns why the last attempt to create a pod of an object was refused, by the Events about it; empty if it was
    not, or none says so."""
    attempts = [event for event in events if event.get("reason") in (_POD_REFUSED, _POD_CREATED)]
    last = max(attempts, key=lambda event: (_time(event), event["reason"] == _POD_CREATED), default=None)
    return _text(last) if last is not None and last["reason"] == _POD_REFUSED else ""


def _text(cause: Manifest) -> str:
    return f"{cause['reason']}: {_stable(str(cause.get('message', '')))[:MAX_LENGTH]}"


def _concerns(involved: Mapping[str, str], identity: ObjectId) -> bool:
    kind, name = involved.get("kind", ""), involved.get("name", "")
    pattern = _CHILDREN.get((identity.kind, kind))
    if pattern is None:
        return (kind, name) == identity
    return re.fullmatch(pattern.format(re.escape(identity.name)), name) is not None


_CHILDREN = {
    ("Deployment", "ReplicaSet"): "{}-[a-z0-9]{{1,10}}",
    ("Deployment", "Pod"): "{}-[a-z0-9]{{1,10}}-[a-z0-9]{{5}}",
    ("StatefulSet", "Pod"): "{}-[0-9]+",
    ("StatefulSet", "PersistentVolumeClaim"): "[a-z]+-{}-[0-9]+",
    (DATABASE_CLUSTER, "Pod"): "{}-[0-9]+(-[a-z-]+-[a-z0-9]{{5}})?",
    (DATABASE_CLUSTER, "Job"): "{}-[0-9]+-[a-z-]+",
    (DATABASE_CLUSTER, "PersistentVolumeClaim"): "{}-[0-9]+",
    (BROKER_CLUSTER, "StatefulSet"): "{}-server",
    (BROKER_CLUSTER, "Pod"): "{}-server-[0-9]+",
    (BROKER_CLUSTER, "PersistentVolumeClaim"): "[a-z]+-{}-server-[0-9]+",
    ("Job", "Pod"): "{}-[a-z0-9]{{5}}",
}
"""The names of what is made for an object, by its kind and theirs."""


def _stable(message: str) -> str:
    """Returns a message without the generated names of pods, which differ at each attempt."""
    return re.sub(r'(pods "[^"]*?)-[a-z0-9]{5}"', r'\1-…"', message)


def _time(event: Manifest) -> datetime:
    """Returns when an Event was last seen; the earliest time there is if it does not say."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    text = next((one for one in times if one), event["metadata"].get("creationTimestamp"))
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)
