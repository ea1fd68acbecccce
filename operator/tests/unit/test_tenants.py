"""Tenants against an API server that is a dictionary: what is made, restored, refused, hibernated and counted."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import cel
import pytest
import yaml
from prometheus_client import REGISTRY

from platform_operator.api.admission import ADMISSION_POLICY, admission_policy, secret_policy
from platform_operator.api.kinds import CHILD_LABELS, FIELD_MANAGER, PLATFORM, Kind, Manifest, ObjectId, PlatformKey
from platform_operator.api.schema import parse_stored
from platform_operator.api.spec import Spec, parse
from platform_operator.api.tenants import (
    ALLOWABLE_FIELDS,
    ANNOTATION_KEEP,
    LABEL_PLAN,
    LABEL_TENANT,
    RESERVED_FIELDS,
    TENANT,
    TENANT_FINALIZER,
    TENANT_PLAN,
    Subject,
    TenantPlanSpec,
    TenantSpec,
)
from platform_operator.cache.observed import observe_platform
from platform_operator.cache.store import Cache
from platform_operator.errors import ApiError
from platform_operator.invariants.scrape_results import PlacedOrders, ScrapeResult, ServiceMetrics, parse_metrics
from platform_operator.tenants.controller import TenantController
from platform_operator.tenants.decisions import time_left
from platform_operator.tenants.objects import TENANT_OBJECT_KINDS, contains, merged
from platform_operator.tenants.observed import observe_object
from platform_operator.tenants.store import TenantStore
from platform_operator.tenants.usage import OrderCounter, parse_quantity, usage
from platform_operator.workqueue import MAX_CONFLICTS, Requeue, WorkQueue

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KINDS = {kind.kind: kind for kind in (*TENANT_OBJECT_KINDS, TENANT, TENANT_PLAN)}
ObjectKey = tuple[str, str, str]


class FakeApiServer:
    """An API server with server-side apply, as far as tenants need it."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, Manifest] = {}
        self.writes: list[str] = []
        self.refused: ApiError | None = None
        self.before_status: Callable[[], Awaitable[object]] | None = None
        self.after_status: Callable[[], Awaitable[object]] | None = None
        self.before_shop: Callable[[], object] = lambda: None
        self.also_applied: Manifest = {}
        """Fields of shops that another manager has applied too: they stay when the operator states them no more."""
        self.finds_nothing = False
        """True if deletions are answered with 404, although the objects exist."""
        self.version = 0

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return copy.deepcopy(self.objects.get((kind.kind, namespace, name)))

    async def apply(
        self, kind: Kind, namespace: str, manifest: Manifest, subresource: str = "", manager: str = FIELD_MANAGER
    ) -> Manifest:
        name = manifest["metadata"]["name"]
        self.writes.append(f"{kind.kind} {name} {subresource}".strip())
        if subresource and self.before_status:
            waiting, self.before_status = self.before_status, None
            await waiting()
        if self.refused and kind.kind == "ResourceQuota":
            raise self.refused
        key = kind.kind, namespace, name
        if kind is PLATFORM:
            self.before_shop()
        expected, is_new = manifest["metadata"].get("resourceVersion"), key not in self.objects
        if expected and (is_new or expected != self.objects[key]["metadata"]["resourceVersion"]):
            raise ApiError(409, "Conflict", "the object has been modified")
        self.version += 1
        stored = self.objects.setdefault(key, {"metadata": {"uid": f"u{self.version}", "generation": 0}})
        if subresource:
            stored["status"] = copy.deepcopy(manifest["status"])
        elif "finalizers" in manifest["metadata"]:
            stored["metadata"]["finalizers"] = list(manifest["metadata"]["finalizers"])
            if "deletionTimestamp" in stored["metadata"] and not stored["metadata"]["finalizers"]:
                del self.objects[key]
        else:
            is_changed = stored.get("spec") != manifest.get("spec")
            kept = {
                name: stored["metadata"][name] for name in ("uid", "generation", "status") if name in stored["metadata"]
            }
            stored.update(copy.deepcopy(manifest))
            stored["metadata"] = {**manifest["metadata"], **kept}
            stored["metadata"]["generation"] += is_changed or is_new
            fields: Manifest = {
                "f:metadata": {},
                **{f"f:{name}": {} for name in manifest if name not in ("kind", "apiVersion")},
            }
            stored["metadata"]["managedFields"] = [{"manager": manager, "operation": "Apply", "fieldsV1": fields}]
            if kind is PLATFORM:
                stored["spec"] = merged(self.also_applied, stored["spec"])
        stored["metadata"]["resourceVersion"] = str(self.version)
        if subresource and self.after_status:
            waiting, self.after_status = self.after_status, None
            await waiting()
        return copy.deepcopy(stored)

    async def overwrite(
        self, kind: Kind, namespace: str, name: str, fields: Manifest, subresource: str = ""
    ) -> Manifest:
        stored = self.objects[kind.kind, namespace, name]
        if fields["metadata"]["resourceVersion"] != stored["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "the object has been modified")
        for field in fields["spec"]:
            stored["spec"].pop(field, None)
            self.also_applied.pop(field, None)
        self.version += 1
        stored["metadata"] |= {"resourceVersion": str(self.version), "generation": stored["metadata"]["generation"] + 1}
        return copy.deepcopy(stored)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> bool:
        self.writes.append(f"delete {kind.kind} {name}")
        if self.finds_nothing:
            return False
        for key in [one for one in self.objects if name in (one[1], one[2]) and one[0] not in ("Tenant", "TenantPlan")]:
            del self.objects[key]
        return True


class FakeCluster:
    """Tenants, plans, and the operator that keeps them."""

    def __init__(self) -> None:
        self.server = FakeApiServer()
        self.now = NOW
        self.orders: dict[str, PlacedOrders] = {}
        self.restart()

    def restart(self) -> None:
        self.queued: set[str] = set()
        self.woken: list[PlatformKey] = []
        self.queue: WorkQueue[str] = WorkQueue(lambda: 0.0)
        """Counts the failures; it queues nothing."""
        self.store, self.shops = TenantStore(self.queued.add), Cache()
        self.controller = TenantController(
            cast(Any, self.server), self.store, self.shops, self.woken.append, "tenant-admin", lambda: self.now,
            self.scrape, self.queue.tolerates, self.now.timestamp(),
        )  # fmt: skip

    def scrape(self, key: PlatformKey) -> dict[str, ScrapeResult]:
        orders = self.orders.get(key.namespace)
        return {"order": ScrapeResult(self.now.timestamp(), ServiceMetrics(orders=orders))} if orders else {}

    def put(self, kind: Kind, name: str, spec: Manifest, **metadata: Any) -> Manifest:
        self.server.version += 1
        key = kind.kind, "", name
        known = self.server.objects.get(key, {"metadata": {"uid": name, "generation": 0}})
        created = (NOW + timedelta(seconds=self.server.version)).isoformat()
        common = {"name": name, "creationTimestamp": known["metadata"].get("creationTimestamp", created)}
        changed = known.get("spec") != spec
        generation = known["metadata"]["generation"] + changed
        stored = known | {"kind": kind.kind, "spec": spec}
        stored["metadata"] = known["metadata"] | common | {"generation": generation} | metadata
        stored["metadata"]["resourceVersion"] = str(self.server.version)
        self.server.objects[key] = stored
        return stored

    def plan(self, name: str = "basic", **spec: Any) -> None:
        self.put(TENANT_PLAN, name, spec)

    def tenant(self, name: str, *, metadata: Manifest | None = None, **spec: Any) -> None:
        self.put(TENANT, name, {"planRef": {"name": "basic"}} | spec, **(metadata or {}))

    async def reconcile(self, name: str, other: Manifest | None = None) -> Requeue:
        """Makes one pass, with the stores as the watches would fill them. They do not see the object `other`."""
        for (kind, _, _), stored in list(self.server.objects.items()):
            if kind == PLATFORM.kind:
                self.shops.store_platform(observe_platform(stored))
            else:
                self.store.change(KINDS[kind], "MODIFIED", copy.deepcopy(stored))
        for tenant in set(self.store.tenants) - {one[2] for one in self.server.objects if one[0] == "Tenant"}:
            del self.store.tenants[tenant]
        if other is not None:
            metadata = other["metadata"]
            self.server.objects[other["kind"], metadata.get("namespace", ""), metadata["name"]] = other
        self.server.writes.clear()
        try:
            with self.queue.counting_conflicts(name):
                requeue = await self.controller.reconcile(name)
        except Exception:
            self.queue.add_rate_limited(name)
            raise
        self.queue.forget(name)
        return requeue

    def get(self, kind: str, name: str, namespace: str) -> Manifest:
        return self.server.objects[kind, namespace, name]

    def shop(self, tenant: str) -> Manifest:
        return self.get(PLATFORM.kind, "shop", tenant)

    def set_shop(self, tenant: str, *conditions: str, **status: Any) -> None:
        """Gives a shop conditions that are True, as of its newest generation."""
        stored = self.shop(tenant)
        rows = [{"type": one, "status": "True", "reason": one, "message": f"{one}."} for one in conditions]
        stored["status"] = {"observedGeneration": stored["metadata"]["generation"], "conditions": rows, **status}
        self.server.version += 1
        stored["metadata"]["resourceVersion"] = str(self.server.version)

    def status(self, tenant: str) -> Manifest:
        status: Manifest = self.get("Tenant", tenant, "")["status"]
        return status

    def condition(self, tenant: str, type_: str) -> tuple[str, str] | None:
        rows = [one for one in self.status(tenant)["conditions"] if one["type"] == type_]
        return (rows[0]["status"], rows[0]["reason"]) if rows else None

    def message(self, tenant: str, type_: str) -> str:
        return next(str(one["message"]) for one in self.status(tenant)["conditions"] if one["type"] == type_)


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    cluster.plan(defaults={"profile": "small"}, allowedFields=["settings"], quota={"pods": "50"})
    return cluster


async def test_a_tenant_gets_a_restricted_namespace_with_its_limits_rights_and_shop(cluster: FakeCluster) -> None:
    cluster.plan(
        quota={"pods": "50"}, limits={"default": {"memory": "256Mi"}}, defaults={"payments": {"provider": "stripe"}}
    )
    cluster.tenant(
        "acme", host="acme.example.com", admins=[{"kind": "Group", "name": "acme"}], platform={"version": "2"}
    )
    await cluster.reconcile("acme")

    labels = cluster.get("Namespace", "acme", "")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert (labels[LABEL_TENANT], labels[LABEL_PLAN]) == ("acme", "basic")
    hard = cluster.get("ResourceQuota", "tenant", "acme")["spec"]["hard"]
    assert (hard["pods"], "requests.storage" in hard) == ("50", True)
    assert hard["count/secrets"] == "100"
    (limits,) = cluster.get("LimitRange", "tenant", "acme")["spec"]["limits"]
    assert limits == {"type": "Container", "default": {"memory": "256Mi"}}
    policy = cluster.get("NetworkPolicy", "default-deny", "acme")
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert not CHILD_LABELS.items() <= policy["metadata"]["labels"].items(), "else the shop would prune it"
    binding = cluster.get("RoleBinding", "tenant-admins", "acme")
    assert binding["roleRef"]["name"] == "tenant-admin"
    assert binding["subjects"] == [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "acme"}]
    assert cluster.shop("acme")["spec"] == {
        "payments": {"provider": "stripe"},
        "version": "2",
        "profile": "small",
        "ingress": {"enabled": True, "host": "acme.example.com"},
    }
    assert TENANT_FINALIZER in cluster.get("Tenant", "acme", "")["metadata"]["finalizers"]


async def test_nothing_is_written_for_a_tenant_that_is_as_it_is_to_be(cluster: FakeCluster) -> None:
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    cluster.set_shop("acme", "Ready", servicesReady="8/8")
    await cluster.reconcile("acme")
    await cluster.reconcile("acme")
    assert cluster.server.writes == []
    assert (cluster.status("acme")["state"], cluster.status("acme")["servicesReady"]) == ("Ready", "8/8")


@pytest.mark.parametrize("kind", ["ResourceQuota", "NetworkPolicy", "RoleBinding"])
async def test_what_is_deleted_or_changed_by_others_is_restored(cluster: FakeCluster, kind: str) -> None:
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    (key,) = (one for one in cluster.server.objects if one[0] == kind)
    stored = cluster.server.objects[key]
    cluster.server.version += 1
    stored["metadata"] |= {"managedFields": [], "resourceVersion": str(cluster.server.version)}
    await cluster.reconcile("acme")
    assert f"{kind} {key[2]}" in cluster.server.writes
    gone = cluster.server.objects.pop(key)
    cluster.store.change(KINDS[kind], "DELETED", gone)
    assert "acme" in cluster.queued
    await cluster.reconcile("acme")
    assert key in cluster.server.objects


async def test_a_namespace_of_others_is_left_alone_until_it_is_given_to_the_tenant(cluster: FakeCluster) -> None:
    metadata: Manifest = {"name": "acme", "uid": "n", "generation": 1, "resourceVersion": "1"}
    other = {"kind": "Namespace", "metadata": metadata}
    cluster.tenant("acme")
    await cluster.reconcile("acme", other=other)
    assert cluster.condition("acme", "Ready") == ("False", "NamespaceTaken")
    assert cluster.server.writes == ["Tenant acme status"], "a finalizer would keep the Tenant for its grace period"
    assert (PLATFORM.kind, "acme", "shop") not in cluster.server.objects
    metadata["labels"] = {LABEL_TENANT: "acme"}
    await cluster.reconcile("acme", other=other)
    assert cluster.condition("acme", "Ready") == ("False", "Progressing")


async def test_a_plan_is_bound_before_its_label_and_for_longer_than_it_exists(cluster: FakeCluster) -> None:
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    binding = f"ValidatingAdmissionPolicyBinding {ADMISSION_POLICY}-basic"
    assert cluster.server.writes[:3] == ["Tenant acme", binding, "Namespace acme"]
    stored = cluster.get("ValidatingAdmissionPolicyBinding", f"{ADMISSION_POLICY}-basic", "")
    assert "ownerReferences" not in stored["metadata"], "the garbage collector would remove the limits with the plan"
    assert stored["spec"]["paramRef"]["parameterNotFoundAction"] == "Deny"


async def test_limits_that_a_plan_no_longer_has_end(cluster: FakeCluster) -> None:
    cluster.plan(limits={"max": {"memory": "1Gi"}})
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    cluster.plan()
    await cluster.reconcile("acme")
    assert cluster.get("LimitRange", "tenant", "acme")["spec"] == {"limits": []}


async def test_a_host_belongs_to_the_tenant_that_was_created_first(cluster: FakeCluster) -> None:
    cluster.tenant("first", host="shop.example.com")
    cluster.tenant("a-later-one", host="shop.example.com")
    await cluster.reconcile("a-later-one")
    assert cluster.condition("a-later-one", "HostConflict") == ("True", "HostTaken")
    assert "tenant first has the host" in cluster.message("a-later-one", "Ready").lower()
    assert [one for one in cluster.server.objects if one[1] == "a-later-one"] == [], "nothing is applied"
    await cluster.reconcile("first")
    assert cluster.condition("first", "HostConflict") == ("False", "HostFree")
    cluster.queued.clear()
    cluster.store.change(TENANT, "DELETED", cluster.server.objects.pop(("Tenant", "", "first")))
    assert "a-later-one" in cluster.queued
    await cluster.reconcile("a-later-one")
    assert cluster.condition("a-later-one", "HostConflict") == ("True", "HostTaken"), "its shop exists still"
    del cluster.server.objects[PLATFORM.kind, "first", "shop"], cluster.shops.platforms[PlatformKey("first", "shop")]
    await cluster.reconcile("a-later-one")
    assert cluster.condition("a-later-one", "HostConflict") == ("False", "HostFree")


async def test_a_host_that_admins_have_applied_too_goes_with_that_of_the_tenant(cluster: FakeCluster) -> None:
    cluster.tenant("acme", host="shop.example.com")
    cluster.tenant("other", host="shop.example.com")
    await cluster.reconcile("acme")
    cluster.server.also_applied = {"ingress": {"enabled": True, "host": "shop.example.com"}}
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    assert "ingress" not in cluster.shop("acme")["spec"]
    await cluster.reconcile("other")
    assert cluster.condition("other", "HostConflict") == ("False", "HostFree")
    cluster.shop("acme")["spec"]["ingress"] = {"enabled": True, "host": "shop.example.com"}
    cluster.set_shop("acme", "Ready")
    await cluster.reconcile("acme")
    assert "ingress" not in cluster.shop("acme")["spec"], "a shop without a host is compared, too"


async def test_a_shop_that_has_a_host_keeps_it_whoever_is_older(cluster: FakeCluster) -> None:
    cluster.tenant("older", host="old.example.com")
    cluster.tenant("younger", host="shop.example.com")
    await cluster.reconcile("younger")
    await cluster.reconcile("older")
    cluster.tenant("older", host="shop.example.com")
    await cluster.reconcile("older")
    assert "tenant younger has the host" in cluster.message("older", "HostConflict")
    assert cluster.shop("older")["spec"]["ingress"]["host"] == "old.example.com"
    await cluster.reconcile("younger")
    assert cluster.condition("younger", "HostConflict") == ("False", "HostFree")

    spec = {"ingress": {"enabled": True, "host": "own.example.com"}}
    metadata = {"name": "web", "namespace": "default", "uid": "w", "generation": 1, "resourceVersion": "1"}
    cluster.shops.store_platform(observe_platform({"metadata": metadata, "spec": spec}))
    cluster.tenant("third", host="own.example.com")
    await cluster.reconcile("third")
    assert "shop default/web has the host" in cluster.message("third", "Ready")


async def test_the_shop_of_a_tenant_moves_to_another_tenant_with_its_host(cluster: FakeCluster) -> None:
    """These are the steps of docs/operations.md, "Move the shop of a tenant"."""
    cluster.plan(defaults={"ingress": {"className": "nginx"}})
    host = "acme.example.com"
    cluster.tenant("acme", host=host)
    await cluster.reconcile("acme")
    cluster.tenant("acme-cnpg", platform={"databases": {"provider": "cnpg"}})
    await cluster.reconcile("acme-cnpg")
    moved = cluster.shop("acme-cnpg")["spec"]
    assert (moved["databases"], "ingress" in moved) == ({"provider": "cnpg"}, False)

    cluster.tenant("acme", host=host, platform={"closed": True})
    await cluster.reconcile("acme")
    assert cluster.shop("acme")["spec"]["closed"] is True
    cluster.tenant("acme-cnpg", host=host, platform={"databases": {"provider": "cnpg"}})
    await cluster.reconcile("acme-cnpg")
    assert cluster.condition("acme-cnpg", "HostConflict") == ("True", "HostTaken")

    cluster.tenant("acme", platform={"closed": True})
    await cluster.reconcile("acme")
    assert (cluster.shop("acme")["spec"]["closed"], "ingress" in cluster.shop("acme")["spec"]) == (True, False)
    await cluster.reconcile("acme-cnpg")
    assert cluster.condition("acme-cnpg", "HostConflict") == ("False", "HostFree")
    assert cluster.shop("acme-cnpg")["spec"]["ingress"] == {"className": "nginx", "enabled": True, "host": host}

    cluster.tenant("acme", platform={"closed": True}, suspended=True)
    await cluster.reconcile("acme")
    assert cluster.shop("acme")["spec"]["hibernated"] is True


@pytest.mark.parametrize("ingress", [{"enabled": True, "host": "old.example.com"}, None])
async def test_a_tenant_without_its_host_can_be_hibernated(cluster: FakeCluster, ingress: Manifest | None) -> None:
    cluster.tenant("holder", host="shop.example.com")
    cluster.tenant("acme", **({"host": ingress["host"]} if ingress else {}))
    await cluster.reconcile("holder")
    await cluster.reconcile("acme")
    cluster.tenant("acme", host="shop.example.com", suspended=True)
    await cluster.reconcile("acme")
    spec = cluster.shop("acme")["spec"]
    assert (spec["hibernated"], spec["ingress"]) == (True, ingress or {"enabled": False})
    assert cluster.condition("acme", "Ready") == ("False", "Suspending")
    assert cluster.condition("acme", "HostConflict") == ("True", "HostTaken")
    cluster.tenant("acme", host="shop.example.com")
    await delete(cluster, "acme")
    cluster.shop("acme")["spec"].pop("hibernated")
    cluster.set_shop("acme", "Ready")
    await cluster.reconcile("acme")
    assert cluster.shop("acme")["spec"]["hibernated"] is True
    cluster.now += timedelta(days=7)
    await cluster.reconcile("acme")
    assert ("Namespace", "", "acme") not in cluster.server.objects


async def test_what_the_plan_does_not_have_is_refused_with_what_to_do(cluster: FakeCluster) -> None:
    cluster.plan(hosts=["*.shops.example.com"], maxProfile="medium")
    for name, spec in (
        ("host", {"host": "shop.example.com"}),
        ("label", {"host": "a.b.shops.example.com"}),
        ("profile", {"platform": {"profile": "large"}}),
    ):
        cluster.tenant(name, **spec)
        await cluster.reconcile(name)
        assert cluster.condition(name, "Ready") == ("False", "PlanViolated")
        assert (PLATFORM.kind, name, "shop") not in cluster.server.objects
    cluster.tenant("fine", host="a.shops.example.com", platform={"profile": "medium"})
    await cluster.reconcile("fine")
    assert cluster.shop("fine")["spec"]["profile"] == "medium"
    cluster.tenant("lost", planRef={"name": "none"})
    await cluster.reconcile("lost")
    assert cluster.condition("lost", "Ready") == ("False", "PlanMissing")


@pytest.mark.parametrize("spec", [{"host": "shop.example.com"}, {"platform": {"profile": "large"}}])
@pytest.mark.parametrize("stop", ["suspend", "delete"])
async def test_a_tenant_that_its_plan_refuses_can_be_suspended_and_deleted(
    cluster: FakeCluster, spec: Manifest, stop: str
) -> None:
    cluster.plan(hosts=["*.example.com"], maxProfile="large")
    cluster.tenant("acme", **spec)
    await cluster.reconcile("acme")
    stored = copy.deepcopy(cluster.shop("acme")["spec"])
    cluster.plan(hosts=["*.shops.example.com"], maxProfile="medium")
    cluster.set_shop("acme", "Ready")
    await cluster.reconcile("acme")
    assert cluster.condition("acme", "Ready") == ("False", "PlanViolated")

    if stop == "suspend":
        cluster.tenant("acme", suspended=True, **spec)
    else:
        await delete(cluster, "acme")
    await cluster.reconcile("acme")
    assert cluster.shop("acme")["spec"] == stored | {"hibernated": True}
    assert cluster.condition("acme", "Ready") == ("False", "Suspending")

    if stop == "suspend":
        cluster.tenant("acme", **spec)
        await cluster.reconcile("acme")
        assert cluster.condition("acme", "Ready") == ("False", "PlanViolated"), "it is refused again when it is resumed"


async def test_what_admins_may_set_stays_and_everything_else_is_the_platform_teams(cluster: FakeCluster) -> None:
    cluster.tenant("acme", platform={"settings": {"currencies": ["EUR"]}})
    await cluster.reconcile("acme")
    live = cluster.shop("acme")
    live["spec"] |= {"settings": {"currencies": ["USD"]}, "profile": "large"}
    cluster.server.version += 1
    live["metadata"]["resourceVersion"] = str(cluster.server.version)
    await cluster.reconcile("acme")
    spec = cluster.shop("acme")["spec"]
    assert (spec["settings"], spec["profile"]) == ({"currencies": ["USD"]}, "small")


async def test_an_edit_that_admins_make_during_a_pass_is_not_undone(cluster: FakeCluster) -> None:
    cluster.tenant("acme", platform={"settings": {"currencies": ["EUR"]}})
    await cluster.reconcile("acme")

    def edit() -> None:
        cluster.server.before_shop = lambda: None
        cluster.shop("acme")["spec"]["settings"] = {"currencies": ["USD"]}
        cluster.set_shop("acme")

    cluster.server.before_shop = edit
    cluster.tenant("acme", suspended=True, platform={"settings": {"currencies": ["EUR"]}})
    with pytest.raises(ApiError) as refused:
        await cluster.reconcile("acme")
    assert refused.value.conflict
    assert cluster.shop("acme")["spec"]["settings"] == {"currencies": ["USD"]}
    assert cluster.condition("acme", "Ready") == ("False", "Progressing"), "it is no refusal"
    await cluster.controller.reconcile("acme")  # no event has come since: it was read again
    spec = cluster.shop("acme")["spec"]
    assert (spec["settings"], spec["hibernated"]) == ({"currencies": ["USD"]}, True)


async def test_a_conflict_of_a_tenant_that_comes_again_and_again_is_said(cluster: FakeCluster) -> None:
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    status = copy.deepcopy(cluster.status("acme"))

    def refuse() -> None:
        raise ApiError(409, "Conflict", "the object has been modified")

    cluster.server.before_shop = refuse
    cluster.tenant("acme", suspended=True)
    for _ in range(MAX_CONFLICTS):
        with pytest.raises(ApiError):
            await cluster.reconcile("acme")
        assert cluster.status("acme") == status
    with pytest.raises(ApiError):
        await cluster.reconcile("acme")
    assert "the object has been modified" in cluster.message("acme", "Ready")


async def test_a_new_leader_that_has_not_seen_a_shop_does_not_undo_what_its_admins_have_set(
    cluster: FakeCluster,
) -> None:
    cluster.tenant("acme", platform={"settings": {"currencies": ["EUR"]}})
    await cluster.reconcile("acme")
    shop = cluster.server.objects.pop((PLATFORM.kind, "acme", "shop"))
    shop["spec"]["settings"] = {"currencies": ["USD"]}
    cluster.restart()
    with pytest.raises(ApiError) as refused:
        await cluster.reconcile("acme", shop)
    assert refused.value.conflict
    assert cluster.woken == [PlatformKey("acme", "shop")], "what was read again comes by no event"
    await cluster.controller.reconcile("acme")
    assert cluster.shop("acme")["spec"]["settings"] == {"currencies": ["USD"]}
    assert cluster.condition("acme", "Ready") == ("False", "Progressing")


def _documented(kind: str) -> dict[str, Any]:
    """Returns the spec of the one example of a kind in docs/tenants.md."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/tenants.md").read_text(), re.DOTALL)
    (example,) = [one for one in map(yaml.safe_load, blocks) if one["kind"] == kind]
    spec: dict[str, Any] = example["spec"]
    return spec


def test_the_documented_tenant_is_valid_and_has_the_plan_of_the_samples() -> None:
    spec = parse_stored(TenantSpec, _documented("Tenant"))
    plan = yaml.safe_load((ROOT / "manifests/samples/tenants/tenantplan.yaml").read_text())
    assert spec.plan_ref.name == plan["metadata"]["name"]


async def test_a_plan_has_the_backups_of_its_tenants_and_admins_cannot_change_them(cluster: FakeCluster) -> None:
    example = _documented("TenantPlan")
    policy = example["defaults"]["backup"]
    parse_stored(TenantPlanSpec, example)
    cluster.plan(**example)
    cluster.tenant("acme", platform={"backup": {"retention": {"days": 90}}})
    await cluster.reconcile("acme")
    expected = merged(policy, {"retention": {"days": 90}})
    assert cluster.shop("acme")["spec"]["backup"] == expected
    assert parse(cluster.shop("acme")["spec"]).backup is not None, "the example is valid"

    for edited in ({"schedule": "0 0 1 1 *"}, None):
        cluster.shop("acme")["spec"]["backup"] = edited
        cluster.set_shop("acme", "Ready")
        await cluster.reconcile("acme")
        assert cluster.shop("acme")["spec"]["backup"] == expected
    assert "backup" not in ALLOWABLE_FIELDS

    cluster.plan(defaults={"backup": policy | {"schedule": "30 3 * * *"}})
    cluster.set_shop("acme", "Ready")
    await cluster.reconcile("acme")
    assert cluster.shop("acme")["spec"]["backup"]["schedule"] == "30 3 * * *"


async def test_a_profile_that_admins_chose_is_lowered_with_the_plan(cluster: FakeCluster) -> None:
    cluster.plan(allowedFields=["profile"], maxProfile="large", defaults={"profile": "large"})
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    assert cluster.shop("acme")["spec"]["profile"] == "large"
    cluster.plan(allowedFields=["profile"], maxProfile="medium", defaults={"profile": "medium"})
    cluster.set_shop("acme", "Ready")
    await cluster.reconcile("acme")
    assert cluster.shop("acme")["spec"]["profile"] == "medium"


async def test_a_profile_that_the_plan_no_longer_leaves_to_admins_is_restored(cluster: FakeCluster) -> None:
    cluster.plan(allowedFields=["profile"], maxProfile="large")
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    cluster.shop("acme")["spec"]["profile"] = "large"
    cluster.set_shop("acme", "Ready")
    cluster.plan(maxProfile="large")
    await cluster.reconcile("acme")
    assert cluster.shop("acme")["spec"]["profile"] == "small"


async def test_a_tenant_takes_its_turn_until_its_status_is_stored(cluster: FakeCluster) -> None:
    await two_ready_tenants(cluster)
    cluster.plan(concurrency=1, quota={"pods": "60"})
    cluster.server.before_status = lambda: cluster.reconcile("a")
    await cluster.reconcile("b")
    assert cluster.condition("a", "PlanApplied") == ("False", "WaitingForTurn")


async def two_ready_tenants(cluster: FakeCluster) -> None:
    """Two tenants whose shops are ready, of a plan that changes one at a time."""
    cluster.plan(concurrency=1)
    for name in ("a", "b"):
        cluster.tenant(name)
        await cluster.reconcile(name)
        cluster.set_shop(name, "Ready")
        await cluster.reconcile(name)


async def two_tenants(cluster: FakeCluster) -> None:
    """Two tenants whose shops are ready, of which one at a time takes a changed plan."""
    await two_ready_tenants(cluster)
    cluster.plan(concurrency=1, quota={"pods": "60"}, defaults={"version": "2"})


async def fail() -> None:
    raise ApiError(503, "Unavailable", "the API server is overloaded")


async def test_a_tenant_whose_status_could_not_be_written_counts_as_changing(cluster: FakeCluster) -> None:
    await two_tenants(cluster)
    cluster.server.before_status = fail
    with pytest.raises(ApiError):
        await cluster.reconcile("a")
    await cluster.reconcile("b")
    assert cluster.condition("b", "PlanApplied") == ("False", "WaitingForTurn")
    await cluster.reconcile("a")
    cluster.set_shop("a", "Ready")
    await cluster.reconcile("a")
    await cluster.reconcile("b")
    assert cluster.condition("b", "PlanApplied") == ("True", "Applied")


async def test_a_tenant_whose_shop_may_have_been_changed_counts_as_changing(cluster: FakeCluster) -> None:
    await two_tenants(cluster)

    def lose_the_answer() -> None:
        raise ApiError(0, "Unreachable", "no answer")

    cluster.server.before_shop = lose_the_answer
    with pytest.raises(ApiError):
        await cluster.reconcile("a")
    await cluster.reconcile("b")
    assert cluster.condition("b", "PlanApplied") == ("False", "WaitingForTurn")

    def say_that_it_was_written() -> None:
        raise ApiError(409, "Conflict", "the object has been modified")

    cluster.server.before_shop = say_that_it_was_written
    with pytest.raises(ApiError):
        await cluster.reconcile("a")
    cluster.server.before_shop = lambda: None
    await cluster.reconcile("b")
    assert cluster.condition("b", "PlanApplied") == ("False", "WaitingForTurn")


@pytest.mark.parametrize("status", [403, 422, 500])
async def test_a_changed_plan_stops_at_a_tenant_whose_objects_are_refused(cluster: FakeCluster, status: int) -> None:
    await two_tenants(cluster)
    cluster.server.refused = ApiError(status, "Refused", "no quantity")
    with pytest.raises(ApiError):
        await cluster.reconcile("a")
    assert (cluster.condition("a", "Ready"), cluster.status("a")["settled"]) == (("False", "Refused"), False)
    cluster.restart()
    await cluster.reconcile("b")
    assert cluster.condition("b", "PlanApplied") == ("False", "WaitingForTurn")
    cluster.server.refused = None
    await cluster.reconcile("a")
    cluster.set_shop("a", "Ready")
    await cluster.reconcile("a")
    await cluster.reconcile("b")
    assert cluster.condition("b", "PlanApplied") == ("True", "Applied")


async def test_a_deleted_tenant_no_longer_counts_as_changing(cluster: FakeCluster) -> None:
    await two_tenants(cluster)
    cluster.server.before_status = fail
    with pytest.raises(ApiError):
        await cluster.reconcile("b")
    del cluster.server.objects["Tenant", "", "b"]
    await cluster.reconcile("b")
    await cluster.reconcile("a")
    assert cluster.condition("a", "PlanApplied") == ("True", "Applied")


async def break_shop(cluster: FakeCluster, name: str) -> None:
    cluster.set_shop(name, "Degraded")
    await cluster.reconcile(name)


async def test_a_shop_that_was_broken_before_gets_a_changed_plan_last_and_holds_up_no_other(
    cluster: FakeCluster,
) -> None:
    await two_ready_tenants(cluster)
    await break_shop(cluster, "a")
    cluster.tenant("c")
    await cluster.reconcile("c")
    cluster.set_shop("c", "Ready")
    await cluster.reconcile("c")
    cluster.plan(concurrency=1, defaults={"version": "2"})
    await cluster.reconcile("a")
    assert cluster.condition("a", "PlanApplied") == ("False", "WaitingForTurn")
    for name in ("b", "c"):
        await cluster.reconcile(name)
        assert cluster.condition(name, "PlanApplied") == ("True", "Applied")
        cluster.set_shop(name, "Ready")
        await cluster.reconcile(name)
    await cluster.reconcile("a")
    assert cluster.condition("a", "PlanApplied") == ("True", "Applied")
    assert cluster.status("a")["settledBefore"] is False

    cluster.plan(concurrency=1, defaults={"version": "3"})
    cluster.tenant("a", displayName="A")
    await cluster.reconcile("a")
    assert cluster.shop("a")["spec"]["version"] == "3", "an edited Tenant does not wait"
    await cluster.reconcile("b")
    assert cluster.condition("b", "PlanApplied") == ("True", "Applied"), "and holds up no other if it was broken"
    await break_shop(cluster, "b")
    await cluster.reconcile("c")
    assert cluster.condition("c", "PlanApplied") == ("False", "WaitingForTurn"), "the change itself has broken b"


async def test_a_shop_that_was_broken_before_does_not_wait_for_a_tenant_that_cannot_get_the_plan(
    cluster: FakeCluster,
) -> None:
    await two_ready_tenants(cluster)
    await break_shop(cluster, "a")
    cluster.tenant("b", host="shop.example.com")
    await cluster.reconcile("b")
    cluster.set_shop("b", "Ready")
    await cluster.reconcile("b")
    cluster.plan(concurrency=1, hosts=["*.shops.example.com"])
    await cluster.reconcile("b")
    assert cluster.condition("b", "Ready") == ("False", "PlanViolated")
    await cluster.reconcile("a")
    assert cluster.condition("a", "PlanApplied") == ("True", "Applied")


async def test_a_server_failure_while_nothing_changes_does_not_unsettle_a_tenant(cluster: FakeCluster) -> None:
    await two_ready_tenants(cluster)
    del cluster.server.objects["ResourceQuota", "a", "tenant"], cluster.store.objects
    cluster.restart()
    cluster.server.refused = ApiError(503, "Unavailable", "the API server is overloaded")
    with pytest.raises(ApiError):
        await cluster.reconcile("a")
    assert (cluster.condition("a", "Ready"), cluster.status("a")["settled"]) == (("False", "Refused"), True)


async def test_a_tenant_that_waits_reports_its_shop_as_it_is(cluster: FakeCluster) -> None:
    await two_tenants(cluster)
    await cluster.reconcile("a")
    await cluster.reconcile("b")
    assert cluster.condition("b", "PlanApplied") == ("False", "WaitingForTurn")
    assert (cluster.condition("b", "Ready"), cluster.status("b")["state"]) == (("True", "Ready"), "Ready")
    await break_shop(cluster, "b")
    assert cluster.condition("b", "Ready") == ("False", "Degraded")


async def test_an_error_says_nothing_of_who_has_the_host(cluster: FakeCluster) -> None:
    cluster.tenant("holder", host="shop.example.com")
    cluster.tenant("acme")
    await cluster.reconcile("holder")
    await cluster.reconcile("acme")
    cluster.tenant("acme", host="shop.example.com", suspended=True)
    await cluster.reconcile("acme")
    assert cluster.condition("acme", "HostConflict") == ("True", "HostTaken")
    cluster.server.refused = ApiError(503, "Unavailable", "the API server is overloaded")
    cluster.plan(quota={"pods": "9"})
    with pytest.raises(ApiError):
        await cluster.reconcile("acme")
    assert cluster.condition("acme", "HostConflict") == ("True", "HostTaken")
    cluster.tenant("acme", host="shop.example.com", admins="all")
    stored = next(one for one in cluster.status("acme")["conditions"] if one["type"] == "HostConflict")
    await cluster.reconcile("acme")
    assert cluster.condition("acme", "Ready") == ("False", "PlanViolated")
    assert stored in cluster.status("acme")["conditions"], "it stands as it was"
    cluster.tenant("broken", admins="all")
    await cluster.reconcile("broken")
    assert cluster.condition("broken", "HostConflict") is None


async def test_a_deleted_tenant_whose_namespace_ends_does_not_say_that_its_shop_is_created(
    cluster: FakeCluster,
) -> None:
    cluster.tenant("acme", deleteAfter="0m")
    await delete(cluster, "acme")
    del cluster.server.objects[PLATFORM.kind, "acme", "shop"]
    cluster.shops.platforms.clear()
    namespace = cluster.get("Namespace", "acme", "")
    cluster.server.version += 1
    ends = {"deletionTimestamp": cluster.now.isoformat(), "resourceVersion": str(cluster.server.version)}
    namespace["metadata"] |= ends
    await cluster.reconcile("acme")
    assert cluster.condition("acme", "Ready") == ("False", "DeletingNamespace")
    assert "with all data in it" in cluster.message("acme", "Ready")


async def test_a_step_of_a_rollout_rewrites_no_status_of_a_tenant_that_waits(cluster: FakeCluster) -> None:
    names = [f"t{number:02}" for number in range(8)]
    for name in names:
        cluster.tenant(name)
        await cluster.reconcile(name)
        cluster.set_shop(name, "Ready")
        await cluster.reconcile(name)
    cluster.plan(concurrency=2, defaults={"version": "2"})
    for name in names:
        await cluster.reconcile(name)
    cluster.queued.clear()
    passes = 0
    for name in names:
        cluster.set_shop(name, "Ready")
        cluster.queued.add(name)
        while cluster.queued:
            await cluster.reconcile(cluster.queued.pop())
            passes += 1
    assert all(cluster.shop(name)["spec"]["version"] == "2" for name in names)
    assert passes <= 6 * len(names)
    cluster.plan(concurrency=2, defaults={"version": "3"})
    for name in names:
        await cluster.reconcile(name)
    cluster.set_shop("t00", "Ready")
    await cluster.reconcile("t00")
    await cluster.reconcile("t02")
    await cluster.reconcile("t07")
    assert cluster.server.writes == []
    assert "at most 2 tenants at a time" in cluster.message("t07", "PlanApplied")


@pytest.mark.parametrize("stop", ["suspend", "delete"])
@pytest.mark.parametrize("fault", ["quota", "platform", "plan missing", "plan invalid"])
async def test_a_tenant_is_hibernated_on_suspension_and_deletion_whatever_is_refused(
    cluster: FakeCluster, stop: str, fault: str
) -> None:
    cluster.tenant("acme")
    await delete(cluster, "acme") if stop == "delete" else await cluster.reconcile("acme")
    live = copy.deepcopy(cluster.shop("acme")["spec"])
    spec: Manifest = {"suspended": stop == "suspend"}
    if fault == "quota":
        cluster.plan(quota={"pods": "fifty"})
        cluster.server.refused = ApiError(422, "Invalid", "quantities must match")
    elif fault == "platform":
        spec |= {"platform": {"servces": {}}}
    elif fault == "plan invalid":
        cluster.plan(concurrency="many")
    else:
        del cluster.server.objects["TenantPlan", "", "basic"], cluster.store.plans["basic"]
    known = cluster.get("Tenant", "acme", "")["metadata"]
    gone = {"deletionTimestamp": known["deletionTimestamp"]} if stop == "delete" else {}
    cluster.tenant("acme", **spec, metadata=gone)
    with suppress(ApiError):
        await cluster.reconcile("acme")
    assert cluster.shop("acme")["spec"] == live | {"hibernated": True}
    assert cluster.condition("acme", "Ready") != ("True", "Ready")


@pytest.mark.parametrize(
    ("defaults", "platform", "message"),
    [
        ({}, {"servces": {}}, "spec.platform.servces of the Tenant acme"),
        ({}, {"services": {"order": {"replica": 1}}}, "spec.platform.services.order.replica of the Tenant acme"),
        ({}, {"network_policies": {}}, "spec.platform.network_policies of the Tenant acme"),
        ({}, {"services": []}, "spec.platform.services of the Tenant acme"),
        ({}, {"paused": "yes"}, "spec.platform.paused of the Tenant acme"),
        ({"pods": {"lables": {}}}, {}, "spec.defaults.pods.lables of the TenantPlan basic"),
        ({"backup": {"schedule": "0 1 * * *"}}, {}, "of the TenantPlan basic"),
    ],
)
async def test_a_field_that_no_shop_has_is_reported_before_anything_is_applied(
    cluster: FakeCluster, defaults: Manifest, platform: Manifest, message: str
) -> None:
    cluster.plan(defaults=defaults)
    cluster.tenant("acme", platform=platform)
    await cluster.reconcile("acme")
    assert cluster.condition("acme", "Ready") == ("False", "PlanViolated")
    assert message in cluster.message("acme", "Ready")
    assert cluster.server.writes == ["Tenant acme status"]


async def test_a_tenant_waits_for_no_tenant_of_another_plan(cluster: FakeCluster) -> None:
    await two_tenants(cluster)
    cluster.put(TENANT_PLAN, "other", {"concurrency": 1})
    cluster.tenant("c", planRef={"name": "other"})
    await cluster.reconcile("c")
    cluster.set_shop("c", "Ready")
    await cluster.reconcile("c")
    cluster.put(TENANT_PLAN, "other", {"concurrency": 1, "defaults": {"version": "2"}})
    cluster.server.before_status = fail
    with pytest.raises(ApiError):
        await cluster.reconcile("a")
    await cluster.reconcile("c")
    assert cluster.condition("c", "PlanApplied") == ("True", "Applied")


async def test_a_plan_that_is_created_again_is_a_changed_one(cluster: FakeCluster) -> None:
    await two_ready_tenants(cluster)
    generation = cluster.get("TenantPlan", "basic", "")["metadata"]["generation"]
    cluster.put(TENANT_PLAN, "basic", {"concurrency": 1, "defaults": {"version": "2"}}, uid="new")
    cluster.get("TenantPlan", "basic", "")["metadata"]["generation"] = generation
    await cluster.reconcile("a")
    await cluster.reconcile("b")
    assert cluster.condition("b", "PlanApplied") == ("False", "WaitingForTurn")


async def test_a_changed_plan_changes_so_many_tenants_at_once(cluster: FakeCluster) -> None:
    names = ["a", "b", "c", "d"]
    cluster.plan(concurrency=2, quota={"pods": "50"})
    for name in names:
        cluster.tenant(name)
        await cluster.reconcile(name)
        cluster.set_shop(name, "Ready")
        await cluster.reconcile(name)
    cluster.plan(concurrency=2, quota={"pods": "60"}, defaults={"version": "2"})

    def changed() -> list[str]:
        return [one for one in names if cluster.get("ResourceQuota", "tenant", one)["spec"]["hard"]["pods"] == "60"]

    for name in names:
        await cluster.reconcile(name)
    assert changed() == ["a", "b"]
    assert cluster.condition("c", "PlanApplied") == ("False", "WaitingForTurn")
    assert "at most 2 tenants at a time" in cluster.message("c", "PlanApplied")
    cluster.set_shop("a", "Ready")
    cluster.queued.clear()
    await cluster.reconcile("a")
    assert {"c", "d"} & cluster.queued == {"c"}, "as many that wait look again as are done"
    await cluster.reconcile("c")
    await cluster.reconcile("d")
    assert changed() == ["a", "b", "c"]
    cluster.tenant("d", displayName="D")
    await cluster.reconcile("d")
    assert changed() == names, "what is changed in the Tenant itself waits for none"


@pytest.mark.parametrize(
    ("suspended", "conditions", "is_settled"),
    [
        (False, ["Ready"], True),
        (True, ["Hibernated"], True),
        (False, ["Closed"], True),
        (True, ["Hibernated", "Closed"], True),
        (True, ["Closed"], False),
        (False, ["Closed", "Progressing"], False),
        (False, ["Closed", "Degraded"], False),
        (False, [], False),
    ],
)
async def test_a_shop_that_is_as_its_spec_says_is_settled(
    cluster: FakeCluster, suspended: bool, conditions: list[str], is_settled: bool
) -> None:
    """A closed one would keep a changed plan from all tenants after it."""
    cluster.tenant("acme", suspended=suspended)
    await cluster.reconcile("acme")
    cluster.set_shop("acme", *conditions)
    await cluster.reconcile("acme")
    assert cluster.status("acme")["settled"] is is_settled


def fail_upgrade(cluster: FakeCluster, name: str, version: str, phase: str = "RolledBack") -> None:
    """Makes the upgrade of a shop to a version fail. With RolledBack the shop is ready with the version before."""
    upgrade = {"version": version, "charts": "c", "phase": phase, "step": "stores", "since": "2026-01-01T00:00:00Z"}
    cluster.set_shop(name, "Ready", version="1", targetVersion="1", upgrade=upgrade)
    failed = {"type": "Upgraded", "status": "False", "reason": phase, "message": f"{version} has failed."}
    cluster.shop(name)["status"]["conditions"].append(failed)


@pytest.mark.parametrize("phase", ["RollingBack", "RollbackFailed", "RolledBack", "Stopped"])
async def test_a_changed_plan_stops_at_a_shop_whose_upgrade_has_failed(cluster: FakeCluster, phase: str) -> None:
    await two_tenants(cluster)
    await cluster.reconcile("a")
    fail_upgrade(cluster, "a", "2", phase)
    await cluster.reconcile("a")
    await cluster.reconcile("b")
    assert cluster.condition("b", "PlanApplied") == ("False", "WaitingForTurn")
    assert "version" not in cluster.shop("b")["spec"]
    assert (cluster.condition("a", "Ready"), cluster.status("a")["settled"]) == (("False", "UpgradeFailed"), False)
    assert "correct the version" in cluster.message("a", "Ready")
    assert "2 has failed" in cluster.message("a", "Ready")


async def test_a_shop_whose_plan_no_longer_has_the_version_that_failed_is_settled(cluster: FakeCluster) -> None:
    await two_tenants(cluster)
    await cluster.reconcile("a")
    cluster.tenant("a", displayName="an edited Tenant does not wait")
    cluster.plan(concurrency=1, defaults={"version": "1"})
    await cluster.reconcile("a")
    fail_upgrade(cluster, "a", "2")
    await cluster.reconcile("a")
    assert (cluster.condition("a", "Ready"), cluster.status("a")["settled"]) == (("True", "Ready"), True)


async def test_a_failed_upgrade_to_the_release_of_the_operator_is_no_fault_of_a_plan(cluster: FakeCluster) -> None:
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    fail_upgrade(cluster, "acme", "2")
    await cluster.reconcile("acme")
    assert cluster.condition("acme", "Ready") == ("False", "UpgradeFailed")
    assert cluster.message("acme", "Ready") == "The upgrade to the operator's release has failed. 2 has failed."


async def test_a_suspended_tenant_is_hibernated_and_keeps_its_data(cluster: FakeCluster) -> None:
    cluster.tenant("acme", suspended=True)
    await cluster.reconcile("acme")
    assert cluster.shop("acme")["spec"]["hibernated"] is True
    assert cluster.condition("acme", "Ready") == ("False", "Suspending")
    cluster.set_shop("acme", "Hibernated")
    await cluster.reconcile("acme")
    assert cluster.status("acme")["state"] == "Suspended"
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    assert "hibernated" not in cluster.shop("acme")["spec"]


async def test_a_shop_that_its_tenant_changes_is_reconciled_at_once(cluster: FakeCluster) -> None:
    shop = PlatformKey("acme", "shop")
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    assert cluster.woken == [shop]
    await cluster.reconcile("acme")
    assert cluster.woken == [shop], "nothing changed"
    cluster.tenant("acme", suspended=True)
    await cluster.reconcile("acme")
    assert cluster.woken == [shop, shop]


async def test_a_tenant_is_reconciled_when_the_status_of_its_shop_changes(cluster: FakeCluster) -> None:
    cluster.shops.listeners.append(cluster.store.enqueue_tenant_of)
    for name in ("acme", "bakery"):
        cluster.tenant(name)
        await cluster.reconcile(name)
    cluster.queued.clear()
    cluster.set_shop("acme", "Ready")
    cluster.shops.store_platform(observe_platform(cluster.shop("acme")))
    assert cluster.queued == {"acme"}
    cluster.shops.store_platform(observe_platform(cluster.shop("bakery") | {"metadata": OTHER_SHOP}))
    assert cluster.queued == {"acme"}, "a shop beside the tenant's is none of the tenant's"


OTHER_SHOP = {"namespace": "bakery", "name": "other", "uid": "other", "resourceVersion": "99", "generation": 1}


async def delete(cluster: FakeCluster, name: str) -> None:
    await cluster.reconcile(name)
    cluster.put(TENANT, name, cluster.get("Tenant", name, "")["spec"], deletionTimestamp=cluster.now.isoformat())


async def test_a_deleted_tenant_is_hibernated_and_its_data_go_after_the_grace_period(
    cluster: FakeCluster,
) -> None:
    cluster.tenant("acme", deleteAfter="3d")
    await delete(cluster, "acme")
    await cluster.reconcile("acme")
    assert cluster.shop("acme")["spec"]["hibernated"] is True
    assert "are deleted in 3 days" in cluster.message("acme", "Deleting")
    assert cluster.status("acme")["deletionTime"] == "2026-01-04T12:00:00Z"
    cluster.now = NOW + timedelta(days=2, hours=23, minutes=30)
    await cluster.reconcile("acme")
    assert "are deleted in 30 minutes" in cluster.message("acme", "Deleting")
    assert ("Namespace", "", "acme") in cluster.server.objects
    cluster.now = NOW + timedelta(days=3)
    await cluster.reconcile("acme")
    assert "delete Namespace acme" in cluster.server.writes
    assert cluster.condition("acme", "Deleting") == ("True", "DeletingNamespace")
    assert await cluster.reconcile("acme") == Requeue.never()
    assert ("Tenant", "", "acme") not in cluster.server.objects


async def test_a_namespace_that_a_deletion_did_not_find_is_still_known(cluster: FakeCluster) -> None:
    cluster.tenant("acme", deleteAfter="0m")
    await delete(cluster, "acme")
    cluster.server.finds_nothing = True
    await cluster.reconcile("acme")
    assert "delete Namespace acme" in cluster.server.writes
    assert ObjectId("Namespace", "acme") in {key.id for key in cluster.store.objects}
    cluster.server.finds_nothing = False
    await cluster.reconcile("acme")
    assert ("Namespace", "", "acme") not in cluster.server.objects


async def test_a_deletion_is_undone_by_an_annotation_and_the_tenant_again(cluster: FakeCluster) -> None:
    cluster.tenant("acme")
    await delete(cluster, "acme")
    await cluster.reconcile("acme")
    cluster.put(TENANT, "acme", cluster.get("Tenant", "acme", "")["spec"], annotations={ANNOTATION_KEEP: "true"})
    await cluster.reconcile("acme")
    assert ("Tenant", "", "acme") not in cluster.server.objects
    assert (PLATFORM.kind, "acme", "shop") in cluster.server.objects
    await cluster.reconcile("acme")
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    assert "hibernated" not in cluster.shop("acme")["spec"]


@pytest.mark.parametrize(
    "edit",
    [
        {"metadata": {"annotations": {ANNOTATION_KEEP: "true"}}},
        {"spec": {"deleteAfter": "30d"}},
        {"metadata": {"uid": "another"}},
        None,
    ],
    ids=["annotated", "more time", "created again", "gone"],
)
async def test_an_edit_of_a_deleted_tenant_that_no_event_has_brought_keeps_its_namespace(
    cluster: FakeCluster, edit: Manifest | None
) -> None:
    cluster.tenant("acme", deleteAfter="3d")
    await delete(cluster, "acme")
    await cluster.reconcile("acme")
    cluster.now += timedelta(days=3)
    stored = cluster.server.objects.pop(("Tenant", "", "acme"))
    if edit is not None:
        cluster.server.version += 1
        version = {"metadata": {"resourceVersion": str(cluster.server.version)}}
        cluster.server.objects["Tenant", "", "acme"] = merged(merged(stored, edit), version)
    with contextlib.suppress(ApiError):
        await cluster.controller.reconcile("acme")
    assert ("Namespace", "", "acme") in cluster.server.objects
    known = cluster.store.tenants["acme"]
    assert known.spec == merged(stored, edit or {})["spec"], "a later pass decides by what was read"


async def test_an_annotation_that_does_not_say_true_releases_no_tenant(cluster: FakeCluster) -> None:
    cluster.tenant("acme", deleteAfter="3d")
    await delete(cluster, "acme")
    spec = cluster.get("Tenant", "acme", "")["spec"]
    cluster.put(TENANT, "acme", spec, annotations={ANNOTATION_KEEP: "false"})
    await cluster.reconcile("acme")
    assert cluster.condition("acme", "Deleting") == ("True", "GracePeriod")
    cluster.now += timedelta(days=3)
    await cluster.reconcile("acme")
    assert ("Namespace", "", "acme") not in cluster.server.objects


async def test_a_namespace_that_is_another_tenants_or_no_ones_survives_a_deletion(cluster: FakeCluster) -> None:
    cluster.tenant("acme", deleteAfter="0m")
    await delete(cluster, "acme")
    cluster.get("Namespace", "acme", "")["metadata"]["labels"][LABEL_TENANT] = "another"
    await cluster.reconcile("acme")
    assert ("Namespace", "", "acme") in cluster.server.objects
    assert ("Tenant", "", "acme") not in cluster.server.objects


async def test_a_refused_request_is_reported_and_retried(cluster: FakeCluster) -> None:
    cluster.server.refused = ApiError(403, "Forbidden", "no right to create resourcequotas")
    cluster.tenant("acme")
    with pytest.raises(ApiError):
        await cluster.reconcile("acme")
    assert cluster.condition("acme", "Ready") == ("False", "Refused")
    cluster.server.refused = None
    await cluster.reconcile("acme")
    assert cluster.condition("acme", "PlanApplied") == ("True", "Applied")


async def test_nothing_is_created_in_a_namespace_that_is_being_deleted_and_all_when_it_is_gone(
    cluster: FakeCluster,
) -> None:
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    namespace = cluster.get("Namespace", "acme", "")
    cluster.server.version += 1
    namespace["metadata"] |= {
        "deletionTimestamp": "2026-01-01T12:00:00Z",
        "resourceVersion": str(cluster.server.version),
    }
    del cluster.server.objects["ResourceQuota", "acme", "tenant"]
    await cluster.reconcile("acme")
    assert cluster.server.writes == ["Tenant acme status"]
    assert cluster.condition("acme", "Ready") == ("False", "DeletingNamespace")
    del cluster.server.objects["Namespace", "", "acme"]
    cluster.store.change(KINDS["Namespace"], "DELETED", namespace)
    await cluster.reconcile("acme")
    assert "Namespace acme" in cluster.server.writes


async def test_usage_is_in_the_status_and_in_metrics(cluster: FakeCluster) -> None:
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    quota = cluster.get("ResourceQuota", "tenant", "acme")
    quota["status"] = {"used": {"pods": "17", "requests.storage": "8Gi"}}
    cluster.server.version += 1
    quota["metadata"]["resourceVersion"] = str(cluster.server.version)
    started = cluster.now.timestamp() + 60
    for placed in (3, 5):
        cluster.orders["acme"] = PlacedOrders(started, placed)
        await cluster.reconcile("acme")
    cluster.now += timedelta(days=1)
    await cluster.reconcile("acme")
    counted = cluster.status("acme")["usage"]
    assert counted == {
        "pods": 17,
        "storageRequested": "8Gi",
        "day": "2026-01-02",
        "ordersToday": 0,
        "ordersYesterday": 5,
        "ordersTotal": 5,
    }
    labels = {"tenant": "acme", "plan": "basic"}
    assert REGISTRY.get_sample_value("ecommerce_tenant_storage_requested_bytes", labels) == 8 * 2**30
    assert REGISTRY.get_sample_value("ecommerce_tenant_orders", labels) == 5
    del cluster.server.objects["Tenant", "", "acme"]
    await cluster.reconcile("acme")
    assert REGISTRY.get_sample_value("ecommerce_tenant_pods", labels) is None


async def test_orders_that_a_failed_write_did_not_store_are_in_the_next_one(cluster: FakeCluster) -> None:
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    started = cluster.now.timestamp() + 60
    cluster.orders["acme"] = PlacedOrders(started, 10)
    await cluster.reconcile("acme")
    for placed in (110, 111):
        cluster.orders["acme"] = PlacedOrders(started, placed)
        cluster.server.before_status = fail
        with pytest.raises(ApiError):
            await cluster.reconcile("acme")
    del cluster.orders["acme"]
    await cluster.reconcile("acme")
    counted = cluster.status("acme")["usage"]
    assert (counted["ordersToday"], counted["ordersTotal"]) == (111, 111)


@pytest.mark.parametrize("is_seen", [True, False])
async def test_orders_are_counted_once_if_a_write_took_effect_whose_answer_was_lost(
    cluster: FakeCluster, is_seen: bool
) -> None:
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    cluster.orders["acme"] = PlacedOrders(cluster.now.timestamp() + 60, 10)
    cluster.server.after_status = fail
    with pytest.raises(ApiError):
        await cluster.reconcile("acme")
    assert cluster.status("acme")["usage"]["ordersTotal"] == 10
    await (cluster.reconcile("acme") if is_seen else cluster.controller.reconcile("acme"))
    counted = cluster.status("acme")["usage"]
    assert (counted["ordersToday"], counted["ordersTotal"]) == (10, 10)


@pytest.mark.parametrize("is_seen_gone", [True, False])
async def test_a_tenant_that_is_created_again_has_none_of_the_orders_before(
    cluster: FakeCluster, is_seen_gone: bool
) -> None:
    cluster.tenant("acme")
    await cluster.reconcile("acme")
    started = cluster.now.timestamp() + 60
    cluster.orders["acme"] = PlacedOrders(started, 10)
    await cluster.reconcile("acme")
    del cluster.server.objects["Tenant", "", "acme"]
    if is_seen_gone:
        await cluster.reconcile("acme")
    cluster.now += timedelta(minutes=2)
    cluster.tenant("acme", metadata={"uid": "another", "creationTimestamp": cluster.now.isoformat()})
    for placed in (10, 13):
        cluster.orders["acme"] = PlacedOrders(started, placed)
        await cluster.reconcile("acme")
    assert cluster.status("acme")["usage"]["ordersTotal"] == 3


def test_orders_of_several_pods_behind_one_address_are_counted_once() -> None:
    counter = OrderCounter("uid", since=100.0)
    seen = [(50.0, 7), (50.0, 9), (120.0, 2), (50.0, 9), (120.0, 5), (50.0, 0)]
    assert [counter.add(PlacedOrders(*one), stored=0) for one in seen] == [0, 2, 4, 4, 7, 7]
    assert counter.add(None, stored=7) == 0
    assert counter.add(None, stored=20) == 0, "a greater total than the known one is another process's"


def test_orders_are_read_from_the_metrics_of_the_order_service() -> None:
    text = "orders_placed_total 12.0\nprocess_start_time_seconds 1.5e+09\n"
    assert parse_metrics(text).orders == PlacedOrders(1.5e9, 12)
    assert parse_metrics("orders_placed_total 12.0\n").orders is None


def test_a_day_without_a_look_has_no_orders() -> None:
    stored = usage({}, {}, 4, NOW)
    assert "ordersYesterday" not in stored
    assert usage(stored, {}, 0, NOW + timedelta(days=2))["ordersYesterday"] == 0


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        ("8Gi", 8 * 2**30),
        ("1500M", 15 * 10**8),
        ("0", 0),
        ("10e9", 10**10),
        ("1E10", 10**10),
        ("2Ei", 2 * 2**60),
        ("3E", 3 * 10**18),
        ("0.5Gi", 2**29),
        ("500m", 1),
        ("1500000u", 2),
    ],
)
def test_a_quantity_is_read_as_a_number_rounded_up_as_kubernetes_does(quantity: str, number: int) -> None:
    assert parse_quantity(quantity) == number


@pytest.mark.parametrize("text", ["none", "", "8Qi", "NaN", "Infinity"])
def test_text_that_is_no_quantity_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity of Kubernetes"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (timedelta(days=7), "7 days"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(seconds=1), "1 minute"),
    ],
)
def test_the_remaining_time_is_in_days_or_hours_from_two_of_them_on(left: timedelta, text: str) -> None:
    assert time_left(left) == text


def test_fields_are_merged_object_by_object() -> None:
    assert merged({"a": {"b": 1, "c": [1]}}, {"a": {"c": [2]}, "d": 3}) == {"a": {"b": 1, "c": [2]}, "d": 3}
    assert contains({"a": {"b": 1, "x": 2}}, {"a": {"b": 1}})
    assert not contains({"a": {"x": 2}}, {"a": {"b": 1}})


def test_the_policy_has_a_rule_for_each_field_of_a_shop() -> None:
    fields = {one.alias or name for name, one in Spec.model_fields.items()}
    rules = admission_policy()["spec"]["validations"]
    ruled = {one["message"].split()[0].removeprefix("spec.") for one in rules if "platform team only" in one["message"]}
    assert ruled == fields
    assert set(ALLOWABLE_FIELDS) == fields - {*RESERVED_FIELDS}
    own = [one["expression"] for one in rules if "metadata." in one["expression"] or "nnotations" in one["expression"]]
    assert all(any(name in one for one in own) for name in ("finalizers", "ownerReferences", "oldObjectAnnotations"))
    assert "object.spec.profile == oldObject.spec.profile" in rules[-1]["expression"], "other edits are not refused"
    assert "'ingress' in" not in str(rules), "no plan can leave hosts to the admins of a tenant"


def test_the_policy_of_secrets_protects_what_the_operator_and_kubernetes_trust() -> None:
    spec = secret_policy()["spec"]
    (rule,) = spec["matchConstraints"]["resourceRules"]
    assert (rule["resources"], rule["operations"]) == (["secrets"], ["CREATE", "UPDATE"])
    assert spec["matchConditions"] == admission_policy()["spec"]["matchConditions"]
    rules = " ".join(one["expression"] for one in spec["validations"])
    label, value = next(one for one in CHILD_LABELS.items() if one[1] == FIELD_MANAGER)
    for trusted in (f"['{label}'] != '{value}'", "startsWith('platform.ecommerce.dev/')", "service-account-token'"):
        assert trusted in rules


async def test_a_malformed_plan_stops_no_tenant_of_another(cluster: FakeCluster) -> None:
    await two_ready_tenants(cluster)
    cluster.plan(concurrency="many")
    await break_shop(cluster, "a")
    assert cluster.condition("a", "Ready") == ("False", "PlanViolated")


OWNER = {"apiVersion": f"{PLATFORM.api_version}", "kind": PLATFORM.kind, "name": "shop", "uid": "u"}
HELD = {"finalizers": ["example.com/hold"]}


@pytest.mark.parametrize(
    ("new", "old", "refusal"),
    [
        ({}, None, ""),
        ({"labels": {"team": "x"}, "annotations": {"note": "x"}}, None, ""),
        ({"labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER}}, None, "is for Secrets that the operator makes"),
        (HELD, None, "metadata.finalizers"),
        (HELD, {}, "metadata.finalizers"),
        ({}, HELD, "metadata.finalizers"),
        (HELD, HELD, ""),
        ({}, {}, ""),
        ({"ownerReferences": [OWNER]}, None, "metadata.ownerReferences"),
        ({"ownerReferences": [OWNER | {"apiVersion": "external-secrets.io/v1"}]}, {}, ""),
    ],
)
def test_a_secret_of_an_admin_neither_holds_the_namespace_nor_passes_for_the_operators(
    new: Manifest, old: Manifest | None, refusal: str
) -> None:
    context = {
        "request": {"operation": "CREATE" if old is None else "UPDATE"},
        "object": {"metadata": new, "type": "Opaque"},
        "oldObject": old if old is None else {"metadata": old, "type": "Opaque"},
    }
    rules = secret_policy()["spec"]["validations"]
    refusals = [one["message"] for one in rules if not cel.evaluate(one["expression"], context)]
    assert len(refusals) == bool(refusal)
    assert all(refusal in one for one in refusals)


async def test_a_malformed_tenant_stops_no_other(cluster: FakeCluster) -> None:
    cluster.store.change(TENANT, "ADDED", {"kind": "Tenant", "metadata": {"name": "broken", "generation": 1}})
    cluster.tenant("acme", deleteAfter="soon")
    await cluster.reconcile("acme")
    cluster.tenant("fine")
    await cluster.reconcile("fine")
    assert cluster.condition("fine", "PlanApplied") == ("True", "Applied")


@pytest.mark.parametrize(
    "kind", [kind for kind in TENANT_OBJECT_KINDS if kind.metadata_only], ids=lambda kind: kind.kind
)
def test_nothing_but_metadata_is_read_of_a_kind_that_comes_without_its_body(kind: Kind) -> None:
    metadata = {"name": "acme", "uid": "u", "resourceVersion": "1", "labels": {LABEL_TENANT: "acme"}}
    whole = {"kind": kind.kind, "metadata": metadata, "spec": {"a": 1}, "status": {"used": {"pods": "1"}}}
    assert observe_object(whole) == observe_object({"kind": kind.kind, "metadata": metadata})


def test_a_list_removes_what_it_does_not_have(cluster: FakeCluster) -> None:
    cluster.tenant("acme")
    stored = cluster.get("Tenant", "acme", "")
    listed = cluster.store.store_listed(TENANT, [copy.deepcopy(stored)])
    cluster.store.remove_unlisted(TENANT, None, listed, 1000)
    assert "acme" in cluster.store.tenants
    cluster.store.remove_unlisted(TENANT, None, set(), 1000)
    assert "acme" not in cluster.store.tenants


def test_subjects_keep_what_rbac_needs() -> None:
    account = Subject(kind="ServiceAccount", name="ci", namespace="build")
    assert account.model_dump(exclude_none=True) == {"kind": "ServiceAccount", "name": "ci", "namespace": "build"}
