"""gRPC between services: every call has a deadline, carries the trace, and fails as a typed error."""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import Histogram

from chassis import logs, problems, tracing
from chassis.problems import NeighbourUnavailable, ProblemTable

SERVER_SECONDS = Histogram(
    "rpc_server_duration_seconds", "Time to answer a call", ["rpc_method", "rpc_grpc_status_code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)  # fmt: skip
CODE_KEY = "problem-code"
MEMBERS_KEY = "problem-members-bin"
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
_SERVER_OPTIONS = [
    ("grpc.max_connection_age_ms", 60_000),
    ("grpc.max_connection_age_grace_ms", 10_000),
    ("grpc.so_reuseport", 0),
]
_UNANSWERED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)

log = logs.get(__name__)


class RpcProblem(Exception):  # noqa: N818 - named for what it carries
    """A neighbour refused a call. `code` is the stable code of its problem, `members` what else it said."""

    def __init__(self, code: str, detail: str, members: dict[str, Any]) -> None:
        super().__init__(detail)
        self.code = code
        self.members = members


def channel(address: str) -> aio.Channel:
    """A channel to `host:port`; connects on first use, balances over all pods behind the name."""
    return aio.insecure_channel(f"dns:///{address}", options=_CHANNEL_OPTIONS, interceptors=[_ClientTracing()])


_Reply = TypeVar("_Reply")


async def call(method: Callable[..., Awaitable[_Reply]], request: object, deadline: float = DEADLINE_SECONDS) -> _Reply:
    """One call, answered within `deadline` seconds. Raises NeighbourUnavailable, or RpcProblem where the neighbour refused."""
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


def _typed(error: aio.AioRpcError) -> NeighbourUnavailable | RpcProblem:
    trailer = dict(error.trailing_metadata() or ())
    if error.code() in _UNANSWERED:
        return NeighbourUnavailable("a part of the shop did not answer in time; try again in a moment")
    if CODE_KEY not in trailer:
        return NeighbourUnavailable("a part of the shop failed; try again in a moment")
    members = json.loads(trailer.get(MEMBERS_KEY, b"{}"))
    return RpcProblem(str(trailer[CODE_KEY]), error.details() or "", members)


class _ClientTracing(aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: aio.ClientCallDetails, request: Any) -> Any:
        with tracing.tracer.start_as_current_span(_method(details.method), kind=tracing.SpanKind.CLIENT):
            metadata = aio.Metadata(*(details.metadata or ()), *tracing.inject().items())
            traced = aio.ClientCallDetails(
                details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
            )
            call = await continuation(traced, request)
            await call  # so that the span lasts as long as the call
            return call


class Server:
    """The gRPC side of a service, with the standard health service beside it."""

    def __init__(self, port: int, table: ProblemTable, registrations: Sequence[Callable[[aio.Server], None]]) -> None:
        self._server = aio.server(interceptors=[_ServerEdge(table)], options=_SERVER_OPTIONS)
        self._health = health.aio.HealthServicer()
        for register in registrations:
            register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = self._server.add_insecure_port(f"0.0.0.0:{port}")

    async def start(self) -> None:
        await self._server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def retire(self) -> None:
        """Tells health watchers to go elsewhere, while calls are still answered."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace: float) -> None:
        await self._server.stop(grace)


class _ServerEdge(aio.ServerInterceptor):
    """Measures, continues the trace, and turns errors into statuses."""

    def __init__(self, table: ProblemTable) -> None:
        self._table = table

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = _method(details.method)
        carrier = {key: value for key, value in details.invocation_metadata if isinstance(value, str)}

        async def answer(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
            started, status = time.perf_counter(), grpc.StatusCode.OK
            with tracing.following(method, tracing.SpanKind.SERVER, carrier):
                try:
                    return await handler.unary_unary(request, context)
                except Exception as error:
                    status, detail, trailer = self._refusal(error)
                finally:
                    seconds = time.perf_counter() - started
                    SERVER_SECONDS.labels(method, status.name).observe(seconds, tracing.exemplar())
                    _log(method, status, seconds)
                return await context.abort(status, detail, trailer)

        return grpc.unary_unary_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)

    def _refusal(self, error: Exception) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
        problem = problems.find(error, self._table)
        if problem is None:
            log.error("unforeseen error", exc_info=error)
            return grpc.StatusCode.INTERNAL, "an unforeseen error; it is logged with the trace id", ()
        members = json.dumps(dict(problem.members(error))).encode()
        return problems.GRPC_STATUS[problem.status], str(error), ((CODE_KEY, problem.code), (MEMBERS_KEY, members))


def _log(method: str, status: grpc.StatusCode, seconds: float) -> None:
    log.info("call", rpc=method, status=status.name, milliseconds=round(seconds * 1000, 1))


def _method(full: str | bytes) -> str:
    return (full.decode() if isinstance(full, bytes) else full).lstrip("/")
