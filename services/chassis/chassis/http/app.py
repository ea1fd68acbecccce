"""The HTTP application of a service: FastAPI with problem documents, probes and documentation."""

import importlib.resources
import inspect
from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp

from chassis.errors import ProblemError
from chassis.http.middleware import RequestMiddleware
from chassis.http.negotiation import require_acceptable
from chassis.http.problems import NOT_READY, add_error_handlers, openapi_problem
from chassis.types.problem import ProblemTable

_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""RequestMiddleware traces, measures and logs each request. FastAPI would do so again, and with query strings."""


class Readiness:
    """Reports whether this process accepts traffic: each of its own checks passes, and it is not stopping.

    The availability of neighbours does not matter.
    """

    def __init__(self, *checks: Callable[[], Awaitable[bool]]) -> None:
        self._checks = checks
        self._stopping = False

    def stop(self) -> None:
        """Makes the process unready for good."""
        self._stopping = True

    async def __call__(self) -> bool:
        return not self._stopping and all([await check() for check in self._checks])


def create_app(
    title: str,
    version: str,
    routers: Sequence[APIRouter],
    table: ProblemTable,
    ready: Readiness,
    *,
    is_public: bool = False,
) -> ASGIApp:
    """Returns the ASGI application of a service. `table` has the problems of its domain errors.

    `is_public` tells that its requests come from outside the shop. Raises TypeError for an endpoint or a
    dependency without `async`.
    """
    api = FastAPI(
        title=title,
        version=version,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,  # the method names of generated clients
        dependencies=[Depends(require_acceptable)],
        responses={"4XX": openapi_problem("RFC 9457 problem")},
        telemetry=_NO_TELEMETRY,
    )
    all_routers = [_probes(ready), *routers]
    add_error_handlers(api, table, [route for router in all_routers for route in router.routes])
    show_documentation(api, title)
    for router in all_routers:
        _refuse_threads(router)
        api.include_router(router)
    return RequestMiddleware(api, table, is_public=is_public)


def _refuse_threads(router: APIRouter) -> None:
    """Raises TypeError for what is not `async`: FastAPI runs it in a thread, which costs a request 0.2 ms."""
    for route in router.routes:
        dependants = [route.dependant] if isinstance(route, APIRoute) else []
        while dependants:
            dependant = dependants.pop()
            dependants += dependant.dependencies
            if dependant.call is not None and not _is_async(dependant.call):
                name = getattr(dependant.call, "__qualname__", type(dependant.call).__qualname__)
                raise TypeError(f"{name} would run in a thread: write async def")


def _is_async(call: Callable[..., object]) -> bool:
    """Returns whether a call returns a coroutine or an async generator. The call of a class returns an object."""
    methods: tuple[object, ...] = (call, type(call).__call__)
    return any(inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method) for method in methods)


def show_documentation(api: FastAPI, title: str) -> None:
    """Serves Swagger UI at /swagger/, with its assets from this process."""
    assets = importlib.resources.files("fastapi_offline") / "static"
    api.mount("/swagger/assets", StaticFiles(directory=str(assets)))

    @api.get("/swagger", include_in_schema=False)
    async def without_slash() -> RedirectResponse:
        return RedirectResponse("/swagger/")

    @api.get("/swagger/", include_in_schema=False)
    async def swagger() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="../openapi.json",
            title=title,
            swagger_js_url="assets/swagger-ui-bundle.js",
            swagger_css_url="assets/swagger-ui.css",
            swagger_favicon_url="assets/favicon.png",
        )


def _probes(ready: Readiness) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/health", summary="Check liveness", description="Answers as long as the process runs.")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/ready", summary="Check readiness", description="Answers 503 while the process must not get traffic.")
    async def readiness() -> dict[str, str]:
        if not await ready():
            raise ProblemError(NOT_READY, "this process is starting or stopping, or waits for its database")
        return {"status": "ready"}

    return router
