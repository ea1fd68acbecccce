"""Reconciles a tenant: applies its namespace, limits, rights and shop, and reports its status."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from platform_operator import metrics
from platform_operator.api.kinds import PLATFORM, Manifest, ObjectId, ObjectKey, PlatformKey, object_key
from platform_operator.api.schema import parse_stored
from platform_operator.api.tenants import (
    ANNOTATION_KEEP,
    LABEL_TENANT,
    SHOP,
    TENANT,
    TENANT_FINALIZER,
    TenantPlanSpec,
    TenantReason,
    TenantSpec,
)
from platform_operator.apply.applied_objects import AppliedObjects
from platform_operator.apply.conflicts import after_conflict
from platform_operator.cache.observed import Platform, observe_platform
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.digests import digest
from platform_operator.errors import ApiError, InvalidSpecError, StaleReadError, TenantError
from platform_operator.invariants.scrape_results import ScrapeResult
from platform_operator.tenants.decisions import deletion_time, host_holder, is_stored_settled, must_wait
from platform_operator.tenants.objects import (
    NAMESPACE,
    QUOTA,
    TENANT_OBJECT_KINDS,
    contains,
    hibernated_manifest,
    shop_manifest,
    tenant_objects,
)
from platform_operator.tenants.observed import Tenant, TenantObject, observe_object, observe_tenant
from platform_operator.tenants.status import Outcome, describe, status_manifest
from platform_operator.tenants.store import TenantStore
from platform_operator.tenants.usage import OrderCounter, parse_quantity, usage
from platform_operator.workqueue import Requeue

logger = logging.getLogger(__name__)

INTERVAL = 30.0
"""Seconds between two passes over a tenant, for its usage and the end of its grace period. A pass reads caches."""
FINALIZER_MANAGER = "ecommerce-operator-tenant-finalizer"
_KINDS = {kind.kind: kind for kind in TENANT_OBJECT_KINDS}


@dataclass
class TenantController:
    """Brings tenants to the state that their specs and plans describe, one pass at a time."""

    client: KubernetesClient
    store: TenantStore
    shops: Cache
    """The platforms, which the reconciler's informers keep current."""
    enqueue_shop: Callable[[PlatformKey], None]
    """Queues a platform for the reconciler, after this controller changed it."""
    admin_role: str
    """The ClusterRole of the admins of tenants."""
    now: Callable[[], datetime]
    scrape_results: Callable[[PlatformKey], Mapping[str, ScrapeResult]]
    tolerates: Callable[[str, Exception | None], bool]
    """Returns whether the status of a tenant says nothing of a pass that ends at an error: at a conflict, but for many
    in a row."""
    started: float
    """When this process began to count orders, in seconds of the epoch."""
    _applied: AppliedObjects = field(init=False)
    """The objects of tenants but for their shops."""
    _applied_shops: dict[str, str] = field(init=False, default_factory=dict)
    """The digest of what this process has applied last of each tenant's shop."""
    _starting: dict[str, str] = field(init=False, default_factory=dict)
    """The UIDs of the plans that were or may have been applied, by tenant that was settled before, and that its status
    does not name yet. These tenants count towards the concurrency of the plan."""
    _orders: dict[str, OrderCounter] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._applied = AppliedObjects(self.client)

    async def reconcile(self, name: str) -> Requeue:
        """Makes one pass over one tenant. Raises ApiError if the pass has to be retried.

        If the API server refused a write as out of date, the tenant and its shop are read again first, and the status
        says nothing of it if that is tolerated.
        """
        async with after_conflict(lambda: self._read_again(name)):
            return await self._make_pass(name)

    async def _make_pass(self, name: str) -> Requeue:
        tenant = self.store.tenants.get(name)
        if tenant is None:
            self._forget(name)
            return Requeue.never()
        spec, outcome = None, Outcome()
        try:
            spec = parse_stored(TenantSpec, tenant.spec)
            if tenant.deleted_at is not None and await self._finish_deletion(tenant, spec):
                return Requeue.never()
            outcome = await self._converge(tenant, spec)
        except InvalidSpecError as error:
            outcome = Outcome(error=TenantError(TenantReason.PLAN_VIOLATED, str(error)))
        except ApiError as error:
            outcome = Outcome(error=error)
        if isinstance(outcome.error, ApiError) and self.tolerates(name, outcome.error):
            raise outcome.error
        await self._report(tenant, spec, replace(outcome, shop=self._shop(tenant.name)))
        self._starting.pop(tenant.name, None)
        if isinstance(outcome.error, ApiError):
            raise outcome.error
        return Requeue.after(INTERVAL)

    async def _converge(self, tenant: Tenant, spec: TenantSpec) -> Outcome:
        """Applies the objects that differ from the spec and plan.

        If that is refused or fails, a shop that is to be hibernated is hibernated as it is. Raises ApiError if that
        fails as well.
        """
        live = self._shop(tenant.name)
        stops = live is not None and (spec.suspended or tenant.deleted_at is not None)
        plan = self.store.plans.get(spec.plan_ref.name)
        holder = host_holder(tenant, spec.host, self.store.tenants, self.shops.platforms.values())
        outcome = Outcome(plan, host_holder=holder)
        if holder and not stops:
            return outcome
        try:
            outcome = await self._take_plan(tenant, spec, live, outcome)
        except InvalidSpecError as error:
            outcome = replace(outcome, error=TenantError(TenantReason.PLAN_VIOLATED, str(error)))
        except TenantError as error:
            outcome = replace(outcome, error=error)
        if outcome.error is not None and stops and live is not None and not live.spec.get("hibernated"):
            await self._apply_shop(tenant, hibernated_manifest(tenant, live.spec), live)
        return outcome

    async def _take_plan(self, tenant: Tenant, spec: TenantSpec, live: Platform | None, outcome: Outcome) -> Outcome:
        """Applies the objects, unless the tenant waits for its turn. Raises TenantError, InvalidSpecError."""
        plan, is_deleted = outcome.plan, tenant.deleted_at is not None
        if plan is None:
            text = f"There is no TenantPlan {spec.plan_ref.name}: create it, or name another in spec.planRef."
            raise TenantError(TenantReason.PLAN_MISSING, text)
        plan_spec = parse_stored(TenantPlanSpec, plan.spec)
        namespace = self._stored_object(_namespace_key(tenant))
        if (namespace is not None and namespace.deleting) or (is_deleted and namespace is None):
            return replace(outcome, deleting_namespace=True)
        if must_wait(tenant, plan, plan_spec.concurrency, self.store.tenants.values(), self._starting):
            return replace(outcome, waits=plan_spec.concurrency)
        stored, keeps_host = live.spec if live else {}, bool(outcome.host_holder)
        shop = shop_manifest(tenant, spec, plan_spec, stored, self.shops.operator_class, keeps_host=keeps_host)
        if is_stored_settled(tenant):
            self._starting[tenant.name] = plan.uid
        outcome = replace(outcome, takes_plan=True)
        try:
            if namespace is None:
                await self._require_own_namespace(tenant)
            await self._set_finalizer(tenant, [TENANT_FINALIZER])
            for one in tenant_objects(tenant, spec, plan, plan_spec, self.admin_role):
                await self._apply_object(one)
            await self._apply_shop(tenant, shop, live)
        except ApiError as error:
            return replace(outcome, error=error)
        return outcome

    async def _apply_object(self, manifest: Manifest) -> None:
        """Applies an object if that would change it. Raises ApiError."""
        kind = _KINDS[manifest["kind"]]
        key = object_key(kind.kind, manifest)
        answer = await self._applied.apply_if_changed(kind, manifest, self._stored_object(key))
        if answer is not None:
            self.store.store_object(key, observe_object(answer))

    async def _require_own_namespace(self, tenant: Tenant) -> None:
        """Raises TenantError if a namespace of the tenant's name exists that is not the tenant's."""
        stored = await self.client.get(NAMESPACE, "", tenant.name)
        if stored is not None and not _is_namespace_of(tenant, stored):
            raise TenantError(
                TenantReason.NAMESPACE_TAKEN,
                f"The namespace {tenant.name} exists and is not the tenant's: rename the Tenant, or give the namespace "
                f"to it with kubectl label namespace {tenant.name} {LABEL_TENANT}={tenant.name}",
            )

    async def _apply_shop(self, tenant: Tenant, manifest: Manifest, live: Platform | None) -> None:
        """Applies the manifest, which was built from the stored shop `live`.

        The manifest states the fields that admins may change as they were read, so it must not replace a later edit.
        Raises ApiError, with a conflict if there is one, and if the shop exists although it was not known.
        """
        content = digest(manifest)
        if live is not None and _is_exposed(live) and "ingress" not in manifest["spec"]:
            live = await self._remove_ingress(live)
        is_known = self._applied_shops.get(tenant.name) == content
        if is_known and live is not None and contains(live.spec, manifest["spec"]):
            return
        if live is None:
            await self._require_unknown_shop(tenant)
        version = {"resourceVersion": str(live.version)} if live is not None else {}
        guarded = {**manifest, "metadata": {**manifest["metadata"], **version}}
        answer = await self.client.apply(PLATFORM, tenant.name, guarded)
        self._applied_shops[tenant.name] = content
        self._store_shop(answer)

    async def _remove_ingress(self, live: Platform) -> Platform:
        """Removes the ingress of a shop. To apply without it would leave what its admins have applied as well.

        Raises ApiError, with a conflict if the shop was changed since it was read.
        """
        fields = {"metadata": {"resourceVersion": str(live.version)}, "spec": {"ingress": None}}
        return self._store_shop(await self.client.overwrite(PLATFORM, live.key.namespace, live.key.name, fields))

    def _store_shop(self, manifest: Manifest) -> Platform:
        shop = observe_platform(manifest)
        if self.shops.store_platform(shop):
            self.enqueue_shop(shop.key)  # the event of this version finds it known, and enqueues nothing
        return shop

    async def _require_unknown_shop(self, tenant: Tenant) -> None:
        """Raises StaleReadError if this operator reconciles a shop that the cache did not have. Raises ApiError."""
        await self._read_shop(tenant.name)
        if (shop := self._shop(tenant.name)) is not None:
            raise StaleReadError(f"{shop.key} exists already")

    async def _read_again(self, name: str) -> None:
        """Stores the newest versions of a tenant and of its shop. Raises ApiError."""
        tenant = await self.client.get(TENANT, "", name)
        if tenant is not None:
            self.store.store_tenant(observe_tenant(tenant))
        await self._read_shop(name)

    async def _read_shop(self, name: str) -> None:
        shop = await self.client.get(PLATFORM, name, SHOP)
        if shop is not None:
            self._store_shop(shop)

    async def _finish_deletion(self, tenant: Tenant, spec: TenantSpec) -> bool:
        """Deletes the namespace when the grace period is over. Returns whether the finalizer is gone."""
        if TENANT_FINALIZER not in tenant.finalizers:
            return True
        if _is_kept(tenant):
            await self._set_finalizer(tenant, [])
            return True
        if not self._is_due(tenant, spec):
            return False
        stored = await self.client.get(NAMESPACE, "", tenant.name)
        if stored is None or not _is_namespace_of(tenant, stored):
            await self._set_finalizer(tenant, [])
            return True
        if "deletionTimestamp" not in stored["metadata"]:
            await self._require_still_due(tenant)
            logger.info("the namespace is deleted", extra={"tenant": tenant.name})
            if await self.client.delete(NAMESPACE, "", tenant.name, stored["metadata"]["uid"]):
                self.store.objects.pop(_namespace_key(tenant), None)
        return False

    def _is_due(self, tenant: Tenant, spec: TenantSpec) -> bool:
        at = deletion_time(tenant, spec)
        return at is not None and self.now() >= at

    async def _require_still_due(self, tenant: Tenant) -> None:
        """Raises StaleReadError if the stored Tenant does not ask for the deletion of its namespace any more.

        The watch may not have brought yet that it was annotated, got more time, or was created again. Raises ApiError,
        and InvalidSpecError if it was made invalid.
        """
        stored = await self.client.get(TENANT, "", tenant.name)
        newest = observe_tenant(stored) if stored is not None else None
        if newest is None or newest.uid != tenant.uid or _is_kept(newest):
            raise StaleReadError(f"the Tenant {tenant.name} was released or replaced: its namespace is kept")
        if not self._is_due(newest, parse_stored(TenantSpec, newest.spec)):
            raise StaleReadError(f"the deletion of the Tenant {tenant.name} was put off: its namespace is kept")

    async def _set_finalizer(self, tenant: Tenant, finalizers: list[str]) -> None:
        if set(finalizers) == {*tenant.finalizers} & {TENANT_FINALIZER}:
            return
        metadata = {"name": tenant.name, "uid": tenant.uid, "finalizers": finalizers}
        manifest = {"apiVersion": TENANT.api_version, "kind": TENANT.kind, "metadata": metadata}
        try:
            answer = await self.client.apply(TENANT, "", manifest, manager=FINALIZER_MANAGER)
        except ApiError as error:
            if finalizers or error.status not in (404, 409):
                raise
            return  # it is gone already
        self.store.store_tenant(observe_tenant(answer))

    async def _report(self, tenant: Tenant, spec: TenantSpec | None, outcome: Outcome) -> None:
        """Writes the status. An unchanged one is not written again."""
        latest = self.store.tenants.get(tenant.name, tenant)
        now, quota = self.now(), self._stored_object(ObjectKey(tenant.name, ObjectId(QUOTA.kind, "tenant")))
        used = quota.used if quota else {}
        counted = usage(latest.status.get("usage", {}), used, self._unstored_orders(latest), now)
        status = describe(latest, spec, outcome, counted, now)
        metrics.export_tenant(tenant.name, tenant.spec.get("planRef", {}).get("name", ""), counted, parse_quantity)
        if status == latest.status:
            return
        answer = await self.client.apply(TENANT, "", status_manifest(latest, status), "status")
        self.store.store_tenant(observe_tenant(answer))

    def _unstored_orders(self, tenant: Tenant) -> int:
        counter = self._orders.get(tenant.name)
        if counter is None or counter.tenant != tenant.uid:
            counter = OrderCounter(tenant.uid, max(self.started, tenant.created.timestamp()))
            self._orders[tenant.name] = counter
        result = self.scrape_results(PlatformKey(tenant.name, SHOP)).get("order")
        orders = result.metrics.orders if result and result.metrics else None
        return counter.add(orders, tenant.status.get("usage", {}).get("ordersTotal", 0))

    def _shop(self, name: str) -> Platform | None:
        return self.shops.platforms.get(PlatformKey(name, SHOP))

    def _stored_object(self, key: ObjectKey) -> TenantObject | None:
        return self.store.objects.get(key)

    def _forget(self, name: str) -> None:
        metrics.remove_tenant(name)
        self._orders.pop(name, None)
        self._starting.pop(name, None)
        self._applied_shops.pop(name, None)
        self._applied.forget(lambda key: name in (key.namespace, key.id.name))


def _namespace_key(tenant: Tenant) -> ObjectKey:
    return ObjectKey("", ObjectId(NAMESPACE.kind, tenant.name))


def _is_exposed(shop: Platform) -> bool:
    return bool((shop.spec.get("ingress") or {}).get("enabled"))


def _is_kept(tenant: Tenant) -> bool:
    return tenant.annotations.get(ANNOTATION_KEEP) == "true"


def _is_namespace_of(tenant: Tenant, namespace: Manifest) -> bool:
    return bool((namespace["metadata"].get("labels") or {}).get(LABEL_TENANT) == tenant.name)
