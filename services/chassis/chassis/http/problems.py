"""Errors over HTTP: every error becomes a problem document (RFC 9457)."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from opentelemetry import trace
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from chassis.errors import COMMON_PROBLEMS, ProblemError, find_problem
from chassis.types.problem import PROBLEM_MEDIA_TYPE, PROBLEM_SCHEMA, Problem, ProblemTable, problem_document

MALFORMED_JSON = Problem(400, "malformed_json")
INVALID_FIELD = Problem(422, "invalid_field")
NOT_READY = Problem(503, "not_ready", {"Retry-After": "1"})
INTERNAL = Problem(500, "internal")
BODY_TOO_LARGE = Problem(413, "body_too_large")
_DECODED_PLUS = re.compile(r"\d:\d\d\S* \d\d:?\d\d$")
_PLUS_HINT = ": write the + of an offset as %2B, because a + in a query stands for a blank"
_PROBLEMS_BY_STATUS = {
    problem.status: problem
    for problem in (MALFORMED_JSON, Problem(404, "no_such_route"), Problem(405, "method_not_allowed"), BODY_TOO_LARGE)
}


def openapi_problem(description: str, **members: Mapping[str, object]) -> dict[str, Any]:
    """Returns the OpenAPI description of a response that is a problem.

    `members` are the JSON Schemas of the further members that some of its codes have.
    """
    further = {"type": "object", "properties": members}
    schema = {"allOf": [PROBLEM_SCHEMA, further]} if members else PROBLEM_SCHEMA
    return {"description": description, "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}}}


def problem_response(problem: Problem, detail: str, **members: object) -> JSONResponse:
    """Returns the response for a problem, with further members of its document."""
    return JSONResponse(
        problem_document(problem, detail, **members), problem.status, dict(problem.headers), PROBLEM_MEDIA_TYPE
    )


def internal_error() -> JSONResponse:
    """Returns the response for an unexpected error, which names the trace that its log line has."""
    trace_id = trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)
    return problem_response(INTERNAL, f"an unexpected error, which is logged as trace {trace_id}")


def add_error_handlers(api: FastAPI, table: ProblemTable, routes: Sequence[BaseRoute]) -> None:
    """Makes the application answer every error with a problem: those of `table`, the common and the framework's."""

    @api.exception_handler(RequestValidationError)
    async def invalid_request(_request: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid_request(error)

    @api.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        headers = {"Allow": _methods(routes, request.scope)} if error.status_code == 405 else error.headers or {}
        problem = _PROBLEMS_BY_STATUS.get(error.status_code) or Problem(error.status_code, "refused")
        return problem_response(replace(problem, headers=headers), str(error.detail))

    @api.exception_handler(Exception)
    async def unexpected_error(_request: Request, _error: Exception) -> JSONResponse:
        return internal_error()  # Starlette raises the error again, so that RequestMiddleware logs it

    error_classes: set[type[Exception]] = {ProblemError, *COMMON_PROBLEMS, *table}
    for error_class in error_classes:
        api.add_exception_handler(error_class, _expected_error_handler(table))


def _expected_error_handler(table: ProblemTable) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def answer(_request: Request, error: Exception) -> JSONResponse:
        problem = find_problem(error, table)
        if problem is None:
            raise error
        members = error.members if isinstance(error, ProblemError) else problem.members(error)
        return problem_response(problem, str(error), **members)

    return answer


def _invalid_request(error: RequestValidationError) -> JSONResponse:
    errors = error.errors()
    if any(each["type"] == "json_invalid" for each in errors):
        return problem_response(MALFORMED_JSON, "the body is not JSON")
    fields = [
        {"field": ".".join(map(str, each["loc"][1:])) or str(each["loc"][0]), "message": _message(each)}
        for each in errors
    ]
    summary = "; ".join(f"{field['field']}: {field['message']}" for field in fields[:5])
    return problem_response(INVALID_FIELD, summary, errors=fields)


def _message(error: Mapping[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:] + (_PLUS_HINT if _has_decoded_plus(error) else "")


def _has_decoded_plus(error: Mapping[str, Any]) -> bool:
    """Returns whether a time of the query was refused for a blank that was sent as the `+` of its offset."""
    is_time = error["loc"][0] == "query" and str(error["type"]).startswith("datetime")
    return is_time and isinstance(error["input"], str) and _DECODED_PLUS.search(error["input"]) is not None


def _methods(routes: Sequence[BaseRoute], scope: Scope) -> str:
    """Returns the methods that a path allows, as the Allow header has them.

    Each method is a route of its own, and Starlette names only the method of the first. Of several path templates that
    match, the one with the fewest parameters counts.
    """
    matching = [route for route in routes if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE]
    most_specific = min((route.path for route in matching), key=lambda path: path.count("{"), default="")
    methods = {method for route in matching if route.path == most_specific for method in route.methods or ()}
    return ", ".join(sorted(methods))
