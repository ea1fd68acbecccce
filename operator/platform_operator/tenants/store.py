"""Stores the tenants, their plans and the objects of tenants, as their reflectors see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from platform_operator.api.kinds import Kind, Manifest, ObjectId, ObjectKey, PlatformKey, object_key
from platform_operator.api.tenants import SHOP, TENANT, TENANT_PLAN
from platform_operator.reflector import KeyedStore
from platform_operator.tenants.decisions import next_in_turn
from platform_operator.tenants.observed import (
    StoredTenantPlan,
    Tenant,
    TenantObject,
    observe_object,
    observe_plan,
    observe_tenant,
)


@dataclass
class TenantStore(KeyedStore):
    """Stores the newest known versions. Passes the name of each tenant that may have to be changed to `enqueue`."""

    enqueue: Callable[[str], None]
    tenants: dict[str, Tenant] = field(default_factory=dict)
    plans: dict[str, StoredTenantPlan] = field(default_factory=dict)
    objects: dict[ObjectKey, TenantObject] = field(default_factory=dict)

    def enqueue_tenant_of(self, key: PlatformKey) -> None:
        """Enqueues the tenant of a shop that changed, or its status: others may wait for that."""
        if key.name == SHOP and key.namespace in self.tenants:
            self.enqueue(key.namespace)

    def store_tenant(self, tenant: Tenant) -> None:
        """Stores a tenant unless a newer version is known. All tenants of its host are enqueued."""
        known = self.tenants.get(tenant.name)
        if known is not None and known.version >= tenant.version:
            return
        self.tenants[tenant.name] = tenant
        if known is None or replace(known, version=0, status={}) != replace(tenant, version=0, status={}):
            self.enqueue(tenant.name)
            self._enqueue_host(tenant.spec.get("host"))
            self._enqueue_host(known.spec.get("host") if known else None)
        if known is not None and _turn(known) != _turn(tenant):
            self._enqueue_waiting(tenant.status.get("plan", ""))

    def store_object(self, key: ObjectKey, seen: TenantObject) -> None:
        """Stores an object unless a newer version is known."""
        known = self.objects.get(key)
        if known is not None and known.version >= seen.version:
            return
        self.objects[key] = seen
        if known is None or replace(known, version=0) != replace(seen, version=0):
            self._enqueue_owner(seen)

    def _store(self, kind: Kind, manifest: Manifest) -> None:
        if kind is TENANT:
            self.store_tenant(observe_tenant(manifest))
        elif kind is TENANT_PLAN:
            self._store_plan(observe_plan(manifest))
        else:
            self.store_object(object_key(kind.kind, manifest), observe_object(manifest))

    def _versions(self, kind: Kind) -> Mapping[ObjectKey, int]:
        if kind is TENANT:
            return {_cluster_scoped_key(kind, name): one.version for name, one in self.tenants.items()}
        if kind is TENANT_PLAN:
            return {_cluster_scoped_key(kind, name): one.version for name, one in self.plans.items()}
        return {key: one.version for key, one in self.objects.items() if key.id.kind == kind.kind}

    def _store_plan(self, plan: StoredTenantPlan) -> None:
        known = self.plans.get(plan.name)
        self.plans[plan.name] = plan
        if known is None or (known.uid, known.generation) != (plan.uid, plan.generation):
            self._enqueue_plan(plan.name)

    def _remove(self, kind: Kind, key: ObjectKey) -> None:
        name = key.id.name
        if kind is TENANT:
            gone = self.tenants.pop(name, None)
            self.enqueue(name)
            self._enqueue_host(gone.spec.get("host") if gone else None)
        elif kind is TENANT_PLAN:
            self.plans.pop(name, None)
            self._enqueue_plan(name)
        elif (removed := self.objects.pop(key, None)) is not None:
            self._enqueue_owner(removed)

    def _enqueue_owner(self, one: TenantObject) -> None:
        if one.tenant:
            self.enqueue(one.tenant)
        else:
            self._enqueue_plan(one.plan)

    def _enqueue_plan(self, plan: str) -> None:
        for one in self.tenants.values():
            if (one.spec.get("planRef") or {}).get("name") == plan:
                self.enqueue(one.name)

    def _enqueue_host(self, host: str | None) -> None:
        for one in self.tenants.values():
            if host and one.spec.get("host") == host:
                self.enqueue(one.name)

    def _enqueue_waiting(self, plan: str) -> None:
        if plan in self.plans:
            for name in next_in_turn(self.plans[plan], self.tenants.values()):
                self.enqueue(name)


def _turn(tenant: Tenant) -> tuple[object, ...]:
    """Returns what decides whether others wait for a tenant."""
    names = ("settled", "planUID", "planGeneration")
    return tenant.deleted_at, *(tenant.status.get(name) for name in names)


def _cluster_scoped_key(kind: Kind, name: str) -> ObjectKey:
    return ObjectKey("", ObjectId(kind.kind, name))
