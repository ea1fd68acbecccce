"""Parses Tenants, TenantPlans, and the objects that the operator applies for them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from platform_operator.api.kinds import GROUP, Manifest
from platform_operator.api.tenants import LABEL_PLAN, LABEL_TENANT
from platform_operator.cache.managed_fields import owned_digest


@dataclass(frozen=True, slots=True)
class Tenant:
    """A Tenant, as stored."""

    name: str
    uid: str
    version: int
    generation: int
    created: datetime
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    annotations: Mapping[str, str]
    finalizers: tuple[str, ...]
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredTenantPlan:
    """A TenantPlan, as stored."""

    name: str
    uid: str
    version: int
    generation: int
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TenantObject:
    """An object that the operator applies for a tenant or plan, as last seen."""

    uid: str
    version: int
    owned_digest: str
    tenant: str
    plan: str
    deleting: bool
    used: Mapping[str, str] = field(default_factory=dict)
    """The usage that a ResourceQuota counts."""


def observe_tenant(manifest: Manifest) -> Tenant:
    metadata = manifest["metadata"]
    deleted_at = metadata.get("deletionTimestamp")
    return Tenant(
        metadata["name"],
        metadata["uid"],
        int(metadata["resourceVersion"]),
        metadata["generation"],
        datetime.fromisoformat(metadata["creationTimestamp"]),
        manifest.get("spec") or {},
        manifest.get("status") or {},
        {name: text for name, text in (metadata.get("annotations") or {}).items() if name.startswith(f"{GROUP}/")},
        tuple(metadata.get("finalizers") or ()),
        datetime.fromisoformat(deleted_at) if deleted_at else None,
    )


def observe_plan(manifest: Manifest) -> StoredTenantPlan:
    metadata = manifest["metadata"]
    version = int(metadata["resourceVersion"])
    return StoredTenantPlan(
        metadata["name"], metadata["uid"], version, metadata["generation"], manifest.get("spec") or {}
    )


def observe_object(manifest: Manifest) -> TenantObject:
    metadata = manifest["metadata"]
    labels = metadata.get("labels") or {}
    return TenantObject(
        metadata["uid"],
        int(metadata["resourceVersion"]),
        owned_digest(manifest),
        labels.get(LABEL_TENANT, ""),
        labels.get(LABEL_PLAN, ""),
        "deletionTimestamp" in metadata,
        (manifest.get("status") or {}).get("used") or {} if manifest["kind"] == "ResourceQuota" else {},
    )
