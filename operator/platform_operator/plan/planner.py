"""Makes the plan of one reconcile pass. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from platform_operator.api.kinds import DATABASE_CLUSTER, STORE_KINDS, ObjectId
from platform_operator.cache.observed import HIBERNATION, Children, ObservedObject
from platform_operator.plan.comparison import Change, compare
from platform_operator.plan.dependencies import Progress, Waiting, workloads_of
from platform_operator.plan.inventory import DesiredObject, Inventory
from platform_operator.plan.prune_guard import PruneGuard
from platform_operator.plan.readiness import Blocker, blocker


@dataclass(frozen=True)
class Plan:
    """The changes to make to one platform now, and the objects that it waits for."""

    apply: tuple[Change, ...]
    prune: tuple[ObservedObject, ...]
    held: int
    """Number of objects that have to be applied but wait for others, or for the wave before."""
    blockers: tuple[Blocker, ...]
    waiting: tuple[Waiting, ...] = ()
    """Those of them that wait for an object that is not ready."""
    held_prune: tuple[ObservedObject, ...] = ()
    """Objects that the spec no longer requires, whose deletion waits for the user's permission."""
    due: tuple[Change, ...] = ()
    """All objects that have to be applied, now or later."""
    leftovers: tuple[ObservedObject, ...] = ()
    """All objects that the spec no longer requires: they are deleted now, later, or when the user permits it."""

    @property
    def blocked_wave(self) -> int | None:
        """The first wave that is not ready."""
        return min((one.wave for one in self.blockers), default=None)

    @property
    def idle(self) -> bool:
        """Tells whether there is nothing to apply or prune, now or later. There may be something to wait for."""
        return not (self.apply or self.prune or self.held)

    @property
    def converged(self) -> bool:
        """Tells whether everything is as the spec says and ready."""
        return self.idle and not self.blockers and not self.held_prune

    def without_deletions(self) -> Plan:
        return replace(self, prune=(), held_prune=(), leftovers=())

    def during_upgrade(self) -> Plan:
        """Returns the plan without deletions of what pods of the version before may still use."""
        return replace(self, prune=tuple(one for one in self.prune if one.id.kind in _PRUNED_AT_ONCE))

    def pending(self, attempted: Collection[ObjectId]) -> list[Change]:
        """Returns the changes to apply now, without the objects that this pass has already attempted."""
        return [change for change in self.apply if change.object.id not in attempted]


def make_plan(
    desired: Sequence[DesiredObject],
    inventory: Inventory,
    observed: Children,
    protected: frozenset[ObjectId],
    guard: PruneGuard,
    attempted: frozenset[ObjectId] = frozenset(),
    *,
    stops: bool = False,
) -> Plan:
    """Compares desired objects with observed ones. Protected objects are never pruned, and `guard` holds others.

    New content is sent in the order of waves, and each object waits for those that it depends on, and for no others.
    Repairs are applied at once: an outage of one store must not stop the operator from repairing everything else.
    `attempted` are the objects that this pass has sent already. Of a shop that `stops`, no service waits: one with a
    broken database can be stopped too. Its stores change only by being stopped: a restart would end what is in flight.
    """
    ordered = sorted(desired, key=lambda one: (one.wave, one.id))
    due = [change for one in ordered if (change := compare(one, inventory, observed))]
    progress = _progress(ordered, due, observed, attempted)
    waiting = _stores_that_run_on(ordered, due) if stops else _waiting(ordered, due, progress)
    held = {one.id for one in waiting}
    free = [change for change in due if change.object.id not in held]
    wave = min((one.object.wave for one in free if one.object.id not in attempted), default=None)
    apply = [one for one in due if one.is_repair or (one.object.id not in held and _is_next(one, wave, attempted))]
    converged = not due and not progress.blockers
    leftovers = _leftovers(desired, observed, protected)
    held_prune = guard.held(leftovers, observed)
    prune = tuple(one for one in leftovers if one not in held_prune and (converged or one.id.kind in _PRUNED_AT_ONCE))
    blockers = tuple(progress.blockers.values())
    return Plan(tuple(apply), prune, len(due) - len(apply), blockers, waiting, held_prune, tuple(due), leftovers)


def _progress(
    ordered: Sequence[DesiredObject], due: Sequence[Change], observed: Children, attempted: frozenset[ObjectId]
) -> Progress:
    due_ids = frozenset(change.object.id for change in due)
    unready = {one.id: found for one in ordered if one.id in observed and (found := blocker(one, observed))}
    blockers = {one: found for one, found in unready.items() if one not in due_ids or one in attempted}
    return Progress(observed, blockers, due_ids, attempted, frozenset(unready))


def _waiting(ordered: Sequence[DesiredObject], due: Sequence[Change], progress: Progress) -> tuple[Waiting, ...]:
    changes = [change.object for change in due if not change.is_repair and change.object.id not in progress.attempted]
    workloads = workloads_of(ordered)
    missing = [(one, progress.first_missing(one, workloads)) for one in changes]
    return tuple(Waiting(one.id, one.wave, first) for one, first in missing if first)


def _stores_that_run_on(ordered: Sequence[DesiredObject], due: Sequence[Change]) -> tuple[Waiting, ...]:
    """Returns the stores that wait until the services of a shop that stops have no pods."""
    service = next((one.id for one in ordered if one.id.kind == "Deployment"), None)
    stores = [one.object for one in due if one.object.id.kind in STORE_KINDS and not one.is_repair]
    run_on = [one for one in stores if not _is_stopped(one)]
    return tuple(Waiting(one.id, one.wave, service) for one in run_on) if service else ()


def _is_stopped(store: DesiredObject) -> bool:
    """Returns whether a store is to have no pods."""
    manifest = store.manifest
    if store.id.kind == DATABASE_CLUSTER:
        return bool(manifest["metadata"]["annotations"][HIBERNATION] == "on")
    return bool(manifest["spec"].get("replicas") == 0)


def _is_next(change: Change, wave: int | None, attempted: frozenset[ObjectId]) -> bool:
    """Returns whether a change is of the next wave to send, or was sent already and refused."""
    return change.object.id in attempted or change.object.wave == wave


_PRUNED_AT_ONCE = ("HorizontalPodAutoscaler", "Job")
"""Kinds that act against the spec while they exist. Others may still serve, and are pruned when all waves are ready."""


def _leftovers(
    desired: Sequence[DesiredObject], observed: Children, protected: frozenset[ObjectId]
) -> tuple[ObservedObject, ...]:
    staying = {one.id for one in desired} | protected
    return tuple(
        seen
        for identity, seen in sorted(observed.items())
        if identity not in staying and not seen.deleting and seen.owned_digest
    )
