"""What surrounds every request."""

from collections.abc import AsyncIterator

import httpx
import pytest
from chassis.errors import DatabaseUnavailable, NeighbourUnavailable
from chassis.http.app import Readiness, create_app
from chassis.http.middleware import MAX_BODY_BYTES
from chassis.http.schemas import PageQuery, PathId, Quantity, RequestBody, StorableText
from chassis.types.ids import MAX_ID
from chassis.types.problem import Problem
from chassis_testing.services import http_client
from fastapi import APIRouter


class Taken(Exception):
    pass


class Name(RequestBody):
    name: StorableText


class Count(RequestBody):
    quantity: Quantity


JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def service() -> AsyncIterator[httpx.AsyncClient]:
    router = APIRouter()
    errors = {
        "taken": Taken("the name is taken: choose another"),
        "neighbour": NeighbourUnavailable("try again"),
        "database": DatabaseUnavailable("away"),
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

    @router.get("/fail/{kind}")
    async def fail(kind: str) -> None:
        raise errors[kind]

    @router.get("/things/{thing_id}")
    async def thing(thing_id: PathId, paging: PageQuery) -> dict[str, int]:
        return {"id": thing_id, "offset": paging.offset}

    ready = Readiness()
    async with http_client(create_app("Test", "1", [router], {Taken: Problem(409, "taken")}, ready)) as caller:
        yield caller


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("taken", 409, "taken"),
        ("neighbour", 503, "neighbour_unavailable"),
        ("database", 503, "database_unavailable"),
        ("bug", 500, "internal"),
    ],
)
async def test_an_error_is_a_problem_document_with_a_stable_code(
    service: httpx.AsyncClient, kind: str, status: int, code: str
) -> None:
    answer = await service.get(f"/fail/{kind}")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert answer.json()["status"] == status
    assert "secret" not in answer.text
    assert (answer.headers.get("retry-after") == "1") == (status == 503)


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
async def test_a_bad_body_is_refused_with_a_stable_code(
    service: httpx.AsyncClient, body: bytes, status: int, code: str
) -> None:
    answer = await service.post("/names", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("inside", [False, True])
async def test_a_body_of_unknown_fields_is_one_complaint_and_not_a_hundred_thousand(
    service: httpx.AsyncClient, inside: bool
) -> None:
    fields = {f"a{number}": 0 for number in range(50_000)}
    answer = await service.post("/names", json={"name": fields} if inside else fields)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert answer.json()["errors"] == [{"field": "body", "message": "no object may have more than 100 fields"}]


async def test_a_body_without_a_declared_length_is_limited_too(service: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 1000 + 2):
            yield b" " * 1000

    answer = await service.post("/names", content=endless(), headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "path", ["/things/0", f"/things/{MAX_ID + 1}", "/things/1?page=0", "/things/1?limit=101", "/things/1?page=9e9"]
)
async def test_what_cannot_exist_is_a_bad_field(service: httpx.AsyncClient, path: str) -> None:
    answer = await service.get(path)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/no", 404, "no_such_route"), ("PUT", "/names", 405, "method_not_allowed")],
)
async def test_an_unknown_route_is_a_problem_too(
    service: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await service.request(method, path)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_refused_method_names_all_that_the_path_can_be_asked_for(service: httpx.AsyncClient) -> None:
    answer = await service.put("/names")

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(
    ("quantity", "status"), [("2", 200), ("2.0", 200), ("2.5", 422), ('"2"', 422), ("true", 422), ("1e400", 422)]
)
async def test_an_integer_is_what_json_schema_calls_one(service: httpx.AsyncClient, quantity: str, status: int) -> None:
    answer = await service.post("/counts", content=f'{{"quantity": {quantity}}}', headers=JSON)

    assert answer.status_code == status


@pytest.mark.parametrize(("sent", "kept"), [("abc-1", True), ("a b", False), ("x" * 129, False)])
async def test_a_request_keeps_its_id_if_it_has_a_good_one(service: httpx.AsyncClient, sent: str, kept: bool) -> None:
    answer = await service.get("/health", headers={"X-Request-Id": sent})

    assert (answer.headers["x-request-id"] == sent) == kept
    assert answer.headers["x-request-id"]


async def test_a_stopping_process_is_alive_and_not_ready() -> None:
    ready = Readiness()
    async with http_client(create_app("Test", "1", [], {}, ready)) as caller:
        assert (await caller.get("/ready")).status_code == 200
        ready.stop()
        assert (await caller.get("/ready")).json()["code"] == "not_ready"
        assert (await caller.get("/health")).status_code == 200


async def test_the_documentation_needs_no_other_host(service: httpx.AsyncClient) -> None:
    page = await service.get("/swagger/")

    assert "//cdn" not in page.text
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert (await service.get(f"/swagger/assets/{asset}")).status_code == 200
