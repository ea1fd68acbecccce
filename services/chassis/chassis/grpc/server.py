"""The gRPC server of a service. It authorizes, measures and traces calls, and answers errors as problems."""

import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import Histogram

from chassis.errors import find_problem
from chassis.grpc.access import CLOSED, CallerAuthorization, CallRefused, is_health_check
from chassis.grpc.wire import CODE_KEY, MEMBERS_KEY, method_name
from chassis.observability import logs, tracing
from chassis.types.problem import ProblemTable

SERVER_SECONDS = Histogram(
    "rpc_server_duration_seconds", "Time to answer a call", ["rpc_method", "rpc_grpc_status_code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)  # fmt: skip
_SERVER_OPTIONS = [
    ("grpc.max_connection_age_ms", 60_000),
    ("grpc.max_connection_age_grace_ms", 10_000),
    ("grpc.so_reuseport", 0),
]

_STATUS_OF_HTTP: Mapping[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}

log = logs.get_logger(__name__)


class GrpcServer:
    """The gRPC server of a service, with the standard health service.

    Without `authorization` it refuses every call except health checks.
    """

    def __init__(
        self,
        port: int,
        table: ProblemTable,
        registrations: Sequence[Callable[[aio.Server], None]],
        authorization: CallerAuthorization = CLOSED,
    ) -> None:
        self._server = aio.server(interceptors=[_CallInterceptor(table, authorization)], options=_SERVER_OPTIONS)
        self._health = health.aio.HealthServicer()
        for register in registrations:
            register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = self._server.add_insecure_port(f"[::]:{port}")  # gRPC takes this for IPv4 too

    async def start(self) -> None:
        await self._server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Reports NOT_SERVING to health checks, while calls are still answered."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace: float) -> None:
        """Refuses new calls, and cancels those that take longer than `grace` seconds."""
        await self._server.stop(grace)


class _CallInterceptor(aio.ServerInterceptor):
    """Measures each call, continues its trace, and answers errors with a status.

    A call that is refused is not parsed.
    """

    def __init__(self, table: ProblemTable, authorization: CallerAuthorization) -> None:
        self._table = table
        self._authorization = authorization

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        method = method_name(details.method)
        if handler is None or (handler.unary_unary is None and is_health_check(method)):
            return handler
        carrier = {key: value for key, value in details.invocation_metadata if isinstance(value, str)}
        refusal = self._authorization.refusal(method, carrier)
        if refusal is not None:
            handler = grpc.unary_unary_rpc_method_handler(_refuse_with(refusal))

        async def answer(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
            started, status = time.perf_counter(), grpc.StatusCode.OK
            with tracing.continue_trace(method, tracing.SpanKind.SERVER, carrier):
                try:
                    return await handler.unary_unary(request, context)
                except Exception as error:
                    status, detail, trailer = self._status_of(error)
                finally:
                    seconds = time.perf_counter() - started
                    SERVER_SECONDS.labels(method, status.name).observe(seconds, tracing.exemplar())
                    log.info("call", rpc=method, status=status.name, milliseconds=round(seconds * 1000, 1))
                return await context.abort(status, detail, trailer)

        return grpc.unary_unary_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)

    def _status_of(self, error: Exception) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
        if isinstance(error, CallRefused):
            return error.status, str(error), ()
        problem = find_problem(error, self._table)
        if problem is None:
            log.error("unforeseen error", exc_info=error)
            return grpc.StatusCode.INTERNAL, "an unexpected error, which is logged with the trace id", ()
        members = json.dumps(dict(problem.members(error))).encode()
        return _STATUS_OF_HTTP[problem.status], str(error), ((CODE_KEY, problem.code), (MEMBERS_KEY, members))


def _refuse_with(refusal: CallRefused) -> Callable[[Any, Any], Awaitable[Any]]:
    async def refuse(request: Any, context: Any) -> Any:
        raise refusal

    return refuse
