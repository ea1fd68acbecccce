"""Decides how far a shop is hibernated or closed. Pure.

docs/adr/0055-a-hibernated-shop-keeps-its-release.md says why a hibernated shop is not upgraded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from platform_operator.api.backups import RestorePhase
from platform_operator.api.conditions import ConditionReason, is_met, stored_condition
from platform_operator.api.kinds import CLUSTER_KINDS, STORE_KINDS, Manifest
from platform_operator.api.restore_marks import restore_mark
from platform_operator.api.spec import Spec
from platform_operator.cache.observed import Children, Platform, Workload
from platform_operator.plan.store_providers import is_used
from platform_operator.plan.upgrades import read_upgrade


class Hibernation(StrEnum):
    """How much of a shop has no pods. The values are those of `global.hibernated` of the charts."""

    NONE = ""
    SERVICES = "Services"
    """The services stop, and the stores serve them until their last pod is gone."""
    ALL = "All"


def hibernation_of(platform: Platform, spec: Spec, observed: Children, *, services_stopped: bool) -> Hibernation:
    """Returns which parts of a shop are to have no pods now: its services, and then also its stores if it is
    hibernated.

    `services_stopped` says that no service had pods when the pass began. A pod that is being stopped and completes a
    request counts, although its Deployment does not count it.

    Stores that are stopped stay so, even if a person starts a pod of a service by hand. The steps of an upgrade go
    first, since each is measured by pods. A shop that is closed for a restore has its stores, whatever its spec says,
    until the restore has failed.
    """
    if is_in_steps(platform.status):
        return Hibernation.NONE
    mark = restore_mark(platform.annotations, platform.status)
    if mark is not None and mark.closes and not (spec.hibernated and mark.phase is RestorePhase.FAILED):
        return Hibernation.SERVICES
    if not spec.hibernated:
        return Hibernation.SERVICES if spec.closed else Hibernation.NONE
    return Hibernation.ALL if services_stopped or stores_are_stopped(observed, spec) else Hibernation.SERVICES


def is_closed_by_restore(platform: Platform) -> bool:
    """Returns whether a PlatformRestore has closed the shop: its services have no pods until it is opened again."""
    mark = restore_mark(platform.annotations, platform.status)
    return mark is not None and mark.closes


def is_to_be_stopped(platform: Platform) -> bool:
    """Returns whether no service of a shop is to have a pod, since its spec or a PlatformRestore says so."""
    return bool(platform.spec.get("hibernated") or platform.spec.get("closed")) or is_closed_by_restore(platform)


def services_have_pods(observed: Children) -> bool:
    """Returns whether a service has pods, or is to have some."""
    return any(one.desired or one.total for one in _workloads(observed, "Deployment"))


def stores_are_stopped(observed: Children, spec: Spec) -> bool:
    """Returns whether there are stores of the shop's own, and none of them is to have a pod."""
    stores = _workloads(observed, *_store_kinds(spec))
    return bool(stores) and all(one.desired == 0 for one in stores)


def _has_stopped_store(observed: Children, spec: Spec) -> bool:
    """Returns whether a store of the shop's own is to have no pod: a shop that is only closed starts it."""
    return any(one.desired == 0 for one in _workloads(observed, *_store_kinds(spec)))


def stops_now(platform: Platform, spec: Spec, observed: Children, *, services_stopped: bool) -> bool:
    """Returns whether the pods of a shop are being stopped, so that its stores change only by being stopped too.

    Those of a closed shop may change when its services have stopped.
    """
    is_closing = spec.closed and not services_stopped
    closes = (is_closed_by_restore(platform) or is_closing) and not _has_stopped_store(observed, spec)
    return (spec.hibernated or closes) and not is_in_steps(platform.status)


def must_wait_for_pods(pods: Iterable[Manifest], spec: Spec) -> bool:
    """Returns whether a shop that stops has to wait for any of the pods that have not ended.

    What closes a shop is that nothing changes its databases: all of them count, also one of a pruned Job that is yet to
    be deleted. The stores of a hibernated shop wait for those that are being stopped.
    """
    return any(spec.closed or "deletionTimestamp" in one["metadata"] for one in pods)


def has_pods(observed: Children, spec: Spec) -> bool:
    """Returns whether any service or store has pods."""
    return _has_pods(observed, "Deployment", *_store_kinds(spec))


def running_clusters(observed: Children, spec: Spec) -> list[str]:
    """Returns the Clusters that are to have no pods and have some, each with what its controller says that it does."""
    states = {one: seen.state for one, seen in sorted(observed.items()) if one.kind in CLUSTER_KINDS}
    return [
        f"{identity} ({state.phase})" if state.phase else str(identity)
        for identity, state in states.items()
        if is_used(identity.kind, spec) and isinstance(state, Workload) and state.desired == 0 < state.total
    ]


def keeps_release(spec: Spec, status: Mapping[str, Any], annotations: Mapping[str, str]) -> bool:
    """Returns whether a shop keeps its release, since it is hibernated or closed, or that begins or ends, or since it
    is being restored.

    A shop that cannot wake, or be opened after a restore, at its version takes another one that its spec names.
    """
    if is_in_steps(status):
        return False
    mark = restore_mark(annotations, status)
    if mark is not None:
        return mark.closes or not _is_corrected(spec, status)
    return spec.stops_services or (was_stopped(status) and not _is_corrected(spec, status))


def _is_corrected(spec: Spec, status: Mapping[str, Any]) -> bool:
    return is_met(status, "Degraded") and spec.version not in (None, status.get("version"))


_RUNNING = {"Hibernated": ConditionReason.AWAKE, "Closed": ConditionReason.OPEN}
"""The conditions of a shop whose spec has stopped it, each with its reason when the shop runs."""


def was_stopped(status: Mapping[str, Any]) -> bool:
    """Returns whether the status says that a shop was hibernated or closed by its spec, and has not run since."""
    return any(was_stopped_by(status, type_) for type_ in _RUNNING)


def was_stopped_by(status: Mapping[str, Any], type_: str) -> bool:
    """Returns whether the condition Hibernated or Closed says that a shop was stopped, and has not run since."""
    stored = stored_condition(status, type_)
    return stored is not None and stored["reason"] != _RUNNING[type_]


def is_in_steps(status: Mapping[str, Any]) -> bool:
    upgrade = read_upgrade(status)
    return upgrade is not None and upgrade.in_steps


def _store_kinds(spec: Spec) -> list[str]:
    """Returns the kinds of the shop's own stores. A Cluster of another provider is left from an earlier shop."""
    return [kind for kind in STORE_KINDS if is_used(kind, spec)]


def _has_pods(observed: Children, *kinds: str) -> bool:
    return any(one.total > 0 or (one.desired > 0 and not one.current) for one in _workloads(observed, *kinds))


def _workloads(observed: Children, *kinds: str) -> list[Workload]:
    states = (seen.state for identity, seen in observed.items() if identity.kind in kinds)
    return [state for state in states if isinstance(state, Workload)]
