"""Builds the status of a Tenant. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from platform_operator.api.conditions import TIME_FORMAT, Condition, dated, is_met, stored_condition
from platform_operator.api.kinds import Manifest
from platform_operator.api.tenants import ANNOTATION_KEEP, TENANT, TenantReason, TenantSpec
from platform_operator.cache.observed import Platform
from platform_operator.errors import ApiError, OperatorError, TenantError
from platform_operator.tenants.decisions import deletion_time, has_failed_upgrade, is_settled, time_left
from platform_operator.tenants.observed import StoredTenantPlan, Tenant

MAX_MESSAGE = 1024


@dataclass(frozen=True)
class Outcome:
    """The result of one pass over a tenant."""

    plan: StoredTenantPlan | None = None
    """The plan, if there is one."""
    applied: bool = False
    """True if all objects were applied as the plan says."""
    waits_for: tuple[str, ...] = ()
    error: OperatorError | None = None
    host_holder: str = ""
    """The other tenant or shop that has the host."""
    shop: Platform | None = None
    deleting_namespace: bool = False


def describe(
    tenant: Tenant, spec: TenantSpec | None, outcome: Outcome, usage: Mapping[str, Any], now: datetime
) -> Manifest:
    """Returns the whole status. It equals the stored one if nothing has changed."""
    conditions = [
        _ready(tenant, spec, outcome),
        _host(spec, outcome),
        *_plan(outcome),
        *_deleting(tenant, spec, outcome, now),
    ]
    plan, status, shop = outcome.plan, tenant.status, outcome.shop
    applied = (
        {"plan": plan.name, "planUID": plan.uid, "planGeneration": plan.generation}
        if plan and outcome.applied
        else {name: status[name] for name in ("plan", "planUID", "planGeneration") if name in status}
    )
    ready = conditions[0]
    return {
        "observedGeneration": tenant.generation if outcome.applied else status.get("observedGeneration", 0),
        "state": "Deleting" if tenant.deleted_at else str(ready.reason),
        "namespace": tenant.name,
        **applied,
        "settled": is_settled(shop),
        **({"servicesReady": shop.status["servicesReady"]} if shop and "servicesReady" in shop.status else {}),
        **({"url": shop.status["url"]} if shop and "url" in shop.status else {}),
        **({"deletionTime": at.strftime(TIME_FORMAT)} if spec and (at := deletion_time(tenant, spec)) else {}),
        "usage": dict(usage),
        "conditions": [_dated(one, tenant, now) for one in conditions],
    }


def _ready(tenant: Tenant, spec: TenantSpec | None, outcome: Outcome) -> Condition:
    return _unapplied(tenant, outcome) or _shop_state(tenant, spec, outcome)


def _unapplied(tenant: Tenant, outcome: Outcome) -> Condition | None:
    """Returns why nothing could be applied; None if that is not so."""
    error = outcome.error
    if outcome.host_holder and not outcome.applied:
        return Condition(
            "Ready", False, TenantReason.HOST_TAKEN, f"Nothing is applied: {outcome.host_holder} has the host."
        )
    if isinstance(error, TenantError):
        return Condition("Ready", False, TenantReason(error.reason), str(error))
    is_terminating = isinstance(error, ApiError) and error.namespace_terminating
    if (is_terminating or outcome.deleting_namespace) and tenant.deleted_at is None:
        text = "The namespace is being deleted: nothing is created in it. The operator creates it again afterwards."
        return Condition("Ready", False, TenantReason.DELETING_NAMESPACE, text)
    if error is not None:
        text = f"The API server refused a request: {error}. The operator retries."
        return Condition("Ready", False, TenantReason.REFUSED, text)
    return None


def _shop_state(tenant: Tenant, spec: TenantSpec | None, outcome: Outcome) -> Condition:
    def ready(reason: TenantReason, message: str, *, status: bool = False) -> Condition:
        return Condition("Ready", status, reason, message)

    shop = outcome.shop
    if shop is None:
        return ready(TenantReason.PROGRESSING, "The shop is being created.")
    degraded = stored_condition(shop.status, "Degraded")
    if degraded is not None and degraded["status"] == "True":
        return ready(TenantReason.DEGRADED, degraded["message"])
    stops = (spec is not None and spec.suspended) or tenant.deleted_at is not None
    if stops and is_met(shop.status, "Hibernated"):
        return ready(TenantReason.SUSPENDED, "The shop is hibernated, and its data are kept.")
    if stops:
        return ready(TenantReason.SUSPENDING, "The shop is being hibernated.")
    if has_failed_upgrade(shop):
        return ready(TenantReason.UPGRADE_FAILED, _upgrade_failure(shop))
    if is_settled(shop) and outcome.applied:
        return ready(TenantReason.READY, "The shop is as the plan and the Tenant say.", status=True)
    return ready(TenantReason.PROGRESSING, "The shop is being changed: its own conditions say what it waits for.")


def _upgrade_failure(shop: Platform) -> str:
    upgraded = stored_condition(shop.status, "Upgraded")
    cause = f" {upgraded['message']}" if upgraded else ""
    return f"The upgrade of the shop has failed: correct the version in the TenantPlan or the Tenant.{cause}"


def _host(spec: TenantSpec | None, outcome: Outcome) -> Condition:
    if outcome.host_holder:
        text = f"The {outcome.host_holder} has the host {spec.host if spec else ''}: choose another host."
        return Condition("HostConflict", True, TenantReason.HOST_TAKEN, text)
    return Condition("HostConflict", False, TenantReason.HOST_FREE, "No other shop has the host.")


def _plan(outcome: Outcome) -> list[Condition]:
    if outcome.waits_for:
        first = ", ".join(outcome.waits_for[:5])
        text = f"The plan has changed. Waiting for other tenants that take it: {first}."
        return [Condition("PlanApplied", False, TenantReason.WAITING_FOR_TURN, text)]
    if outcome.applied and outcome.plan is not None:
        return [Condition("PlanApplied", True, TenantReason.APPLIED, f"All objects are as {outcome.plan.name} says.")]
    return []


def _deleting(tenant: Tenant, spec: TenantSpec | None, outcome: Outcome, now: datetime) -> list[Condition]:
    at = deletion_time(tenant, spec) if spec else None
    if at is None:
        return []
    if outcome.deleting_namespace:
        return [Condition("Deleting", True, TenantReason.DELETING_NAMESPACE, "The namespace is being deleted.")]
    text = (
        f"The namespace and all data in it are deleted in {time_left(at - now)}. To keep them: "
        f"kubectl annotate tenant {tenant.name} {ANNOTATION_KEEP}=true, and apply the Tenant again."
    )
    return [Condition("Deleting", True, TenantReason.GRACE_PERIOD, text)]


def _dated(condition: Condition, tenant: Tenant, now: datetime) -> Manifest:
    short = replace(condition, message=condition.message[:MAX_MESSAGE])
    return dated(short, stored_condition(tenant.status, condition.type), tenant.generation, now)


def status_manifest(tenant: Tenant, status: Manifest) -> Manifest:
    metadata = {"name": tenant.name, "uid": tenant.uid}
    return {"apiVersion": TENANT.api_version, "kind": TENANT.kind, "metadata": metadata, "status": status}
