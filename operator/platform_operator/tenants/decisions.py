"""Decides which shop has a host, when a changed plan is applied, and when a deleted tenant's data are deleted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from platform_operator.api.conditions import is_met, stored_condition
from platform_operator.api.kinds import PlatformKey
from platform_operator.api.schema import parse_stored
from platform_operator.api.tenants import SHOP, TenantPlanSpec, TenantReason, TenantSpec
from platform_operator.cache.observed import Platform
from platform_operator.errors import InvalidSpecError
from platform_operator.plan.upgrades import read_upgrade
from platform_operator.tenants.observed import StoredTenantPlan, Tenant

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def host_holder(tenant: Tenant, host: str | None, tenants: Mapping[str, Tenant], platforms: Iterable[Platform]) -> str:
    """Returns the other tenant or shop that has the host: "tenant acme" or "shop default/shop". Empty if none has it.

    A host belongs to the shop that has it, the first created one of several; until a shop has it, to the first created
    tenant. A shop keeps its host until it is deleted, so that no other shop receives its requests.
    """
    if host is None:
        return ""
    if live := [one for one in platforms if _live_host(one) == host]:
        key = min(live, key=lambda one: (one.created, one.key)).key
        if key == PlatformKey(tenant.name, SHOP):
            return ""
        return f"tenant {key.namespace}" if key.name == SHOP and key.namespace in tenants else f"shop {key}"
    others = [one for one in tenants.values() if one.spec.get("host") == host and one.name != tenant.name]
    first = min([*others, tenant], key=lambda one: (one.created, one.name))
    return "" if first.name == tenant.name else f"tenant {first.name}"


def _live_host(platform: Platform) -> str | None:
    ingress = platform.spec.get("ingress") or {}
    return ingress.get("host") if ingress.get("enabled") else None


def must_wait(
    tenant: Tenant, plan: StoredTenantPlan, concurrency: int, tenants: Iterable[Tenant], starting: Mapping[str, str]
) -> bool:
    """Returns whether a tenant waits for others before a changed plan is applied to it.

    It waits while the change is applied to `concurrency` tenants. One that was not settled before the change waits for
    all that were, too. A tenant that is new, was edited or is deleted does not wait. `starting` are the tenants that
    may have been changed, which their status does not say yet, each with the UID of the plan that is applied to it.
    """
    status = tenant.status
    is_new = status.get("plan") != plan.name
    is_edited = status.get("observedGeneration") != tenant.generation
    if is_new or is_edited or has_plan(tenant, plan) or tenant.deleted_at is not None:
        return False
    others = [one for one in tenants if one.name != tenant.name and one.deleted_at is None]
    changing = [one for one in others if starting.get(one.name) == plan.uid or _is_changing(one, plan)]
    is_last = not is_stored_settled(tenant)
    return len(changing) >= concurrency or (is_last and any(_is_before_the_last(one, plan) for one in others))


def next_in_turn(plan: StoredTenantPlan, tenants: Iterable[Tenant]) -> list[str]:
    """Returns the names of the tenants that no longer wait for a changed plan: no more than can take it now."""
    try:
        concurrency = parse_stored(TenantPlanSpec, plan.spec).concurrency
    except InvalidSpecError:
        return []  # nothing of it can be applied
    members = [one for one in tenants if one.status.get("plan") == plan.name and one.deleted_at is None]
    free = concurrency - sum(_is_changing(one, plan) for one in members)
    waiting = sorted((not is_stored_settled(one), one.name) for one in members if _is_waiting(one))
    return [name for _, name in waiting[: max(free, 0)]]


def _is_waiting(tenant: Tenant) -> bool:
    applied = stored_condition(tenant.status, "PlanApplied")
    return applied is not None and applied["reason"] == TenantReason.WAITING_FOR_TURN


def _is_changing(tenant: Tenant, plan: StoredTenantPlan) -> bool:
    """Returns whether the plan was applied and its shop is not settled since. One that was not settled before either
    says nothing of the change, and keeps no other tenant from it."""
    return (
        has_plan(tenant, plan) and tenant.status.get("settledBefore", True) and not tenant.status.get("settled", True)
    )


def _is_before_the_last(tenant: Tenant, plan: StoredTenantPlan) -> bool:
    """Returns whether a tenant is settled and the changed plan will be applied to it. A tenant for which nothing can be
    applied has no condition PlanApplied."""
    is_next = tenant.status.get("plan") == plan.name and not has_plan(tenant, plan)
    return is_next and is_stored_settled(tenant) and stored_condition(tenant.status, "PlanApplied") is not None


def is_stored_settled(tenant: Tenant) -> bool:
    """Returns whether a tenant was settled when its status was last stored; False for a new one."""
    return bool(tenant.status.get("settled", False))


def has_plan(tenant: Tenant, plan: StoredTenantPlan) -> bool:
    """Returns whether this version of the plan was applied, or the API server has refused a part of it.

    A plan that was created again has another uid.
    """
    status = tenant.status
    applied = status.get("plan"), status.get("planUID"), status.get("planGeneration")
    return applied == (plan.name, plan.uid, plan.generation)


def is_settled(shop: Platform | None) -> bool:
    """Returns whether a shop has reached what its newest spec asks for: it is ready, hibernated or closed.

    A closed shop whose stores are still being changed, or have failed, has not; neither has one that does not run the
    version of its spec, since the upgrade to it has failed.
    `status.settled` of its Tenant has that. A changed plan goes on to the next tenant when this one's shop is settled.
    """
    if shop is None or shop.status.get("observedGeneration") != shop.generation or has_failed_upgrade(shop):
        return False
    if is_met(shop.status, "Ready"):
        return True
    if shop.spec.get("hibernated"):
        return is_met(shop.status, "Hibernated")
    return is_met(shop.status, "Closed") and not (is_met(shop.status, "Progressing") or is_met(shop.status, "Degraded"))


def has_failed_upgrade(shop: Platform) -> bool:
    """Returns whether the upgrade to the version that the spec asks for has failed. A shop may be ready all the same:
    it runs the version before."""
    upgrade, version = read_upgrade(shop.status), shop.spec.get("version")
    return upgrade is not None and upgrade.has_failed and version in (None, upgrade.release[0])


def deletion_time(tenant: Tenant, spec: TenantSpec) -> datetime | None:
    """Returns when the namespace of a deleted tenant is deleted; None for a tenant that is not deleted."""
    if tenant.deleted_at is None:
        return None
    return tenant.deleted_at + int(spec.delete_after[:-1]) * _UNITS[spec.delete_after[-1]]


def time_left(remaining: timedelta) -> str:
    """Returns the remaining time of a grace period as text, in the largest unit of which there are at least two."""
    minutes = max(1, -(-int(remaining.total_seconds()) // 60))
    for name, length in (("days", 1440), ("hours", 60)):
        if minutes >= 2 * length:
            return f"{minutes // length} {name}"
    return f"{minutes} minutes" if minutes > 1 else "1 minute"
