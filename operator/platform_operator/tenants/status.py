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
from platform_operator.tenants.decisions import (
    deletion_time,
    has_failed_upgrade,
    has_plan,
    is_settled,
    is_stored_settled,
    time_left,
)
from platform_operator.tenants.observed import StoredTenantPlan, Tenant

MAX_MESSAGE = 1024


@dataclass(frozen=True)
class Outcome:
    """The result of one pass over a tenant."""

    plan: StoredTenantPlan | None = None
    """The plan, if there is one."""
    takes_plan: bool = False
    """True if objects were applied as the plan says: all, or those before an error."""
    waits: int = 0
    """The number of tenants to which a changed plan is applied at a time, if this one waits for its turn."""
    error: OperatorError | None = None
    host_holder: str | None = None
    """The other tenant or shop that has the host; empty if none has it, None if that was not looked at."""
    shop: Platform | None = None
    deleting_namespace: bool = False

    @property
    def applied(self) -> bool:
        """Tells whether all objects were applied as the plan says."""
        return self.takes_plan and self.error is None


def describe(
    tenant: Tenant, spec: TenantSpec | None, outcome: Outcome, usage: Mapping[str, Any], now: datetime
) -> Manifest:
    """Returns the whole status. It equals the stored one if nothing has changed."""
    ready, host = _ready(tenant, spec, outcome), _host(spec, outcome)
    stored_host = stored_condition(tenant.status, "HostConflict")
    rows = [
        _dated(ready, tenant, now),
        *([_dated(host, tenant, now)] if host else [dict(stored_host)] if stored_host else []),
        *(_dated(one, tenant, now) for one in (*_plan(outcome), *_deleting(tenant, spec, outcome, now))),
    ]
    status, shop = tenant.status, outcome.shop
    return {
        "observedGeneration": tenant.generation if outcome.applied else status.get("observedGeneration", 0),
        "state": "Deleting" if tenant.deleted_at else str(ready.reason),
        "namespace": tenant.name,
        **_applied_plan(tenant, outcome),
        "settled": _settled(tenant, outcome),
        **({"servicesReady": shop.status["servicesReady"]} if shop and "servicesReady" in shop.status else {}),
        **({"url": shop.status["url"]} if shop and "url" in shop.status else {}),
        **({"deletionTime": at.strftime(TIME_FORMAT)} if spec and (at := deletion_time(tenant, spec)) else {}),
        "usage": dict(usage),
        "conditions": rows,
    }


def _applied_plan(tenant: Tenant, outcome: Outcome) -> Manifest:
    """Returns the plan that was applied last, or of which the API server has refused a part."""
    plan, status = outcome.plan, tenant.status
    if plan is None or not outcome.takes_plan:
        names = ("plan", "planUID", "planGeneration", "settledBefore")
        return {name: status[name] for name in names if name in status}
    settled_before = status.get("settledBefore", True) if has_plan(tenant, plan) else is_stored_settled(tenant)
    applied = {"plan": plan.name, "planUID": plan.uid, "planGeneration": plan.generation}
    return {**applied, "settledBefore": settled_before}


def _settled(tenant: Tenant, outcome: Outcome) -> bool:
    """Returns whether the shop is settled and the API server has refused nothing of a change.

    An error that a retry may resolve says nothing of a tenant that nothing was changed for.
    """
    plan, status, error = outcome.plan, tenant.status, outcome.error
    if not (isinstance(error, ApiError) and plan and outcome.takes_plan):
        return is_settled(outcome.shop)
    is_change = not has_plan(tenant, plan) or status.get("observedGeneration") != tenant.generation
    return error.transient and not is_change and is_stored_settled(tenant) and is_settled(outcome.shop)


def _ready(tenant: Tenant, spec: TenantSpec | None, outcome: Outcome) -> Condition:
    return _unapplied(tenant, outcome) or _shop_state(tenant, spec, outcome)


def _unapplied(tenant: Tenant, outcome: Outcome) -> Condition | None:
    """Returns why nothing could be applied; None if that is not so."""
    error = outcome.error
    is_terminating = isinstance(error, ApiError) and error.namespace_terminating
    if is_terminating or outcome.deleting_namespace:
        return Condition("Ready", False, TenantReason.DELETING_NAMESPACE, _termination(tenant))
    if isinstance(error, TenantError):
        return Condition("Ready", False, TenantReason(error.reason), str(error))
    if error is not None:
        text = f"The API server refused a request: {error}. The operator retries."
        return Condition("Ready", False, TenantReason.REFUSED, text)
    if outcome.host_holder and not outcome.applied:
        return Condition(
            "Ready", False, TenantReason.HOST_TAKEN, f"Nothing is applied: {outcome.host_holder} has the host."
        )
    return None


def _termination(tenant: Tenant) -> str:
    if tenant.deleted_at is not None:
        return "The namespace is being deleted, with all data in it."
    return "The namespace is being deleted: nothing is created in it. The operator creates it again afterwards."


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
    if is_settled(shop) and outcome.waits:
        return ready(TenantReason.READY, "The shop is as the plan said before it was changed.", status=True)
    return ready(TenantReason.PROGRESSING, "The shop is being changed: its own conditions say what it waits for.")


def _upgrade_failure(shop: Platform) -> str:
    upgraded = stored_condition(shop.status, "Upgraded")
    cause = f" {upgraded['message']}" if upgraded else ""
    if version := shop.spec.get("version"):
        return f"The upgrade to {version} has failed: correct the version in the TenantPlan or the Tenant.{cause}"
    return f"The upgrade to the operator's release has failed.{cause}"


def _host(spec: TenantSpec | None, outcome: Outcome) -> Condition | None:
    """Returns None if the pass has not looked at who has the host: then the stored condition stands."""
    if outcome.host_holder is None:
        return None
    if outcome.host_holder:
        text = f"The {outcome.host_holder} has the host {spec.host if spec else ''}: choose another host."
        return Condition("HostConflict", True, TenantReason.HOST_TAKEN, text)
    return Condition("HostConflict", False, TenantReason.HOST_FREE, "No other shop has the host.")


def _plan(outcome: Outcome) -> list[Condition]:
    if outcome.waits:
        text = (
            f"The plan has changed. It is applied to at most {outcome.waits} tenants at a time, and last to those that "
            "were not settled before."
        )
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
