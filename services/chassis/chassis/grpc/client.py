"""gRPC between services: every call has a deadline, carries the trace, and fails as a typed error."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from grpc import aio

from chassis.errors import NeighbourRefused, NeighbourUnavailable
from chassis.grpc.wire import CODE_KEY, MEMBERS_KEY, method_name
from chassis.observability import logs, tracing

DEADLINE_SECONDS = 4.0
"""The deadline of a call that names none: two, one after the other, end before the gateway gives a request up."""

# While a neighbour's pods are replaced, the addresses a client knows may all be gone until it has looked again: a call waits for
# that, within its deadline. One that broke off goes again, to another pod if there is one: every call of shopapi may be repeated.
# gRPC stops that by itself towards a neighbour that answers hardly any.
# https://github.com/grpc/grpc/blob/master/doc/wait-for-ready.md, https://github.com/grpc/proposal/blob/master/A6-client-retries.md
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{}],
            "waitForReady": True,
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.5},
}
# Clients resolve the headless Service and spread calls over its pods; a server ends connections now and then, so that
# clients look again and find new pods.
_CHANNEL_OPTIONS = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
_UNANSWERED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)

log = logs.get_logger(__name__)


def open_channel(address: str) -> aio.Channel:
    """A channel to `host:port`; connects on first use, balances over all pods behind the name."""
    return aio.insecure_channel(
        f"dns:///{address}", options=_CHANNEL_OPTIONS, interceptors=[ClientTracingInterceptor()]
    )


_Reply = TypeVar("_Reply")


async def call(method: Callable[..., Awaitable[_Reply]], request: object, deadline: float = DEADLINE_SECONDS) -> _Reply:
    """One call, answered within `deadline` seconds. Raises NeighbourUnavailable, or NeighbourRefused where the neighbour refused."""
    try:
        return await method(request, timeout=deadline)
    except aio.AioRpcError as error:
        failure = _typed(error)
        if isinstance(failure, NeighbourUnavailable):
            log.warning(
                "a neighbour did not answer",
                rpc=type(request).__name__,
                status=error.code().name,
                reason=error.details(),
            )
        raise failure from error


def _typed(error: aio.AioRpcError) -> NeighbourUnavailable | NeighbourRefused:
    trailer = dict(error.trailing_metadata() or ())
    if error.code() in _UNANSWERED:
        return NeighbourUnavailable("a part of the shop did not answer in time; try again in a moment")
    if CODE_KEY not in trailer:
        return NeighbourUnavailable("a part of the shop failed; try again in a moment")
    members = json.loads(trailer.get(MEMBERS_KEY, b"{}"))
    return NeighbourRefused(str(trailer[CODE_KEY]), error.details() or "", members)


class ClientTracingInterceptor(aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: aio.ClientCallDetails, request: Any) -> Any:
        with tracing.tracer.start_as_current_span(method_name(details.method), kind=tracing.SpanKind.CLIENT):
            metadata = aio.Metadata(*(details.metadata or ()), *tracing.inject().items())
            traced = aio.ClientCallDetails(
                details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
            )
            call = await continuation(traced, request)
            await call  # so that the span lasts as long as the call
            return call
