"""Kubernetes Events: transitions of platforms, backups and restores, and repairs of objects. Pure.

An Event's name is a digest of what it reports, so that a repetition is a conflict rather than a second Event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from platform_operator.api.conditions import ConditionReason
from platform_operator.api.kinds import PLATFORM, Kind, Manifest
from platform_operator.cache.observed import Platform
from platform_operator.invariants.conditions import INVARIANT_CONDITIONS
from platform_operator.plan.comparison import Change
from platform_operator.plan.upgrades import ANNOTATION_RETRY_UPGRADE

EVENT_INTERVAL = timedelta(hours=1)
"""The same repair of an object, and the same state of a backup or restore, is reported once in each interval, so that a
fight over a field or a check that is retried does not flood the namespace. By default the API server keeps Events for
an hour."""


@dataclass(frozen=True)
class InvolvedObject:
    """The object that an Event is about."""

    kind: Kind
    namespace: str
    name: str
    uid: str


class Progress(Protocol):
    """How far a backup or restore is."""

    @property
    def phase(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def message(self) -> str: ...

    @property
    def is_warning(self) -> bool:
        """True if a person has to do something, or should know of a failure."""


def changed_conditions(platform: Platform, status: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Returns the conditions to report: Ready, each stage of progress, each failure and its end; each reason once."""
    stored = {c["type"]: c for c in platform.status.get("conditions", ())}
    reported: set[str] = set()
    for condition in status["conditions"]:
        if condition["type"] in _INVARIANTS:
            if _is_changed_invariant(condition, stored.get(condition["type"])):
                yield condition
            continue
        if condition["type"] == "Upgraded" and "version" not in platform.status:
            continue  # the first rollout: Ready says how it ends
        known = stored.get(condition["type"], {"status": "False", "reason": ""})
        if condition["reason"] not in reported and _is_changed(condition, known):
            reported.add(condition["reason"])
            yield condition


_INVARIANTS = frozenset(condition.type for condition in INVARIANT_CONDITIONS)


def _is_changed_invariant(condition: Mapping[str, Any], known: Mapping[str, Any] | None) -> bool:
    """An invariant that breaks, holds again or becomes Unknown is reported. That those of a new shop hold is not."""
    if known is None or known["reason"] == ConditionReason.NOT_SCRAPED:
        return bool(condition["status"] == "False")
    return bool(condition["status"] != known["status"])


def _is_changed(condition: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """The end of progress is not reported: Ready or Degraded says how it ended."""
    changed = bool(condition["status"] != known["status"])
    if condition["type"] == "Upgraded":
        return bool(condition["reason"] != known["reason"])
    if condition["type"] == "Ready" or condition["status"] == "False":
        return changed and condition["type"] != "Progressing"
    return changed or bool(condition["reason"] != known["reason"])


def transition_event(platform: Platform, condition: Mapping[str, Any], identity: str, now: datetime) -> Manifest:
    """Returns the Event of a condition's transition. `identity` is the operator's pod."""
    content = [condition[name] for name in ("type", "status", "reason", "lastTransitionTime")]
    if condition["type"] == "Upgraded" and (request := platform.annotations.get(ANNOTATION_RETRY_UPGRADE)):
        content.append(request)  # one more try of a release may fail as the first one did
    return _event(_shop(platform), [str(platform.generation), *content], identity, now) | {
        "type": "Warning" if _is_bad(condition) else "Normal",
        "reason": condition["reason"],
        "message": condition["message"][:1024],
    }


def mode_event(platform: Platform, mode: str, identity: str, now: datetime) -> Manifest:
    """Returns the Event of a change of mode. `identity` is the operator's pod."""
    return _event(_shop(platform), [str(platform.generation), mode], identity, now) | {
        "type": "Normal",
        "reason": "ModeChanged",
        "message": _MODES[mode],
    }


_MODES = {
    "Manage": "The operator manages the shop: it changes and repairs what is not as the spec says.",
    "Observe": "The operator observes the shop: it changes, repairs and deletes nothing.",
}


def mode_changed(stored: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Returns whether the mode is another than in the stored status. A new shop is managed."""
    return bool(status.get("mode", "Manage") != stored.get("mode", "Manage"))


def repair_event(platform: Platform, change: Change, identity: str, now: datetime) -> Manifest:
    """Returns the Event of a repair, with the field manager that took a field. `identity` is the operator's pod."""
    message = str(change)
    return _event(_shop(platform), [message, _interval(now)], identity, now) | {
        "type": "Normal",
        "reason": "Repaired",
        "message": message[:1024],
    }


def progress_event(involved: InvolvedObject, progress: Progress, identity: str, now: datetime) -> Manifest:
    """Returns the Event of a backup or restore that has come to a phase and a reason. `identity` is the operator's
    pod."""
    return _event(involved, [progress.phase, progress.reason, _interval(now)], identity, now) | {
        "type": "Warning" if progress.is_warning else "Normal",
        "reason": str(progress.reason),
        "message": progress.message[:1024],
    }


def _interval(now: datetime) -> str:
    return str(int(now.timestamp() // EVENT_INTERVAL.total_seconds()))


def _shop(platform: Platform) -> InvolvedObject:
    return InvolvedObject(PLATFORM, platform.key.namespace, platform.key.name, platform.uid)


def _event(involved: InvolvedObject, content: Iterable[str], identity: str, now: datetime) -> Manifest:
    text = "/".join([involved.uid, *content])
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{involved.name}.{hashlib.sha256(text.encode()).hexdigest()[:16]}",
            "namespace": involved.namespace,
        },
        "involvedObject": {
            "apiVersion": involved.kind.api_version,
            "kind": involved.kind.kind,
            "namespace": involved.namespace,
            "name": involved.name,
            "uid": involved.uid,
        },
        "action": "Reconcile",
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingComponent": "ecommerce-operator",
        "reportingInstance": identity,
    }


def _is_bad(condition: Mapping[str, Any]) -> bool:
    if condition["type"] in _INVARIANTS:
        return bool(condition["status"] != "True")
    if condition["type"] == "Upgraded":
        return condition["reason"] in _FAILED_UPGRADES
    return bool(condition["type"] in ("Degraded", "FieldFight") and condition["status"] == "True")


_FAILED_UPGRADES = (
    ConditionReason.ROLLING_BACK,
    ConditionReason.ROLLED_BACK,
    ConditionReason.ROLLBACK_FAILED,
    ConditionReason.UPGRADE_STOPPED,
)
