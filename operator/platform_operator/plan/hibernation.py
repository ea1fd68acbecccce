"""Decides how far a shop is hibernated. Pure.

docs/adr/0055-a-hibernated-shop-keeps-its-release.md says why a shop that sleeps is not upgraded.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from platform_operator.api.conditions import ConditionReason
from platform_operator.api.spec import Spec
from platform_operator.cache.observed import Children, Platform, Workload
from platform_operator.plan.upgrades import read_upgrade


class Hibernation(StrEnum):
    """How much of a shop has no pods. The values are those of `global.hibernated` of the charts."""

    NONE = ""
    SERVICES = "Services"
    """The services stop, and the stores serve them until their last pod is gone."""
    ALL = "All"


def hibernation_of(platform: Platform, spec: Spec, observed: Children) -> Hibernation:
    """Returns how far a shop is to be hibernated now: the stores follow when no service has pods.

    Stores that are stopped stay so, even if a person starts a pod of a service by hand. The steps of an upgrade go
    first, since each is measured by pods.
    """
    if not spec.hibernated or is_in_steps(platform.status):
        return Hibernation.NONE
    stores = _workloads(observed, "StatefulSet")
    stopped = bool(stores) and all(one.desired == 0 for one in stores)
    return Hibernation.ALL if stopped or not _has_pods(observed, "Deployment") else Hibernation.SERVICES


def has_pods(observed: Children) -> bool:
    """Returns whether any service or store has pods."""
    return _has_pods(observed, "Deployment") or _has_pods(observed, "StatefulSet")


def is_resting(spec: Spec, status: Mapping[str, Any]) -> bool:
    """Returns whether a shop sleeps, falls asleep or wakes, so that it keeps the release that it had."""
    return not is_in_steps(status) and (spec.hibernated or sleeps(status))


def sleeps(status: Mapping[str, Any]) -> bool:
    """Returns whether a shop was hibernated and has not been awake since, as its status says."""
    reasons = (one["reason"] for one in status.get("conditions", ()) if one["type"] == "Hibernated")
    return next(reasons, ConditionReason.AWAKE) != ConditionReason.AWAKE


def is_in_steps(status: Mapping[str, Any]) -> bool:
    upgrade = read_upgrade(status)
    return upgrade is not None and upgrade.in_steps


def _has_pods(observed: Children, kind: str) -> bool:
    return any(one.total > 0 or (one.desired > 0 and not one.current) for one in _workloads(observed, kind))


def _workloads(observed: Children, kind: str) -> list[Workload]:
    states = (seen.state for identity, seen in observed.items() if identity.kind == kind)
    return [state for state in states if isinstance(state, Workload)]
