"""Makes the plan of one reconcile pass. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from platform_operator.api.kinds import ObjectId
from platform_operator.cache.observed import Children, ObservedObject
from platform_operator.plan.comparison import Change, compare
from platform_operator.plan.inventory import DesiredObject, Inventory
from platform_operator.plan.prune_guard import PruneGuard
from platform_operator.plan.readiness import Blocker, blocker


@dataclass(frozen=True)
class Plan:
    """The changes to make to one platform now, and the objects that it waits for."""

    apply: tuple[Change, ...]
    prune: tuple[ObservedObject, ...]
    held: int
    """Number of objects that have to be applied but wait for an earlier wave."""
    blockers: tuple[Blocker, ...]
    held_prune: tuple[ObservedObject, ...] = ()
    """Objects that the spec no longer requires, whose deletion waits for the user's permission."""

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

    def pending(self, attempted: Collection[ObjectId]) -> list[Change]:
        """Returns the changes to apply now, without the objects that this pass has already attempted."""
        return [change for change in self.apply if change.object.id not in attempted]


def make_plan(
    desired: Sequence[DesiredObject],
    inventory: Inventory,
    observed: Children,
    protected: frozenset[ObjectId],
    guard: PruneGuard,
) -> Plan:
    """Compares desired objects with observed ones. Protected objects are never pruned, and `guard` holds others.

    New content is applied wave by wave. Repairs are applied at once in every wave: an outage of one store must not stop
    the operator from repairing everything else.
    """
    apply: list[Change] = []
    blockers: list[Blocker] = []
    held = 0
    is_open = True
    for _, wave in groupby(sorted(desired, key=lambda one: (one.wave, one.id)), key=lambda one: one.wave):
        members = [(one, compare(one, inventory, observed)) for one in wave]
        due = [change for _, change in members if change]
        now = due if is_open else [change for change in due if change.is_repair]
        apply += now
        held += len(due) - len(now)
        blockers += [found for one, change in members if not change and (found := blocker(one, observed))]
        is_open = is_open and not due and not blockers
    leftovers = _leftovers(desired, observed, protected)
    held_prune = guard.held(leftovers, observed)
    prune = tuple(one for one in leftovers if one not in held_prune and (is_open or one.id.kind in _PRUNED_AT_ONCE))
    return Plan(tuple(apply), prune, held, tuple(blockers), held_prune)


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
