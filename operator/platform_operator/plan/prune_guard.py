"""Holds deletions that no declared change explains and that would hurt, until an annotation allows them. Pure.

docs/adr/0038-deletions-that-nothing-explains-are-held.md says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from platform_operator.api.kinds import GROUP, STORE_KINDS, ObjectId, PlatformKey
from platform_operator.api.spec import WITH_BROKER, WITH_DATABASE, Spec
from platform_operator.cache.observed import Children, ObservedObject
from platform_operator.digests import digest

ANNOTATION_ALLOW_PRUNE = f"{GROUP}/allow-prune"
"""Allows to delete the objects that are held. Its value is the id of exactly that set of objects."""

GUARDED_KINDS = frozenset({*STORE_KINDS, "PersistentVolumeClaim", "Secret"})
"""Kinds that hold data, or the credentials of data."""

MAX_SHARE = 0.25
"""The share of a platform's objects that may be deleted at once without an explanation. An upgrade replaces its
migration Jobs, and a change of the profile removes autoscalers: both stay well below."""


@dataclass(frozen=True)
class Removals:
    """The objects that a spec declares to be absent: their deletion is what the user asked for."""

    names: frozenset[str] = frozenset()
    """Names of parts, such as `shop-order-db`: they explain their own objects, and those that are named after them."""
    kinds: frozenset[str] = frozenset()

    def explain(self, identity: ObjectId) -> bool:
        return identity.kind in self.kinds or any(
            identity.name == name or identity.name.startswith(f"{name}-") for name in self.names
        )


def declared_removals(key: PlatformKey, spec: Spec, *, stopped: bool = False) -> Removals:
    """Returns the parts that the spec switches off: builtin stores that became external, monitoring, isolation;
    and what acts on pods, if the shop is to be stopped."""
    parts: list[str] = []
    if spec.databases.provider == "external":
        parts += [f"{service}-db" for service in WITH_DATABASE]
    if spec.cache.provider != "builtin":
        parts.append("redis")
    if spec.broker.provider == "external":
        parts += ["rabbitmq", *(f"{service}-broker" for service in WITH_BROKER)]
    if not spec.monitoring.enabled:
        parts.append("monitoring")
    kinds = [] if spec.network_policies.enabled else ["NetworkPolicy"]
    kinds += ["Job", "HorizontalPodAutoscaler"] if stopped else []
    return Removals(frozenset(f"{key.name}-{part}" for part in parts), frozenset(kinds))


@dataclass(frozen=True)
class PruneGuard:
    """Decides which deletions wait for a person."""

    removals: Removals = Removals()
    allowed: str = ""
    """The value of the platform's annotation."""

    def held(self, leftovers: Sequence[ObservedObject], observed: Children) -> tuple[ObservedObject, ...]:
        """Returns the leftovers that are not deleted: all unexplained ones, if one holds data or they are too many.

        If one object is missing that should not be, the rendering cannot be trusted about the others either.
        """
        unexplained = tuple(one for one in leftovers if not self.removals.explain(one.id))
        owned = sum(1 for one in observed.values() if one.owned_digest)
        harmless = len(unexplained) <= MAX_SHARE * owned and not any(_holds_data(one) for one in unexplained)
        return () if harmless or self.allowed == prune_id(unexplained) else unexplained


def _holds_data(seen: ObservedObject) -> bool:
    return seen.id.kind in GUARDED_KINDS


def prune_id(held: Sequence[ObservedObject]) -> str:
    """Returns the id of a set of objects. It contains their uids, so that it allows no other set, also not later
    objects of the same names."""
    return digest(sorted([*one.id, one.uid] for one in held))
