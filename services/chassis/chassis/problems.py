"""Errors as people and programs meet them: RFC 9457 problem+json over HTTP, a status and the same code over gRPC.

A service lists its domain errors once, in a `ProblemTable`; both transports read it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

JSON_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """What a kind of error looks like outside: an HTTP status and a stable code."""

    status: int
    code: str
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Callable[[Any], Mapping[str, object]] = lambda _error: {}
    """Further members of the document, drawn from the error."""


class ProblemError(Exception):
    """An error that is born at the edge: a handler raises it directly."""

    def __init__(self, problem: Problem, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.problem = problem
        self.members = members


class NeighbourUnavailable(Exception):  # noqa: N818 - named for what happened
    """Another service did not answer in time. Nothing was changed here; the call may be repeated."""


class DatabaseUnavailable(Exception):  # noqa: N818 - named for what happened
    """The database is away, restarting, behind, or out of connections. What was begun is rolled back, or only its commit's answer lost."""


class KeyReused(Exception):  # noqa: N818 - named for what happened
    """An idempotency key came again with another request."""


ProblemTable = Mapping[type[Exception], Problem]

_RETRY_SOON = {"Retry-After": "1"}
COMMON: ProblemTable = {
    NeighbourUnavailable: Problem(503, "neighbour_unavailable", _RETRY_SOON),
    DatabaseUnavailable: Problem(503, "database_unavailable", _RETRY_SOON),
    KeyReused: Problem(422, "idempotency_key_reused"),
}
"""What may happen in every service. A part that is away is never the caller's fault and never a 500."""


def find(error: Exception, table: ProblemTable) -> Problem | None:
    """The problem for an error, the nearest class first; None for one that nobody foresaw."""
    if isinstance(error, ProblemError):
        return error.problem
    for kind in type(error).__mro__:
        problem = table.get(kind) or COMMON.get(kind)
        if problem is not None:
            return problem
    return None


def document(problem: Problem, text: str, **members: object) -> dict[str, object]:
    """The body of an RFC 9457 answer."""
    return {
        "type": f"urn:ecommerce:problem:{problem.code}",
        "title": problem.code.replace("_", " ").capitalize(),
        "status": problem.status,
        "code": problem.code,
        "detail": text,
        **members,
    }


GRPC_STATUS: Mapping[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
