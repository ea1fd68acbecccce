"""Describes the Grafana dashboards; `python -m devtools.dashboards` writes manifests/observability/dashboards/*.json.

Each panel has a title, a description, a unit, and a query for each legend.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtools.metrics_reference import ROOT

FOLDER = ROOT / "manifests/observability/dashboards"
_WIDTH, _COLUMNS, _HEIGHT = 24, 3, 8
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    help: str
    unit: str
    """A unit of Grafana: reqps, s, percentunit, short, bytes."""
    queries: Mapping[str, str]
    """Queries by legend, where `{{label}}` is a label's value. Each selects `$namespace`; rates are over
    `$__rate_interval`.
    """


@dataclass(frozen=True, slots=True)
class Dashboard:
    name: str
    title: str
    rows: Mapping[str, Sequence[Panel]]

    @property
    def panels(self) -> Sequence[Panel]:
        return [panel for row in self.rows.values() for panel in row]

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.json"


def rate(metric: str, by: str = "", matching: str = "", seconds: int = 1) -> str:
    """Returns the increase of a counter per so many seconds, summed over all pods."""
    factor = f" * {seconds}" if seconds > 1 else ""
    grouped = f"sum by ({by}) " if by else "sum"
    return f"{grouped}(rate({selected(metric, matching)}[$__rate_interval])){factor}"


def slowest(histogram: str, by: str, matching: str = "") -> str:
    """Returns the 95th percentile of a histogram."""
    return f"histogram_quantile(0.95, {rate(f'{histogram}_bucket', f'{by}, le', matching)})"


def most(gauge: str, by: str, matching: str = "") -> str:
    """Returns the highest value of a gauge among pods."""
    return f"max by ({by}) ({selected(gauge, matching)})"


def share(part: str, whole: str) -> str:
    """Returns a part's share of a whole; 0 where the part has no series yet."""
    return f"({part} or {whole} * 0) / {whole}"


def selected(metric: str, matching: str = "") -> str:
    """Returns a metric's selector for the chosen shops."""
    return f'{metric}{{namespace=~"$namespace"{", " if matching else ""}{matching}}}'


_HTTP, _RPC = "http_server_request_duration_seconds", "rpc_server_duration_seconds"
_WITHOUT_PROBES = 'http_route!~"/health|/ready"'
_CUSTOMER_REQUESTS = f'component="gateway", {_WITHOUT_PROBES}'
_FAILED = f'{_WITHOUT_PROBES}, http_response_status_code=~"5..|None"'
_RPC_FAILED = 'rpc_grpc_status_code=~"INTERNAL|UNAVAILABLE|UNKNOWN"'
_VIEWED = 'component="product", http_request_method="GET", http_route=~".*/products/{product_id}"'
_ORDERS, _PAID = rate("orders_placed_total"), rate("orders_moved_total", matching='status="confirmed"')
_HOUR = 3600
_OPERATOR = "ecommerce_operator"

SERVICES = Dashboard(
    "services",
    "Shop: services",
    {
        "Requests from outside": [
            Panel("Requests", "Requests answered per second.", "reqps",
                  {"{{component}}": rate(f"{_HTTP}_count", "component", _WITHOUT_PROBES)}),
            Panel("Errors", "Share that the service answered with 5xx.", "percentunit",
                  {"{{component}}": share(rate(f"{_HTTP}_count", "component", _FAILED),
                                          rate(f"{_HTTP}_count", "component", _WITHOUT_PROBES))}),
            Panel("Duration", "95th percentile of request durations.", "s",
                  {"{{component}}": slowest(_HTTP, "component", _WITHOUT_PROBES)}),
            Panel("Slowest routes", "The five routes of the gateway that take longest, at the 95th percentile.", "s",
                  {"{{http_request_method}} {{http_route}}":
                   f"topk(5, {slowest(_HTTP, 'http_request_method, http_route', _CUSTOMER_REQUESTS)})"}),
            Panel("Answers by status", "What the gateway answers.", "reqps",
                  {"{{http_response_status_code}}": rate(f"{_HTTP}_count", "http_response_status_code",
                                                         _CUSTOMER_REQUESTS)}),
            Panel("Public reads", "From the gateway's memory (hit), by a shared fetch, or by the service.", "reqps",
                  {"{{result}}": rate("answer_cache_requests_total", "result")}),
            Panel("Error ratio against the objective", "Above 0.1 % the month's budget does not last.", "percentunit",
                  {"5 minutes": 'platform:http_error_ratio:rate5m{namespace=~"$namespace"}',
                   "6 hours": 'platform:http_error_ratio:rate6h{namespace=~"$namespace"}',
                    "objective": "vector(0.001)"}),
        ],
        "Calls between services": [
            Panel("Calls", "gRPC calls answered per second.", "reqps",
                  {"{{component}}": rate(f"{_RPC}_count", "component")}),
            Panel("Errors of calls", "Share that ended in an error of the service.", "percentunit",
                  {"{{component}}": share(rate(f"{_RPC}_count", "component", _RPC_FAILED),
                                          rate(f"{_RPC}_count", "component"))}),
            Panel("Duration of calls", "95th percentile of call durations.", "s",
                  {"{{component}}": slowest(_RPC, "component")}),
        ],
        "Saturation": [
            Panel("Database connections", "Share of the fullest pod's pool that is in use.", "percentunit",
                  {"{{component}}": f"max by (component) ({selected('db_client_connections_usage')} / "
                                    f"{selected('db_client_connections_max')})"}),
            Panel("Processor", "Cores in use.", "short",
                  {"{{component}}": rate("process_cpu_seconds_total", "component")}),
            Panel("Memory", "Resident, of the largest pod.", "bytes",
                  {"{{component}}": most("process_resident_memory_bytes", "component")}),
            Panel("Events in the outbox", "How long the oldest has waited to be published.", "s",
                  {"{{component}}": most("outbox_lag_seconds", "component")}),
            Panel("Events in queues", "Published and not yet digested; dead letters too.", "short",
                  {"{{queue}}": most("rabbitmq_detailed_queue_messages", "queue")}),
            Panel("Requests in flight", "What each service has of the gateway at the moment.", "short",
                  {"{{upstream}}": most("upstream_requests_in_flight", "upstream")}),
        ],
    },
)  # fmt: skip

BUSINESS = Dashboard(
    "business",
    "Shop: business",
    {
        "Sales": [
            Panel("Orders", "Placed, confirmed and cancelled in an hour.", "short",
                  {"placed": rate("orders_placed_total", seconds=_HOUR),
                   "{{status}}": rate("orders_moved_total", "status", seconds=_HOUR)}),
            Panel("Revenue", "Of the orders paid, an hour, in minor units of each currency.", "short",
                  {"{{currency}}": rate("orders_revenue_minor_units_total", "currency", seconds=_HOUR)}),
            Panel("Money received", "Captured an hour, in minor units of each currency.", "short",
                  {"{{currency}}": rate("payments_captured_minor_units_total", "currency", seconds=_HOUR)}),
            Panel("Conversion", "Orders per viewed product page, and the share of orders that is paid.", "percentunit",
                  {"pages to orders": f"{_ORDERS} / {rate(f'{_HTTP}_count', matching=_VIEWED)}",
                   "orders to payments": f"{_PAID} / {_ORDERS}"}),
            Panel("Searches", "Searches by outcome.", "reqps",
                  {"{{outcome}}": rate("product_searches_total", "outcome")}),
            Panel("New customers and sellers", "Registered in an hour.", "short",
                  {"{{role}}": rate("user_registrations_total", "role", seconds=_HOUR)}),
        ],
        "What goes wrong": [
            Panel("Stock-outs", "Orders refused in an hour because a product was sold out.", "short",
                  {"refused": rate("inventory_stock_outs_total", seconds=_HOUR)}),
            Panel("Refunds", "Given back an hour, in minor units of each currency.", "short",
                  {"{{currency}}": rate("refunds_minor_units_total", "currency", seconds=_HOUR)}),
            Panel("Payments that fail", "By reason, in an hour.", "short",
                  {"{{reason}}": rate("payment_failures_total", "reason", seconds=_HOUR)}),
            Panel("Cancellations", "By reason, in an hour.", "short",
                  {"{{reason}}": rate("orders_cancelled_total", "reason", seconds=_HOUR)}),
            Panel("Messages", "Mails and text messages, by how the last try ended.", "reqps",
                  {"{{channel}} {{outcome}}": rate("notifications_sent_total", "channel, outcome")}),
            Panel("Broken invariants", "Rows that break an invariant; above 0 an alert fires.", "short",
                  {"{{component}}": most("business_invariant_violations", "component")}),
        ],
    },
)  # fmt: skip

OPERATOR = Dashboard(
    "operator",
    "Shop: operator",
    {
        "Platforms": [
            Panel("Ready", "1 where a platform is as its spec wants it.", "short",
                  {"{{namespace}}/{{platform}}": most("ecommerce_platform_condition", "namespace, platform",
                                                      'condition="Ready"')}),
            Panel("Degraded", "1 where something failed and waiting will not help.", "short",
                  {"{{namespace}}/{{platform}}": most("ecommerce_platform_condition", "namespace, platform",
                                                      'condition="Degraded"')}),
            Panel("Promises", "1 holds, 0 broken, -1 unknown.", "short",
                  {"{{platform}} {{condition}}": most("ecommerce_platform_condition", "platform, condition",
                                                      'condition!~"Ready|Progressing|Degraded"')}),
        ],
        "Work": [
            Panel("Passes", "Over platforms, each second, and those that have to be tried again.", "ops",
                  {"passes": "sum(rate(ecommerce_operator_reconcile_duration_seconds_count[$__rate_interval]))",
                   "failures": "sum(rate(ecommerce_operator_reconcile_failures_total[$__rate_interval]))"}),
            Panel("Duration of a pass", "Nineteen of twenty take less; so do runs of Helm.", "s",
                  {step: "histogram_quantile(0.95, sum by (le) (rate("
                         f"{_OPERATOR}_{metric}_duration_seconds_bucket[$__rate_interval])))"
                   for step, metric in (("pass", "reconcile"), ("Helm", "render"))}),
            Panel("Queue", "Platforms that wait for a worker.", "short",
                  {"waiting": "max(ecommerce_operator_queue_depth)"}),
            Panel("Objects sent", "To the API server, by kind.", "ops",
                  {"{{kind}}": "sum by (kind) (rate(ecommerce_operator_applies_total[$__rate_interval]))"}),
            Panel("Objects repaired", "Objects that were changed or deleted and have been restored.", "ops",
                  {"{{kind}}": "sum by (kind) (rate(ecommerce_operator_repairs_total[$__rate_interval]))"}),
            Panel("Leaders", "1 is right; with 0 nothing is reconciled.", "short",
                  {"leading": "sum(ecommerce_operator_leading)"}),
        ],
    },
)  # fmt: skip

DASHBOARDS = (SERVICES, BUSINESS, OPERATOR)


def text_of(dashboard: Dashboard) -> str:
    """Renders a dashboard as the JSON that Grafana imports."""
    return json.dumps(_model(dashboard), indent=2) + "\n"


def _model(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": f"shop-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["ecommerce"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource(), _namespace()]},
        "panels": list(_panels(dashboard)),
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _namespace() -> dict[str, Any]:
    query = {"query": "label_values(up, namespace)", "refId": "namespace"}
    choice = {"multi": True, "includeAll": True, "allValue": ".*", "refresh": 2, "label": "Shop"}
    return {"name": "namespace", "type": "query", "datasource": _DATASOURCE, "query": query, **choice}


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """Lays panels out in rows of three under the heading of their section."""
    number, top = 0, 0
    for heading, panels in dashboard.rows.items():
        number += 1
        at = {"x": 0, "y": top, "w": _WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": heading, "collapsed": False, "gridPos": at, "panels": []}
        width = _WIDTH // _COLUMNS
        for index, panel in enumerate(panels):
            number += 1
            line, column = divmod(index, _COLUMNS)
            yield _panel(number, panel, {"x": column * width, "y": top + 1 + line * _HEIGHT, "w": width, "h": _HEIGHT})
        top += 1 + -(-len(panels) // _COLUMNS) * _HEIGHT


def _panel(number: int, panel: Panel, position: dict[str, int]) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": _DATASOURCE,
            "expr": query,
            "legendFormat": legend,
            **_exemplars(query),
        }
        for index, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": _DATASOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def _exemplars(query: str) -> dict[str, bool]:
    """Shows exemplars, which link to traces, in panels of durations."""
    return {"exemplar": True} if "_duration_seconds_bucket" in query else {}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m devtools.dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not current")
    check = parser.parse_args(arguments).check
    stale = [one for one in DASHBOARDS if not one.path.exists() or one.path.read_text() != text_of(one)]
    for dashboard in stale:
        if check:
            sys.stderr.write(f"{dashboard.path.relative_to(ROOT)} is not current: run make dashboards\n")
        else:
            dashboard.path.write_text(text_of(dashboard))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
