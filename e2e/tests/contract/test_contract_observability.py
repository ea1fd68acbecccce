"""Rules, dashboards and documents agree with each other and with the exported metrics."""

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from devtools import dashboards, prometheus
from devtools import metrics_reference as metrics
from devtools.dashboard_plots import filled
from devtools.dashboards import DASHBOARDS

_OTHERS = re.compile(r"up|ALERTS|(process|rabbitmq)_\w+")
"""Metrics that Prometheus, its client library and the broker export."""
_SCENARIOS = sorted((prometheus.OBSERVABILITY / "tests").glob("*.yaml"))
_OPERATIONS = metrics.DOCUMENT.read_text()


@pytest.mark.parametrize("scenarios", _SCENARIOS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_are_silent_when_not(scenarios: str) -> None:
    done = prometheus.promtool("test", "rules", scenarios)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_every_rule() -> None:
    done = prometheus.promtool("check", "rules", *sorted((prometheus.OBSERVABILITY / "rules").glob("*.yaml")))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", prometheus.alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_fires_in_one_scenario_and_is_silent_in_another(alert: dict[str, Any]) -> None:
    firing = [name for scenario in _scenarios() for name in _expected(scenario)]
    quiet = [
        scenario for scenario in _scenarios() if alert["alert"] not in _expected(scenario) and _watched(scenario, alert)
    ]
    assert alert["alert"] in firing
    assert quiet


@pytest.mark.parametrize("alert", prometheus.alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_has_a_summary_and_a_runbook(alert: dict[str, Any]) -> None:
    name = alert["alert"]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"
    (runbook,) = re.findall(rf"(?ms)^### {name}\n(.*?)(?=^### |\Z)", _OPERATIONS)
    assert f"*{alert['labels']['severity']}.*" in runbook
    assert "**Look**: " in runbook
    assert "**Do**: " in runbook


def test_every_runbook_section_belongs_to_an_alert() -> None:
    runbooks = re.findall(r"(?m)^### (\w+)\n\n\*(?:page|ticket)\.\*", _OPERATIONS)
    assert sorted(runbooks) == sorted(alert["alert"] for alert in prometheus.alerts())


def test_rules_read_only_metrics_that_are_exported() -> None:
    assert _unknown(rule["expr"] for rule in prometheus.rules()) == set()


def test_every_metric_in_a_rule_has_a_selector_that_charts_can_narrow_to_one_shop() -> None:
    for rule in prometheus.rules():
        for name in metrics.metric_names(rule["expr"]):
            assert re.search(rf"\b{name}(?!{{)\b(?!\{{)", rule["expr"]) is None, rule["expr"]


def test_dashboards_are_current() -> None:
    stale = [dashboard.name for dashboard in DASHBOARDS if dashboard.path.read_text() != dashboards.text_of(dashboard)]
    assert stale == [], "run make dashboards"


def test_prometheus_parses_the_query_of_every_panel() -> None:
    rules = [{"record": f"panel_{number}", "expr": query} for number, query in enumerate(_queries())]
    done = prometheus.promtool("check", "rules", stdin=json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_read_only_metrics_that_are_exported() -> None:
    assert _unknown(_queries()) == set()


def test_the_table_of_metrics_is_current() -> None:
    assert metrics.with_table(_OPERATIONS) == _OPERATIONS, "run python -m devtools.metrics_reference --write"


def _queries() -> Iterator[str]:
    """Returns the query of every panel, as Grafana sends it."""
    for panel in (panel for dashboard in DASHBOARDS for panel in dashboard.panels):
        yield from (filled(query, ".*", "1m") for query in panel.queries.values())


def _unknown(queries: Iterator[str]) -> set[str]:
    known = {series for metric in metrics.exported() for series in metric.series}
    known |= _recorded().keys()
    return {name for query in queries for name in metrics.metric_names(query) - known if not _OTHERS.fullmatch(name)}


@functools.cache
def _scenarios() -> list[dict[str, Any]]:
    return [scenario for path in _SCENARIOS for scenario in yaml.safe_load(path.read_text())["tests"]]


def _expected(scenario: dict[str, Any]) -> set[str]:
    """Returns the alerts that a scenario expects to fire at one of its times."""
    by_rule = {test["alertname"] for test in scenario.get("alert_rule_test", ()) if test["exp_alerts"]}
    labels = " ".join(sample["labels"] for test in scenario["promql_expr_test"] for sample in test["exp_samples"])
    return by_rule | set(re.findall(r'alertname="(\w+)"', labels))


@functools.cache
def _recorded() -> dict[str, str]:
    """Returns the expression of each recording rule."""
    return {rule["record"]: rule["expr"] for rule in prometheus.rules() if "record" in rule}


def _watched(scenario: dict[str, Any], alert: dict[str, Any]) -> bool:
    """Returns whether a scenario has series that the alert reads, directly or through recording rules; otherwise its
    silence proves nothing.
    """
    recorded = _recorded()
    read, pending = set(metrics.metric_names(alert["expr"])), set[str]()
    while read:
        name = read.pop()
        read |= metrics.metric_names(recorded[name]) if name in recorded and name not in pending else set()
        pending.add(name)
    present = {re.split("[{ ]", series["series"])[0] for series in scenario["input_series"]}
    return bool(pending & present)
