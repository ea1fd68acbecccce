"""Errors over HTTP: every error becomes a problem document (RFC 9457)."""

from collections.abc import Awaitable, Callable, Sequence
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
_BY_STATUS = {
    problem.status: problem
    for problem in (MALFORMED_JSON, Problem(404, "no_such_route"), Problem(405, "method_not_allowed"), BODY_TOO_LARGE)
}


def openapi_problem(description: str) -> dict[str, Any]:
    """How an OpenAPI document describes an answer that is a problem."""
    return {"description": description, "content": {PROBLEM_MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}}}


def problem_response(problem: Problem, detail: str, **members: object) -> JSONResponse:
    return JSONResponse(
        problem_document(problem, detail, **members), problem.status, dict(problem.headers), PROBLEM_MEDIA_TYPE
    )


def add_error_handlers(api: FastAPI, table: ProblemTable, routes: Sequence[BaseRoute]) -> None:
    @api.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error)

    @api.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        headers = {"Allow": _methods(routes, request.scope)} if error.status_code == 405 else error.headers or {}
        problem = _BY_STATUS.get(error.status_code) or Problem(error.status_code, "refused")
        return problem_response(replace(problem, headers=headers), str(error.detail))

    @api.exception_handler(Exception)
    async def unforeseen(_request: Request, _error: Exception) -> JSONResponse:
        return internal_error()  # and Starlette raises the error again, for Edge to log

    kinds: set[type[Exception]] = {ProblemError, *COMMON_PROBLEMS, *table}
    for kind in kinds:
        api.add_exception_handler(kind, _foreseen(table))


def _foreseen(table: ProblemTable) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def answer(_request: Request, error: Exception) -> JSONResponse:
        problem = find_problem(error, table)
        if problem is None:
            raise error
        members = error.members if isinstance(error, ProblemError) else problem.members(error)
        return problem_response(problem, str(error), **members)

    return answer


def _invalid(error: RequestValidationError) -> JSONResponse:
    complaints = error.errors()
    if any(complaint["type"] == "json_invalid" for complaint in complaints):
        return problem_response(MALFORMED_JSON, "the body is not JSON")
    fields = [
        {"field": ".".join(str(part) for part in c["loc"][1:]) or str(c["loc"][0]), "message": _plain(c["msg"])}
        for c in complaints
    ]
    summary = "; ".join(f"{field['field']}: {field['message']}" for field in fields[:5])
    return problem_response(INVALID_FIELD, summary, errors=fields)


def _plain(message: str) -> str:
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _methods(routes: Sequence[BaseRoute], scope: Scope) -> str:
    """What a path can be asked for: its methods are on routes of their own, of which Starlette names only the first."""
    matching = [route for route in routes if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE]
    spelt_out = min((route.path for route in matching), key=lambda path: path.count("{"), default="")
    methods = {method for route in matching if route.path == spelt_out for method in route.methods or ()}
    return ", ".join(sorted(methods))


def internal_error() -> JSONResponse:
    trace_id = trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)
    return problem_response(INTERNAL, f"an unforeseen error; it is logged as trace {trace_id}")
