"""Chart values: one pure function from a spec to the values of charts/platform."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from platform_operator.api.kinds import FIELD_MANAGER, PlatformKey
from platform_operator.api.pods import Objects, Pods
from platform_operator.api.schema import SecretRef
from platform_operator.api.shop_settings import GrpcAuthentication
from platform_operator.api.spec import (
    SERVICES,
    WITH_BROKER,
    WITH_CACHE,
    WITH_DATABASE,
    Autoscaling,
    Ingress,
    Resources,
    Service,
    Smtp,
    Spec,
    Storage,
)
from platform_operator.render import connection_pools
from platform_operator.render.profiles import PROFILES, ContainerSize, Profile
from platform_operator.render.store_images import CHARTS_OWN, StoreImages

ChartValues = dict[str, Any]

_TARGET_CPU = 70

_PROMETHEUS = "monitoring"
"""The namespace that Prometheus is expected in."""

_OPERATOR_PODS = "ecommerce-operator-pods"
"""The headless Service of charts/operator: its DNS name lists the operator's pods."""


class Scale(NamedTuple):
    """What changes the number of pods besides the profile and the services' own settings."""

    surge: float = 1.0
    """The factor of the open surge window."""
    greatest_surge: float = 1.0
    """The greatest factor of all windows: the pools of connections leave room for it, so that no window replaces pods.
    """
    hibernated: str = ""
    """What has no pods: `Services`, or `All`."""


UNSCALED = Scale()


class Installation(NamedTuple):
    """The settings of the operator's installation that every shop takes over: the version of the services, the
    registries of images, the operator's namespace, from which it reads metrics, the image pull Secrets, which are in
    the shop's namespace, the images of the stores of a new shop, and the namespace of CloudNativePG; empty: any."""

    version: str
    registry: str = ""
    store_registry: str = ""
    namespace: str = "ecommerce-system"
    pull_secrets: tuple[str, ...] = ()
    store_images: StoreImages = CHARTS_OWN
    cloudnativepg_namespace: str = "cnpg-system"


def chart_values(
    platform: PlatformKey,
    spec: Spec,
    installation: Installation,
    store_profile: str,
    grpc_authentication: GrpcAuthentication = "required",
    pod_annotations: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    images: StoreImages = CHARTS_OWN,
    migration_rotation: Mapping[str, Mapping[str, str | int]] = MappingProxyType({}),
    plain_stores: Collection[str] = (),
    scale: Scale = UNSCALED,
) -> ChartValues:
    """Returns the values of charts/platform for a spec. The charts' own values.yaml is the interface.

    Stores keep the sizes of the profile that they were made with, `store_profile`, unless the spec itself states them:
    a volume cannot change in place, and the restart of a single instance is an outage. The number of instances of a
    Cluster is that of the profile of the spec.
    `pod_annotations` are those of each service's pods, `images` those of the stores, `migration_rotation` has what
    the migrations of rotated roles have of their own, and `plain_stores` are the stores without TLS.
    """
    name, profile, stores = platform.name, PROFILES[spec.profile], PROFILES[store_profile]
    values = {
        "global": _global(spec, installation, grpc_authentication, plain_stores)
        | ({"hibernated": scale.hibernated} if scale.hibernated else {}),
        **{service: _service(name, service, spec, profile, stores, scale) for service in SERVICES},
        **{
            f"{service}-db": {**_database(name, service, spec, stores), **_cluster(spec, profile, installation)}
            for service in WITH_DATABASE
        },
        "redis": _cache(name, spec, stores),
        "rabbitmq": _broker(name, spec, stores),
        "monitoring": {"operator": f"{_OPERATOR_PODS}.{installation.namespace}.svc"},
        **_ingress(spec),
    }
    for store, image in _images(images).items():
        values[store] |= {"image": image}
    for service, own in pod_annotations.items():
        values[service] |= {"podAnnotations": dict(own)}
    for service in WITH_DATABASE if migration_rotation and spec.databases.provider != "external" else ():
        values[service]["migration"] = values[service].get("migration", {}) | dict(migration_rotation)
    values["gateway"] |= {"proxyNamespaces": spec.ingress.proxy_namespaces or []}
    values["payment"] |= _payments(spec)
    values["notification"] |= _notifications(platform, spec)
    return values


def platform_url(platform: PlatformKey, ingress: Ingress) -> str:
    """Returns the URL of the shop."""
    if ingress.enabled:
        scheme = "https" if ingress.tls or ingress.gateway else "http"
        return f"{scheme}://{ingress.host}"
    return f"http://{platform.name}-gateway.{platform.namespace}.svc:8080"


def _global(
    spec: Spec, installation: Installation, grpc_authentication: GrpcAuthentication, plain_stores: Collection[str]
) -> ChartValues:
    return {
        "managedBy": FIELD_MANAGER,
        "image": {
            "registry": installation.registry,
            "tag": spec.version or installation.version,
            "pullSecrets": _pull_secrets(spec, installation),
        },
        **_shop_settings(spec, grpc_authentication),
        **({"tls": {"plainStores": sorted(plain_stores)}} if plain_stores else {}),
        "storeRegistry": installation.store_registry,
        "networkPolicies": {
            "enabled": spec.network_policies.enabled,
            "metricsFrom": [_PROMETHEUS, installation.namespace],
        },
        "pods": {"userIds": spec.pods.user_ids, **_stated(spec.pods)},
        **({"objects": objects} if (objects := _stated(spec.objects)) else {}),
        "monitoring": {
            "prometheus": spec.monitoring.enabled,
            "serviceMonitors": spec.monitoring.service_monitors,
            "alerts": spec.monitoring.alerts,
        },
    }


def _pull_secrets(spec: Spec, installation: Installation) -> list[str]:
    """Returns the Secrets of the installation, and after them those of the shop."""
    own = [secret.name for secret in spec.pods.image_pull_secrets or ()]
    return list(dict.fromkeys((*installation.pull_secrets, *own)))


def _stated(part: Pods | Objects) -> ChartValues:
    """Returns the fields that the spec states, under the names that charts and pods have for them too."""
    stated = part.model_dump(by_alias=True, exclude_none=True, exclude={"user_ids", "image_pull_secrets"})
    return {name: value for name, value in stated.items() if value}


def _shop_settings(spec: Spec, grpc_authentication: GrpcAuthentication) -> ChartValues:
    """Returns the settings that are the same in every service. Those that have their defaults are left out."""
    currencies, provider = spec.settings.currencies, spec.payments.provider
    settings: ChartValues = {"currencies": currencies} if currencies else {}
    settings |= {"paymentProvider": provider} if provider != "simulated" else {}
    settings |= {"grpcAuthentication": grpc_authentication} if grpc_authentication != "required" else {}
    return {"settings": settings} if settings else {}


def _service(platform: str, name: str, spec: Spec, profile: Profile, stores: Profile, scale: Scale) -> ChartValues:
    service = spec.services.get(name, Service())
    most = _scale(service, profile, scale.greatest_surge)
    return {
        "enabled": True,
        **_resources(service.resources, profile.service),
        **(_migration(service.resources, profile.service) if name in WITH_DATABASE else {}),
        **_scale(service, profile, scale.surge),
        "env": {**_pool_size(name, spec, most, stores), **service.env},
        **_settings(name, spec),
        **_existing_secrets(platform, name, spec),
    }


def _migration(resources: Resources, default: ContainerSize) -> ChartValues:
    """Limits the processor time of a migration like that of its service: a quota of limits.cpu admits no pod without
    one.

    Without such a limit the chart's own resources stand, so that no migration runs again.
    """
    if not resources.limits.cpu:
        return {}
    cpu = resources.requests.cpu or default.cpu
    return {"migration": {"resources": {"requests": {"cpu": cpu}, "limits": {"cpu": resources.limits.cpu}}}}


def _settings(name: str, spec: Spec) -> ChartValues:
    settings = spec.settings.of(name)
    return {"settings": settings} if settings else {}


def _pool_size(name: str, spec: Spec, scale: ChartValues, stores: Profile) -> dict[str, str]:
    """Lowers the pool size where the database has too few connections for the default.

    External databases have an unknown number of connections.
    """
    if name not in WITH_DATABASE or spec.databases.provider == "external":
        return {}
    autoscaling = scale["autoscaling"]
    pods = autoscaling["max"] if autoscaling["enabled"] else scale["replicas"]
    memory = spec.databases.resources.limits.memory or stores.database.memory_limit
    size = connection_pools.pool_size(memory, pods)
    return {connection_pools.POOL_SIZE_VARIABLE: str(size)} if size < connection_pools.DEFAULT_POOL_SIZE else {}


def _scale(service: Service, profile: Profile, surge: float) -> ChartValues:
    """Fixed replicas switch autoscaling off. Bounds that the spec leaves out come from the profile."""
    fewest, most = profile.scale
    autoscaling = service.autoscaling
    enabled = service.replicas is None and (fewest < most if autoscaling.enabled is None else autoscaling.enabled)
    bounds = _bounds(autoscaling, fewest, most)
    return {
        "replicas": _surged(service.replicas or fewest, surge, bounds["max"]),
        "autoscaling": {"enabled": enabled, **bounds, "min": _surged(bounds["min"], surge, bounds["max"])},
    }


def _surged(pods: int, surge: float, limit: int) -> int:
    """Multiplies a number of pods up to a limit. More than the limit stays as it is."""
    return max(pods, min(math.ceil(pods * surge), limit))


def _bounds(autoscaling: Autoscaling, fewest: int, most: int) -> ChartValues:
    low = autoscaling.min or min(fewest, autoscaling.max or fewest)
    return {
        "min": low,
        "max": autoscaling.max or max(most, low, 3 if fewest == most else most),
        "targetCPUUtilization": autoscaling.target_cpu_utilization or _TARGET_CPU,
    }


def _existing_secrets(platform: str, name: str, spec: Spec) -> ChartValues:
    """Names the Secrets of a service that are not those of builtin stores."""
    secrets: ChartValues = {"grpc": {"existingSecret": f"{platform}-{name}-grpc"}}
    if name == "user":
        secrets |= {part: {"existingSecret": f"{platform}-{part}"} for part in ("jwt", "admin")}
    if name in spec.databases.external:
        database = spec.databases.external[name]
        runtime = database.runtime_secret_ref
        secrets["database"] = _external(database.secret_ref, database.port)
        secrets["database"] |= {"runtimeSecret": runtime.name} if runtime else {}
    if spec.cache.secret_ref and name in WITH_CACHE:
        secrets["cache"] = _external(spec.cache.secret_ref, spec.cache.port)
    if spec.broker.secret_ref and name in WITH_BROKER:
        secrets["broker"] = _external(spec.broker.secret_ref, spec.broker.port)
    return secrets


def _external(secret: SecretRef, port: int | None) -> ChartValues:
    return {"existingSecret": secret.name} | ({"port": port} if port else {})


def _resources(resources: Resources, default: ContainerSize) -> ChartValues:
    limits = {"memory": resources.limits.memory or default.memory_limit}
    if resources.limits.cpu:
        limits["cpu"] = resources.limits.cpu
    requests = {
        "cpu": resources.requests.cpu or default.cpu,
        "memory": resources.requests.memory or default.memory,
    }
    return {"resources": {"requests": requests, "limits": limits}}


def _database(platform: str, name: str, spec: Spec, profile: Profile) -> ChartValues:
    return {
        "enabled": spec.databases.provider != "external",
        "existingSecret": f"{platform}-{name}-db",
        "storage": _storage(spec.databases.storage, profile.database_size),
        **_resources(spec.databases.resources, profile.database),
    }


def _cluster(spec: Spec, profile: Profile, installation: Installation) -> ChartValues:
    """CloudNativePG adds servers to a database that runs, so their number follows the profile of the spec."""
    if spec.databases.provider != "cnpg":
        return {}
    namespace = installation.cloudnativepg_namespace
    return {"provider": "cnpg", "instances": profile.instances, "cloudNativePgNamespace": namespace}


def _images(images: StoreImages) -> dict[str, str]:
    stores = {f"{service}-db": images.databases for service in WITH_DATABASE}
    stores |= {"redis": images.cache, "rabbitmq": images.broker}
    return {store: image for store, image in stores.items() if image}


def _cache(platform: str, spec: Spec, profile: Profile) -> ChartValues:
    return {
        "enabled": spec.cache.provider == "builtin",
        "existingSecret": f"{platform}-redis",
        **_resources(spec.cache.resources, profile.cache),
    }


def _broker(platform: str, spec: Spec, profile: Profile) -> ChartValues:
    provider = spec.broker.provider
    return {
        "enabled": provider != "external",
        **({"provider": provider, "nodes": profile.nodes} if provider == "rabbitmq-operator" else {}),
        "existingSecret": f"{platform}-rabbitmq",
        "storage": _storage(spec.broker.storage, profile.broker_size),
        **_resources(spec.broker.resources, profile.broker),
    }


def _payments(spec: Spec) -> ChartValues:
    payments = spec.payments
    secret = payments.secret_ref.name if payments.secret_ref else ""
    return {"provider": payments.provider, "stripe": {"existingSecret": secret}}


def _notifications(platform: PlatformKey, spec: Spec) -> ChartValues:
    smtp, sms = spec.notifications.smtp, spec.notifications.sms
    return {
        "shop": {"url": platform_url(platform, spec.ingress)},
        "smtp": _smtp(smtp) if smtp else {"host": ""},
        "sms": {"provider": sms.provider, "existingSecret": sms.secret_ref.name if sms.secret_ref else ""},
    }


def _smtp(smtp: Smtp) -> ChartValues:
    return {
        "host": smtp.host or "",
        "port": smtp.port,
        "from": smtp.from_ or "",
        "startTls": smtp.start_tls,
        "existingSecret": smtp.secret_ref.name if smtp.secret_ref else "",
    }


def _storage(storage: Storage, default_size: str) -> ChartValues:
    return {"size": storage.size or default_size, "storageClassName": storage.storage_class_name or ""}


def _ingress(spec: Spec) -> ChartValues:
    ingress = spec.ingress
    gateway = {"name": ingress.gateway.name, "namespace": ingress.gateway.namespace or ""} if ingress.gateway else None
    return {
        "ingress": {
            "enabled": ingress.enabled and gateway is None,
            "host": ingress.host or "",
            "className": ingress.class_name or "",
            "tls": {"secretName": ingress.tls.secret_name if ingress.tls else ""},
        },
        "gatewayApi": {
            "enabled": ingress.enabled and gateway is not None,
            "parentRef": gateway or {"name": "", "namespace": ""},
        },
    }
