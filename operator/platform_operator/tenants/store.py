"""Holds the tenants, the plans and what is kept for them, as their reflectors see them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from platform_operator.api.kinds import Kind, Manifest, ObjectId, PlatformKey
from platform_operator.api.tenants import SHOP, TENANT, TENANT_PLAN
from platform_operator.reflector import Listed
from platform_operator.tenants.observed import (
    KeptObject,
    Place,
    Plan,
    Tenant,
    observe_kept,
    observe_plan,
    observe_tenant,
)

logger = logging.getLogger(__name__)


@dataclass
class TenantStore:
    """The newest known versions. Passes the name of each tenant that may have to be changed to `enqueue`."""

    enqueue: Callable[[str], None]
    tenants: dict[str, Tenant] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    kept: dict[Place, KeptObject] = field(default_factory=dict)

    def change(self, kind: Kind, type_: str, manifest: Manifest) -> None:
        """Takes over one event."""
        if type_ == "DELETED":
            self._remove(kind, _place(kind, manifest))
        else:
            self._store(kind, manifest)

    def store_listed(self, kind: Kind, page: Iterable[Manifest]) -> Listed:
        """Takes over a page of a list."""
        listed: Listed = set()
        for one in page:
            manifest = one | {"kind": kind.kind, "apiVersion": kind.api_version}  # lists leave them out
            namespace, identity = _place(kind, manifest)
            listed.add((PlatformKey(namespace, ""), identity))
            self._store(kind, manifest)
        return listed

    def remove_unlisted(self, kind: Kind, namespace: str | None, listed: Listed, version: int) -> None:
        """Removes what a list does not contain, but for what was stored after it."""
        known: dict[Place, int] = {place: one.version for place, one in self.kept.items() if place[1].kind == kind.kind}
        if kind is TENANT:
            known = {_cluster_place(kind, name): one.version for name, one in self.tenants.items()}
        elif kind is TENANT_PLAN:
            known = {_cluster_place(kind, name): one.version for name, one in self.plans.items()}
        names = {(key.namespace, identity) for key, identity in listed}
        for place, stored in known.items():
            if place not in names and stored <= version:
                self._remove(kind, place)

    def note_shop(self, key: PlatformKey) -> None:
        """Enqueues the tenant of a shop that changed, or its status: others may wait for that."""
        if key.name == SHOP and key.namespace in self.tenants:
            self.enqueue(key.namespace)

    def store_tenant(self, tenant: Tenant) -> None:
        """Stores a tenant unless a newer version is known. All tenants of a host look at it again."""
        known = self.tenants.get(tenant.name)
        if known is not None and known.version >= tenant.version:
            return
        self.tenants[tenant.name] = tenant
        if known is None or replace(known, version=0, status={}) != replace(tenant, version=0, status={}):
            self.enqueue(tenant.name)
            self._enqueue_host(tenant.spec.get("host"))
            self._enqueue_host(known.spec.get("host") if known else None)
        if known is not None and known.status.get("settled") != tenant.status.get("settled"):
            self._enqueue_waiting()

    def store_kept(self, place: Place, seen: KeptObject) -> None:
        """Stores an object unless a newer version is known."""
        known = self.kept.get(place)
        if known is not None and known.version >= seen.version:
            return
        self.kept[place] = seen
        if known is None or replace(known, version=0) != replace(seen, version=0):
            self._enqueue_owner(seen)

    def _store(self, kind: Kind, manifest: Manifest) -> None:
        try:
            if kind is TENANT:
                self.store_tenant(observe_tenant(manifest))
            elif kind is TENANT_PLAN:
                self._store_plan(observe_plan(manifest))
            else:
                self.store_kept(_place(kind, manifest), observe_kept(manifest))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            logger.warning("cannot read %s: %r", manifest["metadata"]["name"], error)

    def _store_plan(self, plan: Plan) -> None:
        known = self.plans.get(plan.name)
        self.plans[plan.name] = plan
        if known is None or (known.uid, known.generation) != (plan.uid, plan.generation):
            self._enqueue_plan(plan.name)

    def _remove(self, kind: Kind, place: Place) -> None:
        name = place[1].name
        if kind is TENANT:
            gone = self.tenants.pop(name, None)
            self.enqueue(name)
            self._enqueue_host(gone.spec.get("host") if gone else None)
        elif kind is TENANT_PLAN:
            self.plans.pop(name, None)
            self._enqueue_plan(name)
        elif (kept := self.kept.pop(place, None)) is not None:
            self._enqueue_owner(kept)

    def _enqueue_owner(self, kept: KeptObject) -> None:
        if kept.tenant:
            self.enqueue(kept.tenant)
        else:
            self._enqueue_plan(kept.plan)

    def _enqueue_plan(self, plan: str) -> None:
        for one in self.tenants.values():
            if (one.spec.get("planRef") or {}).get("name") == plan:
                self.enqueue(one.name)

    def _enqueue_host(self, host: str | None) -> None:
        for one in self.tenants.values():
            if host and one.spec.get("host") == host:
                self.enqueue(one.name)

    def _enqueue_waiting(self) -> None:
        for one in self.tenants.values():
            if any(row["reason"] == "WaitingForTurn" for row in one.status.get("conditions", ())):
                self.enqueue(one.name)


def _place(kind: Kind, manifest: Manifest) -> Place:
    metadata = manifest["metadata"]
    return metadata.get("namespace", ""), ObjectId(kind.kind, metadata["name"])


def _cluster_place(kind: Kind, name: str) -> Place:
    return "", ObjectId(kind.kind, name)
