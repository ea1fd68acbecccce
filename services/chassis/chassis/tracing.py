"""Traces by OpenTelemetry, in W3C trace context, through HTTP, gRPC and events. Exported only where an OTLP endpoint is set."""

from collections.abc import Mapping

from opentelemetry import context, propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

tracer = trace.get_tracer("chassis")


def configure(service: str, version: str, tenant: str, endpoint: str | None) -> None:
    provider = TracerProvider(
        resource=Resource.create({"service.name": service, "service.version": version, "service.namespace": tenant})
    )
    if endpoint is not None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    trace.set_tracer_provider(provider)


def inject() -> dict[str, str]:
    """The current trace as headers (`traceparent`), empty where there is none."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def extract(carrier: Mapping[str, str]) -> context.Context:
    return propagate.extract(carrier)


__all__ = ["SpanKind", "configure", "extract", "inject", "tracer"]
