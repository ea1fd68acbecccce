"""What this service's errors look like outside."""

from chassis.problems import Problem, ProblemTable

from gateway_service.domain.errors import CallerGone, NoSuchRoute, UpstreamTimeout, UpstreamUnavailable

_RETRY_SOON = {"Retry-After": "1"}

PROBLEMS: ProblemTable = {
    NoSuchRoute: Problem(404, "no_such_route"),
    CallerGone: Problem(400, "caller_gone"),
    UpstreamUnavailable: Problem(503, "upstream_unavailable", _RETRY_SOON),
    UpstreamTimeout: Problem(503, "upstream_timeout", _RETRY_SOON),
}
