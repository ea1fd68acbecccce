"""A shop's own Prometheus, enabled by `spec.monitoring`, scrapes every part of it and alerts when one is down."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from shop_e2e.cluster.kubectl import NODE, CommandFailed, Namespace, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

_SEEN_WITHIN = 90.0
_ALERT_WITHIN = 300.0
"""A database counts as down after 90 s, and the alert fires after another minute."""


@pytest.fixture
def watched(namespace: Namespace) -> Iterator[Namespace]:
    """The sample shop with its Prometheus enabled."""
    namespace.patch("ecp", "shop", {"spec": {"monitoring": {"enabled": True}}})
    try:
        namespace.wait_rolled_out("shop")
        yield namespace
    finally:
        namespace.patch("ecp", "shop", {"spec": {"monitoring": None}})
        namespace.wait_rolled_out("shop")


def test_a_dead_database_fires_its_own_alert_only(watched: Namespace) -> None:
    eventually(lambda: _unscraped(watched) == set(), _SEEN_WITHIN, "every part is seen")

    with _scheduling_disabled(watched):
        watched.kubectl("delete", "pod", "shop-review-db-0")
        eventually(lambda: _missing_databases(watched), _ALERT_WITHIN, "DatabaseDown fires")

        assert _missing_databases(watched) == {"review"}


@contextmanager
def _scheduling_disabled(namespace: Namespace) -> Iterator[None]:
    """Keeps a deleted pod from being scheduled again until the block ends."""
    namespace.kubectl("cordon", NODE)
    try:
        yield
    finally:
        namespace.kubectl("uncordon", NODE)


def _unscraped(watched: Namespace) -> set[str]:
    """Returns the targets that Prometheus cannot scrape; `prometheus` while Prometheus itself does not answer."""
    try:
        found = _answer(watched, f"query?query={quote('up')}")["result"]
    except CommandFailed:
        return {"monitoring"}
    return {one["metric"]["component"] for one in found if one["value"][1] != "1"} if found else {"all"}


def _missing_databases(watched: Namespace) -> set[str]:
    alerts = _answer(watched, "alerts")["alerts"]
    firing = [alert["labels"] for alert in alerts if alert["state"] == "firing"]
    return {labels["component"] for labels in firing if labels["alertname"] == "DatabaseDown"}


def _answer(watched: Namespace, asked: str) -> Any:
    (pod,) = watched.list("pods", "app.kubernetes.io/component=monitoring")
    return json.loads(watched.ask(pod["metadata"]["name"], 9090, f"api/v1/{asked}"))["data"]
