"""The steps of an upgrade, and which of a shop's objects are of the new release while it is in one of them. Pure.

docs/adr/0048-upgrades-go-in-gated-steps.md says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from platform_operator.api.kinds import LABEL_VERSION, PlatformKey
from platform_operator.api.spec import NEIGHBOURS
from platform_operator.cache.observed import Children, Workload, state_of
from platform_operator.plan.inventory import DesiredObject, Inventory
from platform_operator.plan.readiness import is_ready, required_pods

SERVICE_WAVE = 3
"""The wave of the services. What comes before them is of the first step."""


def dependency_groups(neighbours: Mapping[str, Iterable[str]]) -> tuple[tuple[str, ...], ...]:
    """Returns services in the order in which they are upgraded: each group after those that its services call.

    Services that call each other in a circle are one group, since no order of them would be right.
    """
    reachable = {service: _reachable(service, neighbours) for service in neighbours}

    def depth(service: str) -> int:
        earlier = (other for other in reachable[service] if service not in reachable[other])
        return 1 + max(map(depth, earlier), default=-1)

    depths = {service: depth(service) for service in neighbours}
    return tuple(tuple(sorted(one for one in depths if depths[one] == level)) for level in sorted({*depths.values()}))


def _reachable(service: str, neighbours: Mapping[str, Iterable[str]]) -> frozenset[str]:
    found: set[str] = set()
    waiting = [service]
    while waiting:
        new = {*neighbours[waiting.pop()]} - found
        found |= new
        waiting += new
    return frozenset(found)


GROUPS = dependency_groups({**NEIGHBOURS, "gateway": tuple(name for name in NEIGHBOURS if name != "gateway")})
"""The gateway forwards requests to all services, and so comes last."""
STEPS = ("migrations", *(", ".join(group) for group in GROUPS))
"""The names of the steps. The first one has all that comes before the services: migrations, stores, configuration."""
COMPLETE = len(STEPS)
"""The number of steps of an upgrade that has passed all of them."""


def services_of(step: int) -> tuple[str, ...]:
    """Returns the services that a step replaces."""
    return GROUPS[step - 1] if 0 < step < COMPLETE else ()


def step_of(key: PlatformKey, one: DesiredObject) -> int:
    """Returns the step of an object. What belongs to no service, such as the Ingress, comes with the last one."""
    if one.wave < SERVICE_WAVE:
        return 0
    component = one.id.name.removeprefix(f"{key.name}-")
    return next((number for number, group in enumerate(GROUPS, 1) if component in group), COMPLETE - 1)


@dataclass(frozen=True)
class Releases:
    """The objects of a shop at the version that it leaves, and at the release that it is upgraded to.

    Both are rendered from the operator's charts, since those of an earlier release are not there any more.
    """

    key: PlatformKey
    old: tuple[DesiredObject, ...]
    new: tuple[DesiredObject, ...]

    def during(self, step: int, inventory: Inventory) -> tuple[DesiredObject, ...]:
        """Returns the objects while an upgrade is in a step: the new ones up to it, and the others as applied."""
        ahead = (one for one in self.old if step_of(self.key, one) > step)
        return (
            *(one for one in self.new if step_of(self.key, one) <= step),
            *(kept for one in ahead if (kept := _as_applied(one, inventory))),
        )

    def going_back(self, step: int, inventory: Inventory, observed: Children) -> tuple[DesiredObject, ...]:
        """Returns the objects while a rollback is in a step: from this step on at the version before.

        The migrations of that version run first: they refuse a schema on which its code may not run. Callers go back
        before those that they call, but for a service that is not ready: its former pods are the ones that serve.
        What the upgrade has not changed stays as it was applied.
        """
        upgraded = {one.id: one.digest for one in self.new}
        objects = (
            _as_applied(one, inventory)
            if 0 < step_of(self.key, one) < step and not _is_unready(one, observed)
            else _restored(one, upgraded.get(one.id), inventory, observed)
            for one in self.old
        )
        return tuple(one for one in objects if one)


def _is_unready(one: DesiredObject, observed: Children) -> bool:
    state = state_of(one.id, observed)
    return isinstance(state, Workload) and not is_ready(state, required_pods(one.id, state, observed))


def _as_applied(one: DesiredObject, inventory: Inventory) -> DesiredObject | None:
    """Returns an object as it was applied, with the manifest by which it is restored if it is lost."""
    applied = inventory.objects.get(one.id)
    return replace(one, digest=applied.digest) if applied else None


def _restored(
    one: DesiredObject, upgraded: str | None, inventory: Inventory, observed: Children
) -> DesiredObject | None:
    applied = inventory.objects.get(one.id)
    if applied is None:
        return one if one.id.kind == "Job" else None
    if applied.digest in ("", upgraded) or _is_of_another_version(one, observed):
        return one
    return _as_applied(one, inventory)


def _is_of_another_version(one: DesiredObject, observed: Children) -> bool:
    """Returns whether a service runs another version, also one of an upgrade that was superseded by the failed one."""
    seen = observed.get(one.id)
    if seen is None or one.id.kind != "Deployment":
        return False
    version = one.manifest["metadata"].get("labels", {}).get(LABEL_VERSION)
    return version is not None and seen.image_version != version


def unfinished(
    desired: Iterable[DesiredObject], key: PlatformKey, inventory: Inventory
) -> Iterator[tuple[int, DesiredObject]]:
    """Yields the objects that are not applied as they are desired, with their steps."""
    for one in desired:
        applied = inventory.objects.get(one.id)
        if applied is None or applied.digest != one.digest:
            yield step_of(key, one), one
