"""The operator's own metrics: whose they are, and how much work it is to write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from platform_operator import metrics
from platform_operator.api.kinds import PlatformKey

USAGE = {"pods": 3, "storageRequested": "8Gi", "ordersTotal": 5}


class CountingSeries(dict[Any, Any]):
    """The series of a gauge, which counts those that are looked at."""

    looks = 0

    def __iter__(self) -> Iterator[Any]:
        for one in super().__iter__():
            CountingSeries.looks += 1
            yield one

    def keys(self) -> Any:
        CountingSeries.looks += len(self)
        return super().keys()

    def __contains__(self, key: object) -> bool:
        CountingSeries.looks += 1
        return super().__contains__(key)


def status_of(phase: str = "RollingOut", violations: int = 0) -> dict[str, Any]:
    return {
        "conditions": [{"type": "Ready", "status": "True"}],
        "invariants": [{"service": "order", "name": "totals", "violations": violations}],
        "upgrade": {"phase": phase},
    }


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.fixture
def shops() -> Iterator[list[PlatformKey]]:
    keys = [PlatformKey("metrics", f"shop-{number}") for number in range(200)]
    yield keys
    for key in keys:
        metrics.remove_platform(key)
        metrics.remove_tenant(key.name)


def test_writing_the_metrics_of_a_shop_looks_at_no_other_shop(
    shops: list[PlatformKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    gauges = metrics.CONDITION, metrics.INVARIANT, metrics.UPGRADE_FAILED, metrics.TENANT_PODS
    for gauge in gauges:
        monkeypatch.setattr(gauge, "_metrics", CountingSeries(gauge._metrics))

    def looks(key: PlatformKey) -> int:
        before = CountingSeries.looks
        metrics.export_platform(key, status_of("Failed"))
        metrics.export_platform(key, status_of("RolledBack"))
        metrics.export_tenant(key.name, "basic", USAGE, len)
        metrics.export_tenant(key.name, "large", USAGE, len)
        return CountingSeries.looks - before

    first, *_, last = [looks(key) for key in shops]
    assert first == last > 0


def test_a_shop_has_the_metrics_of_its_newest_status_and_none_when_it_is_gone(shops: list[PlatformKey]) -> None:
    key, other = shops[:2]
    shop = {"namespace": key.namespace, "platform": key.name}
    metrics.export_platform(other, status_of("Failed"))
    metrics.export_platform(key, status_of("Failed", violations=2))
    assert value("ecommerce_platform_invariant_violations", service="order", invariant="totals", **shop) == 2
    metrics.export_platform(key, status_of("RolledBack") | {"invariants": []})
    assert value("ecommerce_platform_invariant_violations", service="order", invariant="totals", **shop) is None
    assert value("ecommerce_platform_upgrade_failed", phase="Failed", **shop) is None
    assert value("ecommerce_platform_upgrade_failed", phase="RolledBack", **shop) == 1
    metrics.remove_platform(key)
    assert value("ecommerce_platform_condition", condition="Ready", **shop) is None
    assert value("ecommerce_platform_upgrade_failed", phase="RolledBack", **shop) is None
    assert value("ecommerce_platform_condition", condition="Ready", **shop | {"platform": other.name}) == 1


def test_the_reason_of_a_shop_that_is_not_backed_up_is_a_label(shops: list[PlatformKey]) -> None:
    key = shops[0]
    shop = {"namespace": key.namespace, "platform": key.name}
    for status, reason, expected in (
        ("False", "BackupTooOld", {"BackupTooOld"}),
        ("False", "BackupFailed", {"BackupFailed"}),
        ("True", "BackedUp", set()),
    ):
        condition = {"type": "BackedUp", "status": status, "reason": reason}
        metrics.export_platform(key, status_of() | {"conditions": [condition]})
        reasons = ("BackupTooOld", "BackupFailed", "BackedUp")
        shown = {one for one in reasons if value("ecommerce_platform_not_backed_up", reason=one, **shop)}
        assert shown == expected


def test_a_tenant_that_changes_its_plan_has_one_series(shops: list[PlatformKey]) -> None:
    name = shops[0].name
    metrics.export_tenant(name, "basic", USAGE, len)
    metrics.export_tenant(name, "large", USAGE, len)
    assert value("ecommerce_tenant_pods", tenant=name, plan="basic") is None
    assert value("ecommerce_tenant_pods", tenant=name, plan="large") == 3
    metrics.remove_tenant(name)
    assert value("ecommerce_tenant_pods", tenant=name, plan="large") is None
