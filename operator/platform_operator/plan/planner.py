"""Desired against observed: what to apply now, what to prune, what is waited for. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeVar

from platform_operator.api.kinds import ObjectId
from platform_operator.cache.observed import JobRun, Observed, Scaler, State, Workload, digest
from platform_operator.errors import ApiError

Children = Mapping[ObjectId, Observed]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object to be, as far as deciding needs to know it."""

    id: ObjectId
    wave: int
    digest: str


W = TypeVar("W", bound=Wanted)


@dataclass(frozen=True, slots=True)
class Applied:
    """What was applied under a name, and which fields the operator came to own by it."""

    wave: int
    digest: str
    owned: str


@dataclass(frozen=True)
class Inventory:
    """What the operator remembers of its applies. It survives a restart, so that the next process needs not render."""

    content: str = ""
    objects: Mapping[ObjectId, Applied] = field(default_factory=dict)

    def wanted(self) -> tuple[Wanted, ...]:
        return tuple(Wanted(identity, applied.wave, applied.digest) for identity, applied in self.objects.items())

    def with_applied(self, wanted: Wanted, owned: str) -> Inventory:
        return replace(self, objects={**self.objects, wanted.id: Applied(wanted.wave, wanted.digest, owned)})

    def of(self, content: str, wanted: Iterable[Wanted]) -> Inventory:
        """The same memory, cut down to what is wanted now. It stands for the content once all of that is applied."""
        digests = {one.id: one.digest for one in wanted}
        kept = {identity: one for identity, one in self.objects.items() if identity in digests}
        whole = all(identity in kept and kept[identity].digest == digests[identity] for identity in digests)
        return Inventory(content if whole else "", kept)

    def dump(self) -> dict[str, str]:
        rows = [[*identity, one.wave, one.digest, one.owned] for identity, one in sorted(self.objects.items())]
        text = json.dumps(rows)
        return {"content": self.content, "objects": text, "checksum": digest([self.content, text])}

    @classmethod
    def load(cls, data: Mapping[str, str]) -> Inventory:
        """An empty one where somebody wrote in it: then everything is applied again, which changes nothing."""
        try:
            if data["checksum"] != digest([data["content"], data["objects"]]):
                return cls()
            rows = json.loads(data["objects"])
            return cls(data["content"], {ObjectId(kind, name): Applied(*row) for kind, name, *row in rows})
        except (KeyError, TypeError, ValueError):
            return cls()


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A wanted object that is not what it should be yet. One that has failed does not become it by waiting."""

    id: ObjectId
    wave: int
    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """An object that the API server does not take, however often it is asked."""

    id: ObjectId
    error: ApiError


@dataclass(frozen=True)
class Plan:
    apply: tuple[Wanted, ...]
    prune: tuple[Observed, ...]
    held: int
    """How many objects wait for an earlier wave."""
    obstacles: tuple[Obstacle, ...]

    @property
    def waits_for(self) -> int | None:
        """The first wave that is not what it should be yet."""
        return min((obstacle.wave for obstacle in self.obstacles), default=None)

    @property
    def idle(self) -> bool:
        """Nothing is to be done, though something may be waited for."""
        return not (self.apply or self.prune or self.held)

    @property
    def settled(self) -> bool:
        return self.idle and not self.obstacles

    def due(self, wanted: Iterable[W], tried: Collection[ObjectId]) -> list[W]:
        """Of `wanted`, what to send now."""
        now = {one.id for one in self.apply}.difference(tried)
        return [one for one in wanted if one.id in now]


def make_plan(wanted: Sequence[Wanted], inventory: Inventory, observed: Children, kept: frozenset[ObjectId]) -> Plan:
    """`kept` are objects that are never pruned. New content goes out wave by wave; what was there already is restored
    at once, since an outage of one store must not keep the operator from repairing everything else."""
    apply: list[Wanted] = []
    obstacles: list[Obstacle] = []
    held = 0
    open_gate = True
    for _, wave in groupby(sorted(wanted, key=lambda one: (one.wave, one.id)), key=lambda one: one.wave):
        members = tuple(wave)
        due = [one for one in members if differs(one, inventory, observed)]
        now = due if open_gate else [one for one in due if is_repair(one, inventory)]
        apply += now
        held += len(due) - len(now)
        obstacles += [found for one in members if one not in due and (found := obstacle(one, observed))]
        open_gate = open_gate and not due and not obstacles
    return Plan(tuple(apply), _prunable(wanted, observed, kept, settled=open_gate), held, tuple(obstacles))


def differs(wanted: Wanted, inventory: Inventory, observed: Children) -> bool:
    """Whether an object is absent, has other content to get, or has lost a field that the operator owns."""
    seen, applied = observed.get(wanted.id), inventory.objects.get(wanted.id)
    if seen is None:
        return True
    if seen.deleting:
        return False  # cannot be saved; it is made again when it is gone
    return applied is None or applied.digest != wanted.digest or applied.owned != seen.owned


def is_repair(wanted: Wanted, inventory: Inventory) -> bool:
    applied = inventory.objects.get(wanted.id)
    return applied is not None and applied.digest == wanted.digest


def obstacle(wanted: Wanted, observed: Children) -> Obstacle | None:
    """What keeps the next wave waiting for this object, if anything."""
    seen = observed[wanted.id]
    if seen.deleting:
        return Obstacle(wanted.id, wanted.wave, "is being deleted and will be made again")
    match seen.state:
        case Workload() as workload:
            return _workload_obstacle(wanted, workload, floor(wanted.id, workload, observed))
        case JobRun(complete=False, failure=failure):
            return Obstacle(wanted.id, wanted.wave, failure or "has not finished", failed=bool(failure))
        case _:
            return None


def _workload_obstacle(wanted: Wanted, workload: Workload, needed: int) -> Obstacle | None:
    if is_ready(workload, needed):
        return None
    replacing = workload.total > 0 and (not workload.current or workload.updated < workload.total)
    progress = "is replacing its pods" if replacing else f"has {workload.ready} of {needed} pods ready"
    text = workload.failure or progress
    return Obstacle(wanted.id, wanted.wave, text, failed=bool(workload.failure))


def is_ready(workload: Workload, needed: int) -> bool:
    """No pod of the generation before is left, and enough of the new ones serve."""
    return workload.current and workload.updated >= workload.total and workload.ready >= needed


def floor(identity: ObjectId, workload: Workload, observed: Children) -> int:
    """Pods needed. An autoscaler's floor is awaited, what it adds above is welcome."""
    scaler = state_of(ObjectId("HorizontalPodAutoscaler", identity.name), observed)
    return scaler.floor if isinstance(scaler, Scaler) else workload.wanted


def state_of(identity: ObjectId, observed: Children) -> State:
    seen = observed.get(identity)
    return seen.state if seen else None


_ACTING = ("HorizontalPodAutoscaler", "Job")
"""Go at once when no longer wanted: they would work against what is. The rest may still serve until all is settled."""


def _prunable(
    wanted: Sequence[Wanted], observed: Children, kept: frozenset[ObjectId], *, settled: bool
) -> tuple[Observed, ...]:
    staying = {one.id for one in wanted} | kept
    return tuple(
        seen
        for identity, seen in sorted(observed.items())
        if identity not in staying and not seen.deleting and seen.owned and (settled or identity.kind in _ACTING)
    )
