"""The operator's own Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
NOT_BACKED_UP = Gauge(
    "ecommerce_platform_not_backed_up",
    "1 for each platform whose condition BackedUp is False, by its reason.",
    ["namespace", "platform", "reason"],
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


@dataclass
class OwnedSeries:
    """The series of a gauge whose first labels are those of an owner.

    Writing or removing the series of one owner does not look at those of the others: `Gauge.remove_by_labels` does.
    """

    gauge: Gauge
    _labels: dict[tuple[str, ...], frozenset[tuple[str, ...]]] = field(init=False, default_factory=dict)
    """The other labels of the series of each owner."""

    def replace(self, owner: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> None:
        """Sets the series of an owner, by their other labels, and removes the rest of them."""
        for gone in self._labels.pop(owner, frozenset()).difference(values):
            self.gauge.remove(*owner, *gone)
        if values:
            self._labels[owner] = frozenset(values)
        for labels, value in values.items():
            self.gauge.labels(*owner, *labels).set(value)


_CONDITIONS, _UPGRADES_FAILED, _INVARIANTS = OwnedSeries(CONDITION), OwnedSeries(UPGRADE_FAILED), OwnedSeries(INVARIANT)
_NOT_BACKED_UP = OwnedSeries(NOT_BACKED_UP)
_TENANT_SERIES = OwnedSeries(TENANT_PODS), OwnedSeries(TENANT_STORAGE), OwnedSeries(TENANT_ORDERS)


def export_platform(key: PlatformKey, status: Mapping[str, Any]) -> None:
    """Exports a platform's conditions and invariants as its status has them."""
    owner, phase = (key.namespace, key.name), status.get("upgrade", {}).get("phase", UpgradePhase.ROLLING_OUT)
    conditions: dict[tuple[str, ...], float] = {
        (one["type"],): _CONDITION_VALUES.get(one["status"], -1) for one in status["conditions"]
    }
    counted = (row for row in status["invariants"] if "violations" in row)
    _CONDITIONS.replace(owner, conditions)
    _INVARIANTS.replace(owner, {(row["service"], row["name"]): row["violations"] for row in counted})
    _NOT_BACKED_UP.replace(owner, {(one["reason"],): 1 for one in status["conditions"] if _is_false(one, "BackedUp")})
    _UPGRADES_FAILED.replace(owner, {} if phase == UpgradePhase.ROLLING_OUT else {(phase,): 1})


def _is_false(condition: Mapping[str, Any], type_: str) -> bool:
    return bool(condition["type"] == type_ and condition["status"] == "False")


def export_tenant(name: str, plan: str, usage: Mapping[str, Any], parse_quantity: Callable[[str], int]) -> None:
    """Exports the usage of a tenant as its status has it."""
    values = usage["pods"], parse_quantity(usage["storageRequested"]), usage["ordersTotal"]
    for series, value in zip(_TENANT_SERIES, values, strict=True):
        series.replace((name,), {(plan,): value})


def remove_tenant(name: str) -> None:
    """Removes the metrics of a tenant that is gone."""
    for series in _TENANT_SERIES:
        series.replace((name,), {})


def remove_platform(key: PlatformKey) -> None:
    """Removes the metrics of a platform that is gone."""
    for series in (_CONDITIONS, _INVARIANTS, _UPGRADES_FAILED, _NOT_BACKED_UP):
        series.replace((key.namespace, key.name), {})
