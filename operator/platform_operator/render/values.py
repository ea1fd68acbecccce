"""From a spec to the charts' values: one pure function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from platform_operator.api.kinds import FIELD_MANAGER, Key
from platform_operator.api.spec import (
    SERVICES,
    WITH_BROKER,
    WITH_CACHE,
    WITH_DATABASE,
    Autoscaling,
    Ingress,
    Resources,
    SecretRef,
    Service,
    Smtp,
    Spec,
    Storage,
)
from platform_operator.render import connection_pools as connections

Values = dict[str, Any]


class Installation(NamedTuple):
    """What shops take over from how the operator was installed: the services' version, where images come from, the namespace
    from which the operator reads their figures, and the Secrets, in the shop's namespace, with which its images are pulled."""

    version: str
    registry: str = ""
    store_registry: str = ""
    namespace: str = "ecommerce-system"
    pull_secrets: tuple[str, ...] = ()


def values(platform: Key, spec: Spec, installed: Installation, store_profile: str) -> Values:
    """The values of charts/platform that make what the spec asks for. The charts' own values.yaml is the interface.

    Stores keep the profile that they were made with, `store_profile`: each is a single instance whose volume cannot change in place
    and whose restart is an outage, so they are resized only where the spec itself states a size.
    """
    name, profile, stores = platform.name, PROFILES[spec.profile], PROFILES[store_profile]
    made = {
        "global": _global(spec, installed),
        **{service: _service(name, service, spec, profile, stores) for service in SERVICES},
        **{f"{service}-db": _database(name, service, spec, stores) for service in WITH_DATABASE},
        "redis": _cache(name, spec, stores),
        "rabbitmq": _broker(name, spec, stores),
        "monitoring": {"operator": f"{_OPERATORS_PODS}.{installed.namespace}.svc"},
        **_ingress(spec),
    }
    made["payment"] |= _payments(spec)
    made["notification"] |= _notifications(platform, spec)
    return made


def url(platform: Key, ingress: Ingress) -> str:
    """Where the shop answers."""
    if ingress.enabled:
        scheme = "https" if ingress.tls or ingress.gateway else "http"
        return f"{scheme}://{ingress.host}"
    return f"http://{platform.name}-gateway.{platform.namespace}.svc:8080"


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


_PROMETHEUS = "monitoring"
"""The namespace that Prometheus is expected in."""

_OPERATORS_PODS = "ecommerce-operator-pods"
"""The Service of charts/operator whose name in DNS is the list of the operator's pods."""


def _global(spec: Spec, installed: Installation) -> Values:
    readers = [_PROMETHEUS, installed.namespace]
    return {
        "managedBy": FIELD_MANAGER,
        "image": {
            "registry": installed.registry,
            "tag": spec.version or installed.version,
            "pullSecrets": list(installed.pull_secrets),
        },
        "storeRegistry": installed.store_registry,
        "deletionPolicy": spec.deletion_policy,
        "networkPolicies": {"enabled": spec.network_policies.enabled, "metricsFrom": readers},
        "monitoring": {
            "prometheus": spec.monitoring.enabled,
            "serviceMonitors": spec.monitoring.service_monitors,
            "alerts": spec.monitoring.alerts,
        },
    }


def _service(platform: str, name: str, spec: Spec, profile: Profile, stores: Profile) -> Values:
    wish = spec.services.get(name, Service())
    scale = _scale(wish, profile)
    return {
        "enabled": True,
        **_asks(wish.resources, profile.service),
        **scale,
        "env": {**_pool(name, spec, scale, stores), **wish.env},
        **_credentials_of(platform, name, spec),
    }


def _pool(name: str, spec: Spec, scale: Values, stores: Profile) -> dict[str, str]:
    """Fewer connections a pod where its database has not enough for the usual number. What a database elsewhere has is not known."""
    if name not in WITH_DATABASE or spec.databases.provider != "builtin":
        return {}
    scaling = scale["autoscaling"]
    pods = scaling["max"] if scaling["enabled"] else scale["replicas"]
    fits = connections.pool(spec.databases.resources.limits.memory or stores.database.memory_limit, pods)
    return {connections.POOL: str(fits)} if fits < connections.USUAL else {}


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
        database = spec.databases.external[name]
        credentials["database"] = _outside(database.secret_ref, database.port)
    if spec.cache.secret_ref and name in WITH_CACHE:
        credentials["cache"] = _outside(spec.cache.secret_ref, spec.cache.port)
    if spec.broker.secret_ref and name in WITH_BROKER:
        credentials["broker"] = _outside(spec.broker.secret_ref, spec.broker.port)
    return credentials


def _outside(secret: SecretRef, port: int | None) -> Values:
    return {"existingSecret": secret.name} | ({"port": port} if port else {})


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


def _payments(spec: Spec) -> Values:
    wish = spec.payments
    return {"provider": wish.provider, "stripe": {"existingSecret": wish.secret_ref.name if wish.secret_ref else ""}}


def _notifications(platform: Key, spec: Spec) -> Values:
    smtp, sms = spec.notifications.smtp, spec.notifications.sms
    return {
        "shop": {"url": url(platform, spec.ingress)},
        "smtp": _smtp(smtp) if smtp else {"host": ""},
        "sms": {"provider": sms.provider, "existingSecret": sms.secret_ref.name if sms.secret_ref else ""},
    }


def _smtp(wish: Smtp) -> Values:
    return {
        "host": wish.host or "",
        "port": wish.port,
        "from": wish.from_ or "",
        "startTls": wish.start_tls,
        "existingSecret": wish.secret_ref.name if wish.secret_ref else "",
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
