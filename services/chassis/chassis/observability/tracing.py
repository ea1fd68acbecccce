"""Traces by OpenTelemetry, in W3C trace context, through HTTP, gRPC and events. Exported only where an OTLP endpoint is set."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.trace import Span, SpanKind
from structlog.contextvars import bound_contextvars, get_contextvars

REQUEST_ID = "x-request-id"
_EXPORT_SECONDS = 3
"""How long a batch may take, retries and all. A process that stops sends four at most, and has to be gone before it is killed."""

tracer = trace.get_tracer("chassis")


def configure(service: str, version: str, tenant: str, endpoint: str | None) -> None:
    """Without an endpoint, a trace that begins here is not recorded: it has its ids, for the log, and costs next to nothing.

    With one, `OTEL_TRACES_SAMPLER` says which are; by default all.
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
    """What leads back here from whatever this causes: `traceparent`, and the request's id as REQUEST_ID; each where there is one."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    request_id = get_contextvars().get("request_id")
    return carrier if request_id is None else {**carrier, REQUEST_ID: request_id}


@contextmanager
def continue_trace(name: str, kind: SpanKind, carrier: Mapping[str, str]) -> Iterator[Span]:
    """A span that goes on where `inject` filled the carrier, with the request's id in each line that is logged within."""
    request = {"request_id": carrier[REQUEST_ID]} if REQUEST_ID in carrier else {}
    with (
        tracer.start_as_current_span(name, propagate.extract(carrier), kind) as span,
        bound_contextvars(**request),
    ):
        yield span


def is_recorded() -> bool:
    """Whether what happens now belongs to a trace that somebody keeps."""
    return trace.get_current_span().is_recording()


def exemplar() -> dict[str, str] | None:
    """The trace that a measurement is an example of, as its labels; none where nobody keeps it."""
    context = trace.get_current_span().get_span_context()
    return {"trace_id": trace.format_trace_id(context.trace_id)} if context.trace_flags.sampled else None


__all__ = ["REQUEST_ID", "SpanKind", "configure", "continue_trace", "exemplar", "inject", "is_recorded", "tracer"]
