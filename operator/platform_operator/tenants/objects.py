"""The objects of a tenant, built from its spec and its plan. Pure."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from platform_operator.api.admission import ADMISSION_POLICY
from platform_operator.api.kinds import FIELD_MANAGER, LABEL_MANAGED_BY, LABEL_PART_OF, PLATFORM, Kind, Manifest
from platform_operator.api.spec import Quantities, Spec
from platform_operator.api.tenants import (
    LABEL_PLAN,
    LABEL_TENANT,
    PROFILES,
    SHOP,
    TenantPlanSpec,
    TenantReason,
    TenantSpec,
)
from platform_operator.errors import TenantError
from platform_operator.tenants.observed import StoredTenantPlan, Tenant

NAMESPACE = Kind("v1", "Namespace", "namespaces", metadata_only=True)
QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")
LIMIT_RANGE = Kind("v1", "LimitRange", "limitranges", metadata_only=True)
POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", metadata_only=True)
ROLE_BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", metadata_only=True)
ADMISSION_BINDING = Kind(
    "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
    metadata_only=True,
)
TENANT_OBJECT_KINDS = (NAMESPACE, QUOTA, LIMIT_RANGE, POLICY, ROLE_BINDING, ADMISSION_BINDING)
"""The kinds of a tenant's objects but for its shop."""

TENANT_OBJECT_LABELS = {LABEL_PART_OF: "ecommerce-tenants", LABEL_MANAGED_BY: FIELD_MANAGER}
"""The labels of all objects of tenants. The informers would take objects with a shop's labels for its children."""
TENANT_OBJECT_SELECTOR = ",".join(f"{name}={value}" for name, value in sorted(TENANT_OBJECT_LABELS.items()))

_COUNTED = {"pods": "1000", "requests.storage": "100Ti", "count/secrets": "100"}
"""What each quota has at least: usage is read from there, and the operator's cache holds the Secrets of all shops."""


def tenant_objects(
    tenant: Tenant, spec: TenantSpec, plan: StoredTenantPlan, plan_spec: TenantPlanSpec, admin_role: str
) -> list[Manifest]:
    """Returns the objects of a tenant but for its shop, in the order in which they are applied.

    The binding is the first: it has to be there before a namespace has the label that it selects.
    """
    limits = _limits(plan_spec)
    return [
        admission_binding(plan),
        _namespace(tenant, plan),
        _object(tenant, QUOTA, "tenant", spec={"hard": _COUNTED | plan_spec.quota}),
        _object(tenant, POLICY, "default-deny", spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
        _object(
            tenant,
            ROLE_BINDING,
            "tenant-admins",
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": admin_role},
            subjects=[_subject(one.model_dump(exclude_none=True)) for one in spec.admins],
        ),
        _object(tenant, LIMIT_RANGE, "tenant", spec={"limits": [limits] if limits else []}),
    ]


def _namespace(tenant: Tenant, plan: StoredTenantPlan) -> Manifest:
    security = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    labels = {**TENANT_OBJECT_LABELS, LABEL_TENANT: tenant.name, LABEL_PLAN: plan.name, **security}
    return {
        "apiVersion": NAMESPACE.api_version,
        "kind": NAMESPACE.kind,
        "metadata": {"name": tenant.name, "labels": labels},
    }


def _object(tenant: Tenant, kind: Kind, name: str, **content: Any) -> Manifest:
    labels = {**TENANT_OBJECT_LABELS, LABEL_TENANT: tenant.name}
    metadata = {"name": name, "namespace": tenant.name, "labels": labels}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **content}


def _subject(subject: Mapping[str, str]) -> Manifest:
    group = {} if subject["kind"] == "ServiceAccount" else {"apiGroup": "rbac.authorization.k8s.io"}
    return {**group, **subject}


def _limits(plan_spec: TenantPlanSpec) -> Manifest:
    parts: dict[str, Quantities] = {
        "defaultRequest": plan_spec.limits.default_request,
        "default": plan_spec.limits.default,
        "max": plan_spec.limits.max,
    }
    stated = {name: amounts for name, one in parts.items() if (amounts := one.model_dump(exclude_none=True))}
    return {"type": "Container", **stated} if stated else {}


def admission_binding(plan: StoredTenantPlan) -> Manifest:
    """Returns the object by which the API server checks the changes of shops of a plan.

    It has no owner, since it has to outlive the plan: without it nothing would limit the admins.
    """
    return {
        "apiVersion": ADMISSION_BINDING.api_version,
        "kind": ADMISSION_BINDING.kind,
        "metadata": {
            "name": f"{ADMISSION_POLICY}-{plan.name}",
            "labels": {**TENANT_OBJECT_LABELS, LABEL_PLAN: plan.name},
        },
        "spec": {
            "policyName": ADMISSION_POLICY,
            "paramRef": {"name": plan.name, "parameterNotFoundAction": "Deny"},
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {LABEL_PLAN: plan.name}}},
        },
    }


def shop_manifest(
    tenant: Tenant,
    spec: TenantSpec,
    plan_spec: TenantPlanSpec,
    live: Mapping[str, Any],
    operator_class: str = "",
    *,
    keeps_host: bool = False,
) -> Manifest:
    """Returns the EcommercePlatform of a tenant. `live` is the spec that is stored, empty for a new shop.

    A field that the plan leaves to the admins keeps its stored value. With `keeps_host` the shop keeps its stored host,
    since another shop has the Tenant's. The profile is always stated: otherwise one that the admins chose before the
    plan took the field from them would stay. Raises TenantError if the Tenant asks for more than its plan has. A shop
    that is suspended or deleted keeps its stored host and profile instead, so that every shop can be hibernated.
    """
    is_hibernated = spec.suspended or tenant.deleted_at is not None
    keeps_refused = is_hibernated and bool(live)
    stated = merged(plan_spec.defaults, spec.platform)
    _require_shop_fields(tenant, spec, stated)
    if plan_spec.maintenance is not None:
        stated.setdefault("maintenance", plan_spec.maintenance.model_dump(by_alias=True))
    stated.setdefault("profile", PROFILES[0])
    if keeps_host or (keeps_refused and spec.host and not _has_host(plan_spec, spec.host)):
        stated["ingress"] = copy.deepcopy(live.get("ingress", {"enabled": False}))
    elif spec.host:
        _require_host(plan_spec, spec.host)
        stated = merged(stated, {"ingress": {"enabled": True, "host": spec.host}})
    else:
        stated.pop("ingress", None)
    for name in plan_spec.allowed_fields:
        if name in live:
            stated[name] = copy.deepcopy(live[name])
    stated["profile"] = _profile(stated["profile"], plan_spec, live.get("profile") if keeps_refused else None)
    stated |= {"hibernated": True} if is_hibernated else {}
    stated |= {"operatorClassName": operator_class} if operator_class else {}
    return _shop(tenant, stated)


def hibernated_manifest(tenant: Tenant, live: Mapping[str, Any]) -> Manifest:
    """Returns the EcommercePlatform of a tenant as it is stored, hibernated: it needs nothing of the Tenant's plan."""
    return _shop(tenant, {**copy.deepcopy(dict(live)), "hibernated": True})


def _shop(tenant: Tenant, spec: Manifest) -> Manifest:
    labels = {LABEL_TENANT: tenant.name}
    metadata = {"name": SHOP, "namespace": tenant.name, "labels": labels}
    return {"apiVersion": PLATFORM.api_version, "kind": PLATFORM.kind, "metadata": metadata, "spec": spec}


def _require_shop_fields(tenant: Tenant, spec: TenantSpec, stated: Manifest) -> None:
    """Raises TenantError if the fields are not those of the spec of a shop.

    The API server would answer a server-side apply of an unknown field as if it had failed itself.
    """
    try:
        Spec.model_validate_json(json.dumps(stated), strict=True, extra="forbid", by_alias=True, by_name=False)
    except ValidationError as error:
        first = error.errors()[0]
        path, text = [str(part) for part in first["loc"]], first["msg"]
        is_tenants = _has_path(spec.platform, path)
        place = f"spec.{'platform' if is_tenants else 'defaults'}.{'.'.join(path)}"
        owner = f"Tenant {tenant.name}" if is_tenants else f"TenantPlan {spec.plan_ref.name}"
        text = f"{place} of the {owner} cannot be in the spec of a shop: {text}. Correct it."
        raise TenantError(TenantReason.PLAN_VIOLATED, text) from error


def _has_path(stated: Any, path: Sequence[str]) -> bool:
    """Returns whether the fields have one at the path, or something else than an object on the way to it."""
    if not path or not isinstance(stated, Mapping):
        return True
    return path[0] in stated and _has_path(stated[path[0]], path[1:])


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `one` with the fields of `other`, object by object; lists are replaced."""
    result = copy.deepcopy(dict(one))
    for name, value in other.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if both else copy.deepcopy(value)
    return result


def _has_host(plan_spec: TenantPlanSpec, host: str) -> bool:
    patterns = (re.escape(one).replace(r"\*", "[^.]+") for one in plan_spec.hosts)
    return not plan_spec.hosts or any(re.fullmatch(one, host) for one in patterns)


def _require_host(plan_spec: TenantPlanSpec, host: str) -> None:
    """Raises TenantError for a host that no pattern of the plan matches."""
    if not _has_host(plan_spec, host):
        allowed = ", ".join(plan_spec.hosts)
        raise TenantError(TenantReason.PLAN_VIOLATED, f"The plan has no host {host}: choose one of {allowed}.")


def _profile(stated: str, plan_spec: TenantPlanSpec, stored: str | None) -> str:
    """Returns the profile of a shop. One that the admins chose is lowered with the plan.

    Raises TenantError for one that the Tenant asks for and the plan does not have, unless the `stored` one is kept.
    """
    if stated in PROFILES[: PROFILES.index(plan_spec.max_profile) + 1]:
        return stated
    if "profile" in plan_spec.allowed_fields:
        return plan_spec.max_profile
    if stored is not None:
        return stored
    text = f"The plan has profiles up to {plan_spec.max_profile}: lower spec.platform.profile, or change the plan."
    raise TenantError(TenantReason.PLAN_VIOLATED, text)


def contains(live: Any, stated: Any) -> bool:
    """Returns whether what is stored has all that is stated."""
    if isinstance(stated, Mapping):
        return isinstance(live, Mapping) and all(contains(live.get(name), value) for name, value in stated.items())
    return bool(live == stated)
