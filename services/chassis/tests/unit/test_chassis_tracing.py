"""Traces: log lines have trace ids, spans describe requests, and metrics have exemplars."""

import contextlib
import contextvars
import json
import subprocess
import sys
from collections.abc import Generator, Iterator

import httpx
import prometheus_client
import pytest
from chassis.http.app import Readiness, create_app
from chassis.observability import tracing
from chassis_testing.services import http_client
from fastapi import APIRouter
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id
from structlog.contextvars import bound_contextvars, get_contextvars

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
PLAIN = {"Accept": "text/plain; version=0.0.4"}


def new_client() -> httpx.AsyncClient:
    router = APIRouter()

    @router.get("/cups")
    async def cups() -> list[str]:
        return []

    return http_client(create_app("Test", "1", [router], {}, Readiness()))


async def request_cups() -> None:
    async with new_client() as client:
        await client.get("/cups")


@contextlib.contextmanager
def metrics() -> Iterator[str]:
    """Serves the metrics of this process as a service does, and gives their URL."""
    server, thread = prometheus_client.start_http_server(0, addr="127.0.0.1")
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_latency_has_its_trace_as_exemplar_in_openmetrics_only(
    spans: InMemorySpanExporter,
) -> None:
    await request_cups()
    labels = 'http_request_method="GET",http_response_status_code="200",http_route="/cups"'
    exemplar = f'# {{trace_id="{trace_id(only(spans))}"}}'

    with metrics() as url:
        async with httpx.AsyncClient() as prometheus:
            detailed, plain = [await prometheus.get(url, headers=accept) for accept in (OPENMETRICS, PLAIN)]

    assert detailed.headers["content-type"].startswith("application/openmetrics-text")
    (line,) = (line for line in detailed.text.splitlines() if exemplar in line)
    assert line.startswith(f"http_server_request_duration_seconds_bucket{{{labels},le=")
    assert plain.headers["content-type"].startswith("text/plain")
    assert f"http_server_request_duration_seconds_count{{{labels}}}" in plain.text
    assert exemplar not in plain.text


async def test_a_request_span_has_route_and_status(spans: InMemorySpanExporter) -> None:
    await request_cups()

    span = only(spans)
    assert (span.name, span.attributes) == (
        "GET /cups",
        {"http.request.method": "GET", "http.route": "/cups", "http.response.status_code": 200},
    )


async def test_no_library_opens_a_span_of_a_request_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)

    await request_cups()

    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_a_probe_has_no_span(spans: InMemorySpanExporter, path: str) -> None:
    async with new_client() as client:
        assert (await client.get(path)).status_code == 200

    assert spans.get_finished_spans() == ()


def test_an_effect_continues_the_trace_and_request_id_of_its_cause(spans: InMemorySpanExporter) -> None:
    with (
        bound_contextvars(request_id="r-1"),
        tracing.tracer.start_as_current_span("cause") as cause,
    ):
        carried = tracing.inject()

    with tracing.continue_trace("effect", tracing.SpanKind.CONSUMER, carried):
        bound = get_contextvars()["request_id"]

    assert bound == "r-1"
    assert "request_id" not in get_contextvars()
    effect = next(span for span in spans.get_finished_spans() if span.name == "effect")
    parent, context = effect.parent, cause.get_span_context()
    assert parent is not None
    assert (parent.trace_id, parent.span_id) == (context.trace_id, context.span_id)


@pytest.mark.parametrize("is_public", [True, False])
async def test_a_trace_is_continued_inside_the_shop_and_linked_from_outside(
    spans: InMemorySpanExporter, is_public: bool
) -> None:
    theirs = "0af7651916cd43dd8448eb211c80319c"
    app = create_app("Test", "1", [], {}, Readiness(), is_public=is_public)

    async with http_client(app) as client:
        await client.get("/cups", headers={"traceparent": f"00-{theirs}-b7ad6b7169203331-00"})

    if is_public:  # their decision against sampling has no effect either
        span = only(spans)
        assert trace_id(span) != theirs
        assert [format_trace_id(link.context.trace_id) for link in span.links] == [theirs]
        assert span.parent is None
    else:
        assert spans.get_finished_spans() == ()


def test_without_a_collector_logs_have_trace_ids_but_nothing_is_recorded_or_exported() -> None:
    script = """
import sys
from chassis.observability import logs, tracing
logs.configure("order", "shop", "INFO")
tracing.configure("order", "1", "shop", None)
with tracing.continue_trace("effect", tracing.SpanKind.SERVER, {"x-request-id": "r-1"}):
    logs.get_logger("order_service").info(
        "request",
        example=tracing.exemplar(),
        is_recorded=tracing.is_recorded(),
        loaded=[name for name in sys.modules if name.startswith(("opentelemetry.exporter", "requests"))],
    )
"""
    line = json.loads(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)

    assert (len(line["trace_id"]), len(line["span_id"])) == (32, 16)
    assert line["request_id"] == "r-1"
    assert (line["example"], line["is_recorded"], line["loaded"]) == (None, False, [])


TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def _without_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_exports_spans", False)


@pytest.mark.usefixtures("_without_collector")
@pytest.mark.parametrize(
    ("carried", "flags", "state"),
    [
        ({"traceparent": f"00-{TRACE}-{PARENT}-00"}, "00", None),
        ({"traceparent": f"00-{TRACE}-{PARENT}-01"}, "01", None),
        ({"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}, "01", "vendor=1"),
        ({"traceparent": f"00-{TRACE}-{PARENT}-02"}, "02", None),
        ({"traceparent": f"00-{TRACE}-{PARENT}-03"}, "03", None),
        ({"traceparent": f"00-{TRACE}-{PARENT}-03", "tracestate": "vendor=1"}, "03", "vendor=1"),
        ({"traceparent": f"00-{TRACE}-{PARENT}-ff"}, "03", None),
        ({"traceparent": f"01-{TRACE}-{PARENT}-00-later"}, "00", None),
    ],
)
def test_without_a_collector_a_trace_is_continued_under_new_span_ids(
    carried: dict[str, str], flags: str, state: str | None
) -> None:
    with tracing.continue_trace("effect", tracing.SpanKind.CONSUMER, {**carried, tracing.REQUEST_ID: "r-1"}):
        with tracing.client_span("shopapi.user.v1.UserService/GetUser"):
            sent = tracing.inject()
        with tracing.continued_trace("batch", tracing.SpanKind.CONSUMER, carried) as batch, batch.current():
            beside = tracing.inject()

    version, trace_id, span_id, sent_flags = sent["traceparent"].split("-")
    assert (version, trace_id, sent_flags) == ("00", TRACE, flags)
    assert len({span_id, PARENT, beside["traceparent"].split("-")[2]}) == 3
    assert beside["traceparent"].split("-")[1] == TRACE
    assert (sent.get("tracestate"), sent[tracing.REQUEST_ID]) == (state, "r-1")


@pytest.mark.usefixtures("_without_collector")
@pytest.mark.parametrize(
    "parent",
    ["", "00-short", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{PARENT}-01x"],
)
def test_without_a_collector_a_malformed_parent_begins_a_trace(parent: str) -> None:
    with tracing.continue_trace("effect", tracing.SpanKind.SERVER, {"traceparent": parent}) as span:
        context = span.get_span_context()

    assert context.is_valid
    assert format_trace_id(context.trace_id) != TRACE
    assert (context.trace_flags.sampled, context.trace_flags.random_trace_id) == (False, True)


@pytest.mark.usefixtures("_without_collector")
def test_without_a_collector_a_request_without_a_carrier_begins_a_trace_inside_another_one() -> None:
    outer = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    with (
        tracing.continue_trace("outer", tracing.SpanKind.SERVER, outer),
        tracing.continue_trace("effect", tracing.SpanKind.SERVER, {}) as effect,
    ):
        context = effect.get_span_context()

    assert context.is_valid
    assert format_trace_id(context.trace_id) != TRACE


@pytest.mark.usefixtures("_without_collector")
def test_without_a_collector_a_trace_from_outside_is_not_continued() -> None:
    outside = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    with tracing.begin_trace("GET", tracing.SpanKind.SERVER, outside) as span:
        assert format_trace_id(span.get_span_context().trace_id) != TRACE
        assert span.get_span_context().trace_flags.random_trace_id
        assert tracing.exemplar() is None


@pytest.mark.usefixtures("_without_collector")
def test_without_a_collector_the_span_and_request_id_before_return_after_an_error() -> None:
    cause = {"traceparent": f"00-{TRACE}-{PARENT}-00", tracing.REQUEST_ID: "r-1"}
    with tracing.continue_trace("cause", tracing.SpanKind.SERVER, cause):
        before = tracing.inject()
        effect = tracing.continue_trace("effect", tracing.SpanKind.CONSUMER, {**before, tracing.REQUEST_ID: "r-2"})
        with contextlib.suppress(ValueError), effect:
            assert get_contextvars()["request_id"] == "r-2"
            raise ValueError

        assert tracing.inject() == before
    assert tracing.inject() == {}


@pytest.mark.usefixtures("_without_collector")
def test_without_a_collector_a_span_that_another_context_ends_keeps_the_error_of_its_block(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def block() -> Generator[None, None, None]:
        with tracing.continue_trace("effect", tracing.SpanKind.SERVER, {tracing.REQUEST_ID: "r-1"}):
            yield

    effect = block()
    contextvars.copy_context().run(next, effect)
    with pytest.raises(KeyError):
        effect.throw(KeyError())

    assert tracing.inject() == {}
    assert "Failed to detach context" in caplog.text


def test_a_call_to_a_neighbour_has_a_client_span_that_it_passes_on(spans: InMemorySpanExporter) -> None:
    with (
        tracing.tracer.start_as_current_span("request") as request,
        tracing.client_span("shopapi.user.v1.UserService/GetUser"),
    ):
        sent = tracing.inject()["traceparent"].split("-")

    call, _ = spans.get_finished_spans()
    assert (call.name, call.kind, call.parent) == (
        "shopapi.user.v1.UserService/GetUser",
        tracing.SpanKind.CLIENT,
        request.get_span_context(),
    )
    assert call.context is not None
    assert sent[1:3] == [format_trace_id(call.context.trace_id), format_span_id(call.context.span_id)]


def only(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    return span


def trace_id(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return format_trace_id(context.trace_id)
