"""The HTTP application of a service: problems, validation, request ids, probes and documentation."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import httpx
import pytest
from chassis.errors import DatabaseUnavailable, NeighbourUnavailable
from chassis.http.app import Readiness, create_app
from chassis.http.middleware import MAX_BODY_BYTES
from chassis.http.schemas import PageQuery, PathId, Quantity, RequestBody, StorableText, query_fields
from chassis.types.ids import MAX_ID
from chassis.types.problem import Problem
from chassis_testing.services import http_client
from fastapi import APIRouter, Depends, Query


class Taken(Exception):
    pass


class Name(RequestBody):
    name: StorableText


class Count(RequestBody):
    quantity: Quantity


JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    router = APIRouter()
    errors = {
        "taken": Taken("the name is taken: choose another"),
        "neighbour": NeighbourUnavailable("try again"),
        "database": DatabaseUnavailable("unavailable"),
        "bug": RuntimeError("secret detail"),
    }

    @router.post("/names")
    async def name(request: Name) -> Name:
        return request

    @router.post("/counts")
    async def count(request: Count) -> Count:
        return request

    @router.get("/names")
    async def names() -> list[str]:
        return []

    @router.get("/times")
    async def times(since: datetime) -> str:
        return since.isoformat()

    @router.get("/fail/{kind}")
    async def fail(kind: str) -> None:
        raise errors[kind]

    @router.get("/things/{thing_id}")
    async def thing(thing_id: PathId, paging: PageQuery) -> dict[str, int]:
        return {"id": thing_id, "offset": paging.offset}

    ready = Readiness()
    async with http_client(create_app("Test", "1", [router], {Taken: Problem(409, "taken")}, ready)) as client:
        yield client


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("taken", 409, "taken"),
        ("neighbour", 503, "neighbour_unavailable"),
        ("database", 503, "database_unavailable"),
        ("bug", 500, "internal"),
    ],
)
async def test_every_error_is_a_problem_document_with_a_stable_code(
    client: httpx.AsyncClient, kind: str, status: int, code: str
) -> None:
    response = await client.get(f"/fail/{kind}")

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == code
    assert response.json()["status"] == status
    assert "secret" not in response.text
    assert (response.headers.get("retry-after") == "1") == (status == 503)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b"\xff", 400, "malformed_json"),
        (b"", 422, "invalid_field"),
        (b'{"name": "a\\u0000b"}', 422, "invalid_field"),
        (b'{"name": "\\ud800"}', 422, "invalid_field"),
        (b'{"name": 1}', 422, "invalid_field"),
        (b'{"name": "a", "admin": true}', 422, "invalid_field"),
        (b'{"name": "' + b"a" * MAX_BODY_BYTES + b'"}', 413, "body_too_large"),
        (b"[" * 100_000, 400, "malformed_json"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_an_invalid_body_is_refused_with_a_stable_code(
    client: httpx.AsyncClient, body: bytes, status: int, code: str
) -> None:
    response = await client.post("/names", content=body, headers=JSON)

    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize("nested", [False, True])
async def test_an_object_of_very_many_fields_is_refused_with_one_error(client: httpx.AsyncClient, nested: bool) -> None:
    fields = {f"a{number}": 0 for number in range(50_000)}
    response = await client.post("/names", json={"name": fields} if nested else fields)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
    assert response.json()["errors"] == [{"field": "body", "message": "no object may have more than 100 fields"}]


async def test_a_body_without_content_length_is_limited(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 1000 + 2):
            yield b" " * 1000

    response = await client.post("/names", content=endless(), headers=JSON)

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "path", ["/things/0", f"/things/{MAX_ID + 1}", "/things/1?page=0", "/things/1?limit=101", "/things/1?page=9e9"]
)
async def test_a_parameter_out_of_range_is_an_invalid_field(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/no", 404, "no_such_route"), ("PUT", "/names", 405, "method_not_allowed")],
)
async def test_an_unknown_route_or_method_is_a_problem(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    response = await client.request(method, path)

    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("value", "is_explained"),
    [
        ("2026-01-01T00:00:00+01:00", True),
        ("2026-01-01T00:00+0530", True),
        ("2026-01-01T00:00:00.5+01:00", True),
        ("2026-01-01T00:00:00%2B01:0", False),
        ("yesterday+01:00", False),
        ("2026-13-01", False),
    ],
)
async def test_a_plus_of_a_time_that_was_not_encoded_is_explained(
    client: httpx.AsyncClient, value: str, is_explained: bool
) -> None:
    response = await client.get(f"/times?since={value}")

    assert response.status_code == 422
    assert ("%2B" in response.json()["errors"][0]["message"]) is is_explained
    assert (await client.get(f"/times?since={value.replace('+', '%2B')}")).status_code == (200 if is_explained else 422)


async def test_a_refused_method_names_all_allowed_methods(client: httpx.AsyncClient) -> None:
    response = await client.put("/names")

    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(
    ("quantity", "status"), [("2", 200), ("2.0", 200), ("2.5", 422), ('"2"', 422), ("true", 422), ("1e400", 422)]
)
async def test_an_integer_is_what_json_schema_calls_integer(
    client: httpx.AsyncClient, quantity: str, status: int
) -> None:
    response = await client.post("/counts", content=f'{{"quantity": {quantity}}}', headers=JSON)

    assert response.status_code == status


@pytest.mark.parametrize(("sent", "kept"), [("abc-1", True), ("a b", False), ("x" * 129, False)])
async def test_a_valid_request_id_is_kept(client: httpx.AsyncClient, sent: str, kept: bool) -> None:
    response = await client.get("/health", headers={"X-Request-Id": sent})

    assert (response.headers["x-request-id"] == sent) == kept
    assert response.headers["x-request-id"]


def test_a_dependency_that_would_run_in_a_thread_is_refused() -> None:
    def current_page() -> int:
        return 1

    async def last_page(page: Annotated[int, Depends(current_page)]) -> int:
        return page

    router = APIRouter()

    @router.get("/pages")
    async def pages(last: Annotated[int, Depends(last_page)]) -> int:
        return last

    with pytest.raises(TypeError, match="current_page would run in a thread"):
        create_app("Test", "1", [router], {}, Readiness())


class Pages:
    def first(self) -> int:
        return 1

    def __call__(self) -> int:
        return 1


class AsyncPages:
    async def first(self) -> int:
        return 1

    async def __call__(self) -> int:
        return 1


def generated_page() -> Iterator[int]:
    yield 1


async def async_generated_page() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("dependency", "name"),
    [
        (Pages().first, "Pages.first"),
        (Pages(), "Pages"),
        (Pages, "Pages"),
        (AsyncPages, "AsyncPages"),
        (generated_page, "generated_page"),
    ],
)
def test_a_callable_that_would_run_in_a_thread_is_refused(dependency: Callable[[], object], name: str) -> None:
    router = APIRouter()

    @router.get("/pages", dependencies=[Depends(dependency)])
    async def pages() -> None: ...

    with pytest.raises(TypeError, match=f"^{name} would run in a thread"):
        create_app("Test", "1", [router], {}, Readiness())


def test_an_endpoint_that_would_run_in_a_thread_is_refused() -> None:
    router = APIRouter()

    @router.get("/pages")
    def pages() -> None: ...

    with pytest.raises(TypeError, match="pages would run in a thread"):
        create_app("Test", "1", [router], {}, Readiness())


@pytest.mark.parametrize("dependency", [AsyncPages().first, AsyncPages(), async_generated_page])
async def test_an_async_callable_is_a_dependency(dependency: Callable[[], object]) -> None:
    router = APIRouter()

    @router.get("/pages")
    async def pages(page: Annotated[int, Depends(dependency)]) -> int:
        return page

    async with http_client(create_app("Test", "1", [router], {}, Readiness())) as client:
        assert (await client.get("/pages")).json() == 1


@dataclass(frozen=True, slots=True)
class CupFilter:
    size: Annotated[int, Query(ge=1)]
    color: Annotated[str | None, Query(alias="colour")] = None


async def test_the_fields_of_a_dataclass_are_read_from_the_query() -> None:
    router = APIRouter()

    @router.get("/cups")
    async def cups(filters: Annotated[CupFilter, Depends(query_fields(CupFilter))]) -> list[int | str | None]:
        return [filters.size, filters.color]

    async with http_client(create_app("Test", "1", [router], {}, Readiness())) as client:
        assert (await client.get("/cups?size=2&colour=red")).json() == [2, "red"]
        assert (await client.get("/cups?size=2")).json() == [2, None]
        assert (await client.get("/cups?size=0")).status_code == 422


async def test_a_stopping_process_is_alive_but_not_ready() -> None:
    ready = Readiness()
    async with http_client(create_app("Test", "1", [], {}, ready)) as client:
        assert (await client.get("/ready")).status_code == 200
        ready.stop()
        assert (await client.get("/ready")).json()["code"] == "not_ready"
        assert (await client.get("/health")).status_code == 200


async def test_the_documentation_loads_nothing_from_other_hosts(client: httpx.AsyncClient) -> None:
    page = await client.get("/swagger/")

    assert "//cdn" not in page.text
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert (await client.get(f"/swagger/assets/{asset}")).status_code == 200
