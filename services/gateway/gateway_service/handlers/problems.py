"""Maps the errors of this service to problems."""

from chassis.http.protocol import REQUEST_TIMEOUT
from chassis.types.problem import Problem, ProblemTable

from gateway_service.domain.errors import (
    BodyNotAllowed,
    CallerDisconnected,
    CircuitOpen,
    GatewayBusy,
    MethodNotAllowed,
    NoSuchRoute,
    RequestBodyTimeout,
    RoleNotAllowed,
    SessionEnded,
    TooManyConcurrentRequests,
    TooManyRequests,
    UpstreamBusy,
    UpstreamTimeout,
    UpstreamUnavailable,
)

_RETRY_SOON = {"Retry-After": "1"}

PROBLEMS: ProblemTable = {
    NoSuchRoute: Problem(404, "no_such_route"),
    MethodNotAllowed: Problem(405, "method_not_allowed"),
    RoleNotAllowed: Problem(403, "forbidden"),
    SessionEnded: Problem(401, "session_ended", {"WWW-Authenticate": 'Bearer error="invalid_token"'}),
    TooManyRequests: Problem(429, "too_many_requests"),
    TooManyConcurrentRequests: Problem(429, "too_many_concurrent_requests", _RETRY_SOON),
    BodyNotAllowed: Problem(400, "body_not_allowed"),
    CallerDisconnected: Problem(400, "caller_gone"),
    RequestBodyTimeout: REQUEST_TIMEOUT,
    GatewayBusy: Problem(503, "gateway_busy", _RETRY_SOON),
    UpstreamUnavailable: Problem(503, "upstream_unavailable", _RETRY_SOON),
    CircuitOpen: Problem(503, "circuit_open", _RETRY_SOON),
    UpstreamBusy: Problem(503, "upstream_busy", _RETRY_SOON),
    UpstreamTimeout: Problem(503, "upstream_timeout", _RETRY_SOON),
}
