"""Decides which objects an object has to wait for. Pure.

Waves give the order in which objects are sent. What an object waits for is less: a dead database, or a store whose
change is refused, must not stop a fix of another service. Only stores wait for each other, so that a change restarts
one of them at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from platform_operator.api.kinds import STORE_KINDS, ObjectId
from platform_operator.cache.observed import Children, Workload, state_of
from platform_operator.plan.inventory import DesiredObject
from platform_operator.plan.readiness import Blocker

TRAFFIC_WAVE = 4
"""The wave of what brings traffic to the services: it waits until they do not change any more."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An object that has to be applied, and the first of those that it waits for."""

    id: ObjectId
    wave: int
    waits_for: ObjectId


@dataclass(frozen=True)
class Progress:
    """What is known of all objects when it is decided which of them wait."""

    observed: Children
    blockers: Mapping[ObjectId, Blocker]
    """Why objects are not ready."""
    due: frozenset[ObjectId]
    """Objects that have to be applied."""
    attempted: frozenset[ObjectId]
    """Objects that were sent in this pass. Those that are still due were refused."""
    unready: frozenset[ObjectId] = frozenset()
    """Objects that exist and are not ready, also those that are due."""

    def first_missing(self, one: DesiredObject, workloads: Sequence[DesiredObject]) -> ObjectId | None:
        """Returns the first of the workloads that `one` has to wait for, if there is any."""
        return next((other.id for other in workloads if self._is_first(one, other)), None)

    def _is_first(self, one: DesiredObject, other: DesiredObject) -> bool:
        if other.wave == one.wave:
            are_stores = one.id.kind in STORE_KINDS and other.id.kind in STORE_KINDS
            return are_stores and self._restarts_first(one.id, other.id)
        return other.wave < one.wave and self._holds(one, other)

    def _restarts_first(self, one: ObjectId, other: ObjectId) -> bool:
        """Returns whether a store waits for another one: the stores of a shop restart one at a time.

        A store that is created, has no pods, or is not ready itself, waits for none: its change makes nothing worse,
        and may be what makes it ready.
        """
        if one == other or one in self.unready or not {one, other} <= self.observed.keys() or self._is_stopped(one):
            return False
        return other in self.unready or (other in self.due - self.attempted and other < one)

    def _holds(self, one: DesiredObject, other: DesiredObject) -> bool:
        if one.id.kind not in _WORKLOADS and one.id in self.observed:
            return one.id.name == other.id.name and other.id in self.due - self.attempted
        if component_of(one.id) == component_of(other.id):
            return not self._is_usable(other.id)
        if one.id.kind != "Deployment":
            return False
        if other.id.kind in STORE_KINDS and _is_shared(other.id):
            return self._is_stopped(one.id) and not self._is_usable(other.id)
        return one.wave >= TRAFFIC_WAVE and other.id.kind == "Deployment" and self._is_changing(one.id, other.id)

    def _is_usable(self, identity: ObjectId) -> bool:
        """Returns whether an object is ready, or a Cluster that serves. A store or service whose change was refused is
        used as it is."""
        if identity in self.due and (identity.kind == "Job" or identity not in self.attempted):
            return False
        state = state_of(identity, self.observed)
        serves = isinstance(state, Workload) and state.serves
        return identity in self.observed and (serves or identity not in self.blockers)

    def _is_changing(self, traffic: ObjectId, service: ObjectId) -> bool:
        """Returns whether a service is being rolled out, so that what brings traffic to it waits.

        One that failed, or has not been created since it waits itself, does not stop the rest of the shop.
        """
        blocker = self.blockers.get(service)
        if blocker is None or blocker.failed:
            return False
        return blocker.rolling or self._is_stopped(traffic)

    def _is_stopped(self, identity: ObjectId) -> bool:
        """Returns whether a workload has no pods, since it is new or hibernated."""
        state = state_of(identity, self.observed)
        return identity not in self.observed or (isinstance(state, Workload) and state.desired == state.total == 0)


_WORKLOADS = (*STORE_KINDS, "Job", "Deployment")


def workloads_of(desired: Iterable[DesiredObject]) -> Sequence[DesiredObject]:
    """Returns the objects that others may have to wait for: a sixth of those of a shop."""
    return [one for one in desired if one.id.kind in _WORKLOADS]


def component_of(identity: ObjectId) -> str:
    """Returns the name that the objects of a service share: `shop-order` of its database and its migration, too."""
    if identity.kind in STORE_KINDS:
        return identity.name.removesuffix("-db")
    if identity.kind == "Job":
        return identity.name.rpartition("-migrate-")[0] or identity.name
    return identity.name


def _is_shared(identity: ObjectId) -> bool:
    return not identity.name.endswith("-db")
