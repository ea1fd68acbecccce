"""The operator's own figures, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from platform_operator.api.kinds import Key

FAILURES = Counter("ecommerce_operator_reconcile_failures_total", "Passes over a platform that have to be tried again.")
RECONCILE_SECONDS = Histogram("ecommerce_operator_reconcile_duration_seconds", "Time of one pass over a platform.")
APPLIES = Counter("ecommerce_operator_applies_total", "Objects sent to the API server, by kind.", ["kind"])
PRUNES = Counter(
    "ecommerce_operator_prunes_total", "Objects deleted since the spec no longer wants them, by kind.", ["kind"]
)
REPAIRS = Counter(
    "ecommerce_operator_repairs_total", "Objects restored after somebody changed or deleted them.", ["kind"]
)
RENDER_SECONDS = Histogram("ecommerce_operator_render_duration_seconds", "Time of one Helm run with its parsing.")
QUEUE_DEPTH = Gauge("ecommerce_operator_queue_depth", "Platforms waiting for a worker.")
LEADING = Gauge("ecommerce_operator_leading", "1 while this process holds the Lease.")
CONDITION = Gauge(
    "ecommerce_platform_condition",
    "Conditions of each platform: 1 where True, 0 where False, -1 where nobody knows.",
    ["namespace", "platform", "condition"],
)
INVARIANT = Gauge(
    "ecommerce_platform_invariant_violations",
    "What breaks each business promise of each platform, as its services count it.",
    ["namespace", "platform", "service", "invariant"],
)
READS = Counter(
    "ecommerce_operator_figures_reads_total", "Reads of services' business figures, by outcome.", ["outcome"]
)


_VALUES = {"True": 1, "False": 0}


def report(key: Key, status: Mapping[str, Any]) -> None:
    """What the status says, as figures."""
    for condition in status["conditions"]:
        CONDITION.labels(key.namespace, key.name, condition["type"]).set(_VALUES.get(condition["status"], -1))
    _report_invariants(key, status["invariants"])


def _report_invariants(key: Key, rows: Iterable[Mapping[str, Any]]) -> None:
    INVARIANT.remove_by_labels(_labels(key))
    for row in rows:
        if "violations" in row:
            INVARIANT.labels(key.namespace, key.name, row["service"], row["name"]).set(row["violations"])


def forget(key: Key) -> None:
    """A platform that is gone has no figures."""
    for gauge in (CONDITION, INVARIANT):
        gauge.remove_by_labels(_labels(key))


def _labels(key: Key) -> dict[str, str]:
    return {"namespace": key.namespace, "platform": key.name}
