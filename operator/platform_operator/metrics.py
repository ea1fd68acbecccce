"""The operator's own Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from platform_operator.api.conditions import UpgradePhase
from platform_operator.api.kinds import PlatformKey

FAILURES = Counter("ecommerce_operator_reconcile_failures_total", "Reconcile passes that failed and are retried.")
RECONCILE_SECONDS = Histogram("ecommerce_operator_reconcile_duration_seconds", "Duration of a reconcile pass.")
APPLIES = Counter(
    "ecommerce_operator_applies_total", "Objects applied, by kind and by what was different.", ["kind", "reason"]
)
PRUNES = Counter("ecommerce_operator_prunes_total", "Objects deleted because the spec no longer needs them.", ["kind"])
REPAIRS = Counter(
    "ecommerce_operator_repairs_total", "Objects restored after they were changed or deleted.", ["kind", "reason"]
)
RENDER_SECONDS = Histogram("ecommerce_operator_render_duration_seconds", "Duration of a Helm run, with its parsing.")
QUEUE_DEPTH = Gauge("ecommerce_operator_queue_depth", "Platforms that wait for a worker.")
UPGRADES_HALTED = Gauge(
    "ecommerce_operator_upgrades_halted",
    "1 while no shop gets the operator's release, since it has failed on one.",
)
FORMER_KEY_SHOPS = Gauge(
    "ecommerce_operator_former_master_key_shops",
    "Shops, deleted ones with retained Secrets included, that need the master key before the current one.",
)
FORMER_KEY_SHOPS.set(float("nan"))  # a process that does not lead has not counted them
FAILED_UPGRADES = Counter(
    "ecommerce_operator_failed_upgrades_total",
    "Upgrades of shops that have failed, by what came of it: RolledBack, RollbackFailed or Stopped.",
    ["outcome"],
)
LEADING = Gauge("ecommerce_operator_leading", "1 while this process holds the Lease.")
CONDITION = Gauge(
    "ecommerce_platform_condition",
    "Conditions of each platform: 1 for True, 0 for False, -1 for Unknown.",
    ["namespace", "platform", "condition"],
)
UPGRADE_FAILED = Gauge(
    "ecommerce_platform_upgrade_failed",
    "1 for each platform that does not run a release because its upgrade has failed, by phase.",
    ["namespace", "platform", "phase"],
)
INVARIANT = Gauge(
    "ecommerce_platform_invariant_violations",
    "Rows that break each business invariant of each platform, as its services count them.",
    ["namespace", "platform", "service", "invariant"],
)
TENANT_PODS = Gauge("ecommerce_tenant_pods", "Pods in the namespace of each tenant.", ["tenant", "plan"])
TENANT_STORAGE = Gauge(
    "ecommerce_tenant_storage_requested_bytes", "Storage that the volumes of each tenant request.", ["tenant", "plan"]
)
TENANT_ORDERS = Gauge(
    "ecommerce_tenant_orders",
    "Orders of each tenant since its creation, as its shop counts them.",
    ["tenant", "plan"],
)
SCRAPES = Counter(
    "ecommerce_operator_figures_reads_total", "Reads of the services' business metrics, by outcome.", ["outcome"]
)


_CONDITION_VALUES = {"True": 1, "False": 0}


def export_platform(key: PlatformKey, status: Mapping[str, Any]) -> None:
    """Exports a platform's conditions and invariants as its status has them."""
    for condition in status["conditions"]:
        value = _CONDITION_VALUES.get(condition["status"], -1)
        CONDITION.labels(key.namespace, key.name, condition["type"]).set(value)
    _export_invariants(key, status["invariants"])
    UPGRADE_FAILED.remove_by_labels(_labels(key))
    phase = status.get("upgrade", {}).get("phase", UpgradePhase.ROLLING_OUT)
    if phase != UpgradePhase.ROLLING_OUT:
        UPGRADE_FAILED.labels(key.namespace, key.name, phase).set(1)


def _export_invariants(key: PlatformKey, rows: Iterable[Mapping[str, Any]]) -> None:
    INVARIANT.remove_by_labels(_labels(key))
    for row in rows:
        if "violations" in row:
            INVARIANT.labels(key.namespace, key.name, row["service"], row["name"]).set(row["violations"])


def export_tenant(name: str, plan: str, usage: Mapping[str, Any], parse_quantity: Callable[[str], int]) -> None:
    """Exports the usage of a tenant as its status has it."""
    remove_tenant(name)
    TENANT_PODS.labels(name, plan).set(usage["pods"])
    TENANT_STORAGE.labels(name, plan).set(parse_quantity(usage["storageRequested"]))
    TENANT_ORDERS.labels(name, plan).set(usage["ordersTotal"])


def remove_tenant(name: str) -> None:
    """Removes the metrics of a tenant that is gone, or had another plan."""
    for gauge in (TENANT_PODS, TENANT_STORAGE, TENANT_ORDERS):
        gauge.remove_by_labels({"tenant": name})


def remove_platform(key: PlatformKey) -> None:
    """Removes the metrics of a platform that is gone."""
    for gauge in (CONDITION, INVARIANT, UPGRADE_FAILED):
        gauge.remove_by_labels(_labels(key))


def _labels(key: PlatformKey) -> dict[str, str]:
    return {"namespace": key.namespace, "platform": key.name}
