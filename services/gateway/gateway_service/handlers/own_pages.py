"""Serves the gateway's own pages: the root, and the merged OpenAPI document."""

from collections.abc import Awaitable, Callable

from chassis.http.problems import problem_response
from chassis.http.schemas import Data
from chassis.types.problem import Problem
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

OPENAPI_PATH = "/openapi.json"


class ApiInfo(BaseModel):
    """The name and version of the API, and the paths of its documentation and operations."""

    name: str
    version: str
    documentation: str = "/swagger/"
    api: str = "/api/v1"


def root_routes(title: str, version: str) -> APIRouter:
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def root() -> Data[ApiInfo]:
        return Data(data=ApiInfo(name=title, version=version))

    return router


def openapi_app(current: Callable[[], Awaitable[bytes]]) -> ASGIApp:
    """Returns the application that serves the merged OpenAPI document."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = _OpenApiRoute
        is_get = scope["method"] == "GET"
        response = Response(await current(), media_type="application/json") if is_get else _METHOD_NOT_ALLOWED
        await response(scope, receive, send)

    return serve


class _OpenApiRoute:
    path = OPENAPI_PATH


_METHOD_NOT_ALLOWED = problem_response(
    Problem(405, "method_not_allowed", {"Allow": "GET, HEAD"}), "the OpenAPI document can only be read"
)
