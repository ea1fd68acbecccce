"""Traces by OpenTelemetry, with W3C trace context in HTTP, gRPC and events. They are exported if an endpoint is set."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.trace import Span, SpanKind
from structlog.contextvars import bound_contextvars, get_contextvars

REQUEST_ID = "x-request-id"
"""The header that carries the id of a request, and its key in the carriers of `inject` and `continue_trace`."""
_EXPORT_SECONDS = 3
"""How long the export of a batch may take, retries included. A stopping process exports four at most, and must end
before it is killed.
"""

tracer = trace.get_tracer("chassis")


def configure(service: str, version: str, tenant: str, endpoint: str | None) -> None:
    """Sets the process's tracer provider, which exports to the OTLP `endpoint`.

    Without an endpoint, a trace that begins here is not recorded: it has ids, for the log, and costs almost nothing.
    With one, `OTEL_TRACES_SAMPLER` decides which traces are recorded; by default all are.
    """
    provider = TracerProvider(
        sampler=sampling.DEFAULT_OFF if endpoint is None else None,
        resource=Resource.create({"service.name": service, "service.version": version, "service.namespace": tenant}),
    )
    if endpoint is not None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def inject() -> dict[str, str]:
    """Returns a carrier of the current trace (`traceparent`) and request id (REQUEST_ID), each only if there is one."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    request_id = get_contextvars().get("request_id")
    return carrier if request_id is None else {**carrier, REQUEST_ID: request_id}


@contextmanager
def continue_trace(name: str, kind: SpanKind, carrier: Mapping[str, str]) -> Iterator[Span]:
    """Opens a span that continues the trace of a carrier, which `inject` filled. Its log lines have the request id."""
    with (
        trace.use_span(tracer.start_span(name, propagate.extract(carrier), kind), end_on_exit=True) as span,
        bound_contextvars(**_request_id(carrier)),
    ):
        yield span


@dataclass(frozen=True, slots=True)
class ContinuedTrace:
    """A span that is open, and becomes the current one for parts of its time."""

    span: Span
    request_id: Mapping[str, str]

    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes it the current span within the block. Log lines have the request id."""
        with trace.use_span(self.span), bound_contextvars(**self.request_id):
            yield


@contextmanager
def continued_trace(name: str, kind: SpanKind, carrier: Mapping[str, str]) -> Iterator[ContinuedTrace]:
    """Opens a span as `continue_trace` does, without making it the current one: several are open at the same time."""
    span = tracer.start_span(name, propagate.extract(carrier), kind)
    try:
        yield ContinuedTrace(span, _request_id(carrier))
    finally:
        span.end()


@contextmanager
def begin_trace(name: str, kind: SpanKind, carrier: Mapping[str, str]) -> Iterator[Span]:
    """Opens a span that begins a trace, with a link to that of a carrier from outside the shop.

    Such a carrier is not trusted: it could add spans to a trace of the shop, or decide which requests are sampled
    (W3C Trace Context, section 4.2). Log lines have the request id.
    """
    with (
        trace.use_span(tracer.start_span(name, Context(), kind, links=_links(carrier)), end_on_exit=True) as span,
        bound_contextvars(**_request_id(carrier)),
    ):
        yield span


def _links(carrier: Mapping[str, str]) -> list[trace.Link] | None:
    if "traceparent" not in carrier:
        return None
    outside = trace.get_current_span(propagate.extract(carrier)).get_span_context()
    return [trace.Link(outside)] if outside.is_valid else None


def _request_id(carrier: Mapping[str, str]) -> dict[str, str]:
    return {"request_id": carrier[REQUEST_ID]} if REQUEST_ID in carrier else {}


def is_recorded() -> bool:
    """Returns whether the current span is recorded."""
    return trace.get_current_span().is_recording()


def exemplar() -> dict[str, str] | None:
    """Returns the labels of an exemplar that links a measurement to the current trace, or None if it is not sampled."""
    context = trace.get_current_span().get_span_context()
    return {"trace_id": trace.format_trace_id(context.trace_id)} if context.trace_flags.sampled else None


__all__ = [
    "REQUEST_ID",
    "ContinuedTrace",
    "SpanKind",
    "begin_trace",
    "configure",
    "continue_trace",
    "continued_trace",
    "exemplar",
    "inject",
    "is_recorded",
    "tracer",
]
