"""Traces by OpenTelemetry, with W3C trace context in HTTP, gRPC and events. They are exported if an endpoint is set."""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from structlog.contextvars import bind_contextvars, bound_contextvars, get_contextvars, reset_contextvars

REQUEST_ID = "x-request-id"
"""The header that carries the id of a request, and its key in the carriers of `inject` and `continue_trace`."""
_EXPORT_SECONDS = 3
"""How long the export of a batch may take, retries included. A stopping process exports four at most, and must end
before it is killed.
"""

tracer = trace.get_tracer("chassis")
_TRACEPARENT = re.compile(r"00-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
"""A traceparent of version 00 (W3C Trace Context, section 3.2)."""
_FLAGS = TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID
"""The flags that are passed on; all others have to be zero (W3C Trace Context Level 2, section 3.2.2.5)."""
_ids = RandomIdGenerator()
_exports_spans = True
"""False if the process exports no spans: then a trace consists of its ids."""


def configure(service: str, version: str, tenant: str, endpoint: str | None) -> None:
    """Makes the process export its spans to the OTLP `endpoint`. Without an endpoint it records none.

    A trace that is not recorded still has ids, for log lines and for calls to neighbours. With an endpoint,
    `OTEL_TRACES_SAMPLER` decides which traces are recorded; by default all are.
    """
    global _exports_spans
    _exports_spans = endpoint is not None
    if endpoint is None:
        return

    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": service, "service.version": version, "service.namespace": tenant})
    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def inject() -> dict[str, str]:
    """Returns a carrier of the current trace (`traceparent`) and request id (REQUEST_ID), each only if there is one."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    request_id = get_contextvars().get("request_id")
    return carrier if request_id is None else {**carrier, REQUEST_ID: request_id}


def continue_trace(name: str, kind: SpanKind, carrier: Mapping[str, str]) -> AbstractContextManager[Span]:
    """Opens a span that continues the trace of a carrier, which `inject` filled. Its log lines have the request id."""
    if _exports_spans:
        return _current_span(name, kind, parent=propagate.extract(carrier), request_id=_request_id(carrier))
    return _UnrecordedSpan(_unrecorded(carrier), _request_id(carrier))


def client_span(name: str) -> AbstractContextManager[object]:
    """Opens the span of a call to a neighbour, unless no span of this process is recorded."""
    return tracer.start_as_current_span(name, kind=SpanKind.CLIENT) if _exports_spans else nullcontext()


@contextmanager
def _current_span(
    name: str,
    kind: SpanKind,
    *,
    parent: Context,
    request_id: Mapping[str, str],
    links: list[trace.Link] | None = None,
) -> Iterator[Span]:
    with tracer.start_as_current_span(name, parent, kind, links=links) as span, bound_contextvars(**request_id):
        yield span


class _UnrecordedSpan:
    """Makes a span current that has ids for log lines and carriers, and nothing else.

    OpenTelemetry's own way to a span that no one records takes five times the processor time (docs/adr/0080).
    """

    __slots__ = ("_request_id", "_span", "_span_token", "_variable_tokens")

    def __init__(self, span: Span, request_id: Mapping[str, str]) -> None:
        self._span = span
        self._request_id = request_id

    def __enter__(self) -> Span:
        self._span_token = context.attach(trace.set_span_in_context(self._span))
        self._variable_tokens = bind_contextvars(**self._request_id)
        return self._span

    def __exit__(self, *_: object) -> None:
        with suppress(ValueError):  # another context ends the block, as that of a generator: it has its own variables
            reset_contextvars(**self._variable_tokens)
        context.detach(self._span_token)


def _unrecorded(carrier: Mapping[str, str]) -> Span:
    """Returns a span of the carrier's trace, or of a new one if the carrier has none."""
    known = _TRACEPARENT.fullmatch(carrier.get("traceparent", ""))
    if known is not None and "tracestate" not in carrier:
        return _span_with_ids(int(known[1], 16), int(known[2], 16))
    parent = trace.get_current_span(propagate.extract(carrier)).get_span_context()
    if not parent.is_valid:
        return _unrecorded_root()
    return _span_with_ids(parent.trace_id, parent.trace_flags, parent.trace_state)


def _unrecorded_root() -> Span:
    return _span_with_ids(_ids.generate_trace_id(), TraceFlags.RANDOM_TRACE_ID)


def _span_with_ids(trace_id: int, flags: int, state: trace.TraceState | None = None) -> Span:
    """Returns a span of this trace with an id of its own."""
    known_flags = TraceFlags(flags & _FLAGS)
    return NonRecordingSpan(SpanContext(trace_id, _ids.generate_span_id(), False, known_flags, state))


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
    span = tracer.start_span(name, propagate.extract(carrier), kind) if _exports_spans else _unrecorded(carrier)
    try:
        yield ContinuedTrace(span, _request_id(carrier))
    finally:
        span.end()


def begin_trace(name: str, kind: SpanKind, carrier: Mapping[str, str]) -> AbstractContextManager[Span]:
    """Opens a span that begins a trace, with a link to that of a carrier from outside the shop.

    Such a carrier is not trusted: it could add spans to a trace of the shop, or decide which requests are sampled
    (W3C Trace Context, section 4.2). Log lines have the request id.
    """
    if _exports_spans:
        return _current_span(name, kind, parent=Context(), request_id=_request_id(carrier), links=_links(carrier))
    return _UnrecordedSpan(_unrecorded_root(), _request_id(carrier))


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
    "client_span",
    "configure",
    "continue_trace",
    "continued_trace",
    "exemplar",
    "inject",
    "is_recorded",
    "tracer",
]
