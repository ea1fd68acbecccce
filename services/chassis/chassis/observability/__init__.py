"""Logs, and traces by OpenTelemetry."""
