"""The operator's settings, read from environment variables."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platform_operator.api.shards import ONLY_SHARD, Shard
from platform_operator.errors import SettingsError

OPERATOR_CLASS = "([a-z]([-a-z0-9]{0,61}[a-z0-9])?)?"


@dataclass(frozen=True)
class Settings:
    """The settings of one process. Durations are in seconds. The defaults are those of a pod of charts/operator."""

    version: str
    image_registry: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    store_registry: str = ""
    cloudnativepg_namespace: str = "cnpg-system"
    """The namespace of CloudNativePG, from which it may connect to the databases of shops. Empty: any."""
    namespace: str = "ecommerce-system"
    identity: str = "platform-operator"
    watch_namespaces: tuple[str, ...] = ()
    operator_class: str = ""
    shard: Shard = ONLY_SHARD
    charts: Path = Path("/app/charts")
    helm: str = "helm"
    health_port: int = 8080
    metrics_port: int = 9464
    log_level: str = "INFO"
    workers: int = 4
    resync_every: float = 600.0
    upgrade_canary: str = ""
    upgrade_concurrency: int = 5
    tenant_admin_role: str = ""
    """The ClusterRole of the admins of tenants. Empty: Tenants are left alone."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Reads the environment. Raises SettingsError with the name of the variable that is missing or malformed."""
        get = environment.get
        return cls(
            version=_required(environment, "OPERATOR_VERSION"),
            image_registry=get("IMAGE_REGISTRY", ""),
            image_pull_secrets=_names(get("IMAGE_PULL_SECRETS", "")),
            store_registry=get("STORE_REGISTRY", ""),
            cloudnativepg_namespace=get("CLOUDNATIVEPG_NAMESPACE", cls.cloudnativepg_namespace),
            namespace=get("POD_NAMESPACE", cls.namespace),
            identity=get("POD_NAME", socket.gethostname()),
            watch_namespaces=_names(get("WATCH_NAMESPACES", "")),
            operator_class=_class(get("OPERATOR_CLASS", "")),
            shard=_shard(get("SHARD", str(cls.shard))),
            charts=Path(get("CHARTS_PATH", str(cls.charts))),
            helm=get("HELM", cls.helm),
            health_port=_number(environment, "HEALTH_PORT", cls.health_port),
            metrics_port=_number(environment, "METRICS_PORT", cls.metrics_port),
            log_level=_level(get("LOG_LEVEL", cls.log_level)),
            workers=_number(environment, "WORKERS", cls.workers),
            resync_every=_number(environment, "RESYNC_SECONDS", int(cls.resync_every)),
            upgrade_canary=get("UPGRADE_CANARY", ""),
            upgrade_concurrency=_number(environment, "UPGRADE_CONCURRENCY", cls.upgrade_concurrency),
            tenant_admin_role=get("TENANT_ADMIN_ROLE", ""),
        )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set: set it to the image tag of the services to run")
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _class(name: str) -> str:
    if not re.fullmatch(OPERATOR_CLASS, name):
        raise SettingsError(
            f"OPERATOR_CLASS is {name!r}: set it to at most 63 of a-z, 0-9 and -, a letter first, or leave it empty"
        )
    return name


def _shard(text: str) -> Shard:
    match = re.fullmatch(r"(\d{1,3})/(\d{1,3})", text)
    shard = Shard(*map(int, match.groups())) if match else None
    if shard is None or shard.index >= shard.count:
        raise SettingsError(f"SHARD is {text!r}: set it to <index>/<count>, for example 0/2 and 1/2 for two shards")
    return shard


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdigit() or int(text) == 0:
        raise SettingsError(f"{name} is {text!r}: set it to a positive whole number")
    return int(text)


def _level(text: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    if text.upper() not in levels:
        raise SettingsError(f"LOG_LEVEL is {text!r}: set it to one of {', '.join(levels)}")
    return text.upper()
