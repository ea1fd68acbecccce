"""A trace collector for tests: receives OTLP over HTTP on a free port of this machine and keeps every span."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

_MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Ids are in hexadecimal, as in logs; `parent_id` is empty for the first span of a trace."""

    service: str
    name: str
    kind: str
    """SERVER, CLIENT, PRODUCER, CONSUMER or INTERNAL."""
    trace_id: str
    id: str
    parent_id: str
    attributes: Mapping[str, str]


@dataclass
class Collector:
    """Every span that was received, in order."""

    url: str = ""
    """The value for OTEL_EXPORTER_OTLP_ENDPOINT."""
    spans: list[Span] = field(default_factory=list)

    def trace(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]

    async def receive(self, request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        self.spans += (
            _read(span, group.resource)
            for group in sent.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        )
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


@asynccontextmanager
async def run_collector() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application(client_max_size=_MOST_BYTES)
    app.router.add_post("/v1/traces", collector.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


def _read(span: trace_pb2.Span, resource: Resource) -> Span:
    return Span(
        service=_texts(resource.attributes)["service.name"],
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_texts(span.attributes),
    )


def _texts(attributes: Iterable[KeyValue]) -> dict[str, str]:
    return {attribute.key: _text(attribute.value) for attribute in attributes}


def _text(value: AnyValue) -> str:
    chosen = value.WhichOneof("value")
    return "" if chosen is None else str(getattr(value, chosen))
