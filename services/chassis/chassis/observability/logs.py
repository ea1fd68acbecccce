"""Logs: one JSON object a line, with the ids of its trace. Passwords, tokens and card numbers are never logged."""

import json
import logging
import sys

import structlog
from opentelemetry import trace
from pydantic_core import PydanticSerializationError, to_json
from structlog.typing import EventDict, WrappedLogger


def configure(service: str, tenant: str, level: str) -> None:
    """Sends what structlog and the standard library's loggers log to stdout, in one format.

    What structlog logs does not pass the standard library's handlers, which take longer than all else of a log line.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_fields(service=service, tenant=tenant),  # not context variables: threads of libraries have none of them
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_trace_ids,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
    ]
    least = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *last, structlog.processors.JSONRenderer(_to_json)],
        logger_factory=structlog.BytesLoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(least),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *last,
                structlog.processors.JSONRenderer(lambda event, **_: _to_json(event).decode()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(least)
    for verbose in ("aio_pika", "aiormq", "alembic", "uvicorn.error", "sqlalchemy"):
        logging.getLogger(verbose).setLevel(logging.WARNING)
    # chassis.messaging.broker already logs that the broker is unavailable.
    logging.getLogger("aiormq.connection").setLevel(logging.CRITICAL)


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Returns the logger of a module."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
    return logger


def _to_json(event: object, **_: object) -> bytes:
    """Writes what JSON does not know as Python writes it, so that no value keeps a line from being logged."""
    try:
        return to_json(event, fallback=repr)
    except PydanticSerializationError:  # octets or strings that are not Unicode
        return json.dumps(event, default=repr).encode()


def _add_fields(**fields: str) -> structlog.typing.Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**fields, **event}

    return add


def _add_trace_ids(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event
