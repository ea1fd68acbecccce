"""From a spec to the charts' values: one pure function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from platform_operator.kinds import FIELD_MANAGER
from platform_operator.spec import (
    AVAILABLE,
    WITH_BROKER,
    WITH_CACHE,
    WITH_DATABASE,
    Autoscaling,
    Resources,
    Service,
    Spec,
    Storage,
)

Values = dict[str, Any]


class Images(NamedTuple):
    """Where images come from, and which the operator runs by default."""

    version: str
    registry: str
    store_registry: str


def values(platform: str, spec: Spec, images: Images, store_profile: str) -> Values:
    """The values of charts/platform that make what the spec asks for. The charts' own values.yaml is the interface.

    Stores keep the profile that they were made with, `store_profile`: each is a single instance whose volume cannot change in place
    and whose restart is an outage, so they are resized only where the spec itself states a size.
    """
    profile, stores = PROFILES[spec.profile], PROFILES[store_profile]
    return {
        "global": _global(spec, images),
        **{name: _service(platform, name, spec, profile) for name in AVAILABLE},
        **{f"{name}-db": _database(platform, name, spec, stores) for name in WITH_DATABASE},
        "redis": _cache(platform, spec, stores),
        "rabbitmq": _broker(platform, spec, stores),
        **_ingress(spec),
    }


@dataclass(frozen=True)
class Asks:
    """What one container requests, and the memory it may use."""

    cpu: str
    memory: str
    memory_limit: str


@dataclass(frozen=True)
class Profile:
    """The size of a shop. `scale` is the fewest and the most pods of a service; equal: no autoscaling."""

    service: Asks
    scale: tuple[int, int]
    database: Asks
    database_size: str
    cache: Asks
    broker: Asks
    broker_size: str


PROFILES = {
    "small": Profile(
        service=Asks("50m", "112Mi", "256Mi"),
        scale=(1, 1),
        database=Asks("40m", "96Mi", "256Mi"),
        database_size="1Gi",
        cache=Asks("20m", "32Mi", "128Mi"),
        broker=Asks("100m", "224Mi", "512Mi"),
        broker_size="1Gi",
    ),
    "medium": Profile(
        service=Asks("50m", "128Mi", "384Mi"),
        scale=(2, 4),
        database=Asks("250m", "512Mi", "1Gi"),
        database_size="10Gi",
        cache=Asks("50m", "128Mi", "256Mi"),
        broker=Asks("250m", "512Mi", "1Gi"),
        broker_size="5Gi",
    ),
    "large": Profile(
        service=Asks("200m", "192Mi", "512Mi"),
        scale=(3, 10),
        database=Asks("1", "2Gi", "4Gi"),
        database_size="50Gi",
        cache=Asks("100m", "512Mi", "1Gi"),
        broker=Asks("500m", "1Gi", "2Gi"),
        broker_size="20Gi",
    ),
}

_TARGET_CPU = 70


def _global(spec: Spec, images: Images) -> Values:
    return {
        "managedBy": FIELD_MANAGER,
        "image": {"registry": images.registry, "tag": spec.version or images.version},
        "storeRegistry": images.store_registry,
        "deletionPolicy": spec.deletion_policy,
        "networkPolicies": {"enabled": spec.network_policies.enabled},
        "monitoring": {"serviceMonitors": spec.monitoring.service_monitors},
    }


def _service(platform: str, name: str, spec: Spec, profile: Profile) -> Values:
    wish = spec.services.get(name, Service())
    return {
        "enabled": True,
        **_asks(wish.resources, profile.service),
        **_scale(wish, profile),
        "env": dict(wish.env),
        **_credentials_of(platform, name, spec),
    }


def _scale(wish: Service, profile: Profile) -> Values:
    """Explicit replicas switch autoscaling off; wishes for autoscaling that say no more leave the profile's bounds."""
    fewest, most = profile.scale
    scaling = wish.autoscaling
    enabled = wish.replicas is None and (fewest < most if scaling.enabled is None else scaling.enabled)
    return {"replicas": wish.replicas or fewest, "autoscaling": {"enabled": enabled, **_bounds(scaling, fewest, most)}}


def _bounds(scaling: Autoscaling, fewest: int, most: int) -> Values:
    low = scaling.min or min(fewest, scaling.max or fewest)
    return {
        "min": low,
        "max": scaling.max or max(most, low, 3 if fewest == most else most),
        "targetCPUUtilization": scaling.target_cpu_utilization or _TARGET_CPU,
    }


def _credentials_of(platform: str, name: str, spec: Spec) -> Values:
    """Which Secrets a service reads, where they are not the ones of the builtin stores."""
    credentials: Values = {}
    if name == "user":
        credentials |= {kind: {"existingSecret": f"{platform}-{kind}"} for kind in ("jwt", "admin")}
    if name in spec.databases.external:
        credentials["database"] = {"existingSecret": spec.databases.external[name].secret_ref.name}
    if spec.cache.secret_ref and name in WITH_CACHE:
        credentials["cache"] = {"existingSecret": spec.cache.secret_ref.name}
    if spec.broker.secret_ref and name in WITH_BROKER:
        credentials["broker"] = {"existingSecret": spec.broker.secret_ref.name}
    return credentials


def _asks(wish: Resources, ask: Asks) -> Values:
    limits = {"memory": wish.limits.memory or ask.memory_limit}
    if wish.limits.cpu:
        limits["cpu"] = wish.limits.cpu
    requests = {"cpu": wish.requests.cpu or ask.cpu, "memory": wish.requests.memory or ask.memory}
    return {"resources": {"requests": requests, "limits": limits}}


def _database(platform: str, name: str, spec: Spec, profile: Profile) -> Values:
    return {
        "enabled": spec.databases.provider == "builtin",
        "existingSecret": f"{platform}-{name}-db",
        "storage": _storage(spec.databases.storage, profile.database_size),
        **_asks(spec.databases.resources, profile.database),
    }


def _cache(platform: str, spec: Spec, profile: Profile) -> Values:
    return {
        "enabled": spec.cache.provider == "builtin",
        "existingSecret": f"{platform}-redis",
        **_asks(spec.cache.resources, profile.cache),
    }


def _broker(platform: str, spec: Spec, profile: Profile) -> Values:
    return {
        "enabled": spec.broker.provider == "builtin",
        "existingSecret": f"{platform}-rabbitmq",
        "storage": _storage(spec.broker.storage, profile.broker_size),
        **_asks(spec.broker.resources, profile.broker),
    }


def _storage(wish: Storage, size: str) -> Values:
    return {"size": wish.size or size, "storageClassName": wish.storage_class_name or ""}


def _ingress(spec: Spec) -> Values:
    wish = spec.ingress
    gateway = {"name": wish.gateway.name, "namespace": wish.gateway.namespace or ""} if wish.gateway else None
    return {
        "ingress": {
            "enabled": wish.enabled and gateway is None,
            "host": wish.host or "",
            "className": wish.class_name or "",
            "tls": {"secretName": wish.tls.secret_name if wish.tls else ""},
        },
        "gatewayApi": {
            "enabled": wish.enabled and gateway is not None,
            "parentRef": gateway or {"name": "", "namespace": ""},
        },
    }
