"""The problems that clients see of this service's errors, over HTTP and gRPC."""

from chassis.types.problem import Problem, ProblemTable

from sample_service.domain.errors import AlreadyClosed, UnknownSample

PROBLEMS: ProblemTable = {
    UnknownSample: Problem(404, "unknown_sample"),
    AlreadyClosed: Problem(409, "already_closed"),
}
