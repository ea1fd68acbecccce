"""The operator's own figures, for Prometheus."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from platform_operator.kinds import Key

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
    "ecommerce_platform_condition", "Conditions of each platform: 1 where True.", ["namespace", "platform", "condition"]
)


def report_conditions(key: Key, status: Mapping[str, Any]) -> None:
    for condition in status["conditions"]:
        CONDITION.labels(key.namespace, key.name, condition["type"]).set(condition["status"] == "True")


def forget(key: Key) -> None:
    """A platform that is gone has no conditions."""
    for condition in ("Ready", "Progressing", "Degraded"):
        with contextlib.suppress(KeyError):
            CONDITION.remove(key.namespace, key.name, condition)
