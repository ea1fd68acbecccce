"""Problems: what a client sees of an error (RFC 9457), and how OpenAPI documents describe it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """The HTTP status and the stable code that a client sees for a kind of error."""

    status: int
    code: str
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Callable[[Any], Mapping[str, object]] = lambda _error: {}
    """Builds further members of the problem document from the error."""


ProblemTable = Mapping[type[Exception], Problem]
"""The problem of each of a service's domain errors, for HTTP and gRPC."""


def problem_document(problem: Problem, detail: str, **members: object) -> dict[str, object]:
    """Builds the body of an RFC 9457 response."""
    return {
        "type": f"urn:ecommerce:problem:{problem.code}",
        "title": problem.code.replace("_", " ").capitalize(),
        "status": problem.status,
        "code": problem.code,
        "detail": detail,
        **members,
    }


PROBLEM_MEDIA_TYPE = "application/problem+json"
PROBLEM_SCHEMA: Mapping[str, object] = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable identifier of the kind of error, for programs"},
        "detail": {"type": "string", "description": "What happened and what to do about it, for people"},
        "errors": {
            "type": "array",
            "description": "With the code `invalid_field`: each invalid field, and why it is invalid",
            "items": {
                "title": "FieldError",
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
    "additionalProperties": True,
}
"""The JSON Schema of a problem document. Some codes have further members."""
