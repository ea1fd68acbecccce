"""One request can be traced: from its id to the log lines of every service, and to one trace of all its spans."""

import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from chassis_testing.waiting import eventually
from devtools.shop_client import Json, Shop
from devtools.stack import Stack
from devtools.trace_collector import Collector, Span, run_collector
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from shop_e2e.api.mailbox import Mailbox
from shop_e2e.isolated.stacks import admin_of, isolated_stack, unexpected_errors

_STEPS = {
    ("gateway", "SERVER", "POST /api/v1/orders"),
    ("order", "SERVER", "POST /api/v1/orders"),
    ("order", "CLIENT", "shopapi.product.v1.ProductService/GetPrices"),
    ("product", "SERVER", "shopapi.product.v1.ProductService/GetPrices"),
    ("order", "CLIENT", "shopapi.inventory.v1.InventoryService/Reserve"),
    ("inventory", "SERVER", "shopapi.inventory.v1.InventoryService/Reserve"),
    ("order", "PRODUCER", "order.placed.v1 publish"),
    ("inventory", "CONSUMER", "order.placed.v1 process"),
    ("notification", "CONSUMER", "order.placed.v1 process"),
}
"""The services and spans of an order, without the statements."""
_TAKE_PART = {service for service, _, _ in _STEPS}


@dataclass(frozen=True)
class TracedOrder:
    """What the tests look at: the log lines and the spans of one order."""

    lines: list[Json]
    """The lines with the request's id, from every log."""
    spans: list[Span]
    """The spans of the trace that the gateway's log line names."""


@pytest.fixture(scope="module")
async def traces() -> AsyncIterator[Collector]:
    async with run_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
async def traced(tmp_path_factory: pytest.TempPathFactory, mails: Mailbox, traces: Collector) -> AsyncIterator[Stack]:
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": traces.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    async with isolated_stack("traced", tmp_path_factory.mktemp("logs"), mails, everywhere=exporting) as stack:
        yield stack
        assert unexpected_errors(stack) == []


@pytest.fixture(scope="module")
async def traced_order(traced: Stack, traces: Collector) -> TracedOrder:
    """An order with all its log lines and spans; after a timeout with those that have arrived, so that the tests name
    what is missing.
    """
    request_id = f"follow-{uuid.uuid4().hex}"
    async with Shop(traced.url) as shop:
        admin = await admin_of(traced, shop)
        _seller, product = await shop.stocked_product(admin, 5)
        buyer = await shop.register()
        body = {"items": [{"product_id": product, "quantity": 2}]}
        await buyer.call("POST", "/orders", body, {"X-Request-ID": request_id})

    seen = [TracedOrder([], [])]

    async def has_come_in() -> bool:
        seen[:] = [found := _found(traced, traces, request_id)]
        is_logged, is_traced = _services(found.lines) >= _TAKE_PART, _steps(found.spans) >= _STEPS
        return is_logged and is_traced and not _orphans(found.spans)

    with contextlib.suppress(TimeoutError):
        await eventually(has_come_in, within=20)
    return seen[0]


async def test_the_request_id_is_in_the_log_of_every_service_involved(traced_order: TracedOrder) -> None:
    assert _services(traced_order.lines) >= _TAKE_PART


async def test_the_log_lines_of_a_request_name_one_trace(traced_order: TracedOrder) -> None:
    assert len({line.get("trace_id") for line in traced_order.lines}) == 1


async def test_the_trace_has_spans_for_http_grpc_and_events(traced_order: TracedOrder) -> None:
    assert _steps(traced_order.spans) >= _STEPS


async def test_the_trace_has_the_statements_of_every_database(traced_order: TracedOrder) -> None:
    statements = [span for span in traced_order.spans if span.attributes.get("db.system.name") == "postgresql"]
    assert {span.service for span in statements} >= _TAKE_PART - {"gateway"}
    assert any("INSERT INTO orders " in span.attributes["db.query.text"] for span in statements)


async def test_the_trace_is_one_tree(traced_order: TracedOrder) -> None:
    assert _orphans(traced_order.spans) == []
    (root,) = (span for span in traced_order.spans if not span.parent_id)
    assert (root.service, root.kind, root.name) == ("gateway", "SERVER", "POST /api/v1/orders")


async def test_a_latency_histogram_has_exemplars_of_the_trace(traced: Stack, traced_order: TracedOrder) -> None:
    (trace_id,) = {span.trace_id for span in traced_order.spans}
    assert trace_id in await _exemplars(traced, "gateway", "http_server_request_duration_seconds")
    assert trace_id in await _exemplars(traced, "order", "http_server_request_duration_seconds")
    assert trace_id in await _exemplars(traced, "inventory", "rpc_server_duration_seconds")


def _found(stack: Stack, traces: Collector, request_id: str) -> TracedOrder:
    logs = (path.read_text() for path in sorted(stack.plan.logs.glob("*.log")))
    lines = [json.loads(line) for log in logs for line in log.splitlines() if request_id in line]
    of_gateway = [line["trace_id"] for line in lines if line["service"] == "gateway"]
    return TracedOrder(lines, traces.trace(of_gateway[0]) if of_gateway else [])


def _services(lines: list[Json]) -> set[str]:
    return {line["service"] for line in lines}


def _steps(spans: list[Span]) -> set[tuple[str, str, str]]:
    return {(span.service, span.kind, span.name) for span in spans}


def _orphans(spans: list[Span]) -> list[Span]:
    """Returns the spans whose parent is not in the trace."""
    there = {span.id for span in spans}
    return [span for span in spans if span.parent_id and span.parent_id not in there]


async def _exemplars(stack: Stack, service: str, histogram: str) -> set[str]:
    """Returns the trace ids of a service's histogram, requested as Prometheus does."""
    async with httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{stack.plan.ports[service].metrics}/metrics"
        text = (await client.get(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})).text
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # the client has no types there
    (family,) = (family for family in families if family.name == histogram)
    return {sample.exemplar.labels["trace_id"] for sample in family.samples if sample.exemplar}
