"""Content negotiation, and responses as CSV."""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from chassis.http.app import Readiness, create_app
from chassis.http.csv_documents import CSV, CSV_RESPONSES, CsvRoute, to_csv
from chassis.http.negotiation import choose_media_type
from chassis.http.schemas import Data, Money, PageOf, PageQuery, ResponseBody
from chassis_testing.services import http_client
from fastapi import APIRouter
from hypothesis import given
from hypothesis import strategies as st

JSON = "application/json"


class Recipient(ResponseBody):
    name: str
    city: str | None


class Sale(ResponseBody):
    id: int
    total: Money
    recipient: Recipient | None
    paid: bool
    tags: list[str]


SALES = [
    Sale(
        id=1,
        total=Money(amount=-1290, currency="EUR"),
        recipient=Recipient(name='Ann "A", Ltd', city=None),
        paid=True,
        tags=[],
    ),
    Sale(id=2, total=Money(amount=5, currency="JPY"), recipient=None, paid=False, tags=["naïve", "=1"]),
    Sale(
        id=3,
        total=Money(amount=0, currency="USD"),
        recipient=Recipient(name='=HYPERLINK("http://x")', city="a\nb"),
        paid=True,
        tags=[],
    ),
]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    router = APIRouter(route_class=CsvRoute)

    @router.get("/sales", responses=CSV_RESPONSES)
    async def sales(paging: PageQuery) -> PageOf[Sale]:
        page = SALES[paging.offset : paging.offset + paging.limit]
        return PageOf(data=page, page=paging.page, limit=paging.limit, total=len(SALES))

    @router.get("/sale", responses=CSV_RESPONSES)
    async def sale() -> Data[Sale]:
        return Data(data=SALES[1])

    @router.get("/none", responses=CSV_RESPONSES)
    async def none() -> Data[list[Sale]]:
        return Data(data=[])

    @router.get("/other")
    async def other() -> Data[Sale]:
        return Data(data=SALES[1])

    @router.delete("/other", status_code=204)
    async def delete() -> None:
        return None

    async with http_client(create_app("Test", "1", [router], {}, Readiness())) as http:
        yield http


async def get(client: httpx.AsyncClient, path: str, accept: str = CSV) -> httpx.Response:
    return await client.get(path, headers={"Accept": accept})


async def test_a_list_is_a_table_with_money_and_nested_objects_in_columns(client: httpx.AsyncClient) -> None:
    response = await get(client, "/sales")

    assert (response.status_code, response.headers["content-type"]) == (200, "text/csv; charset=utf-8; header=present")
    assert response.headers["vary"] == "Accept"
    assert response.headers["content-disposition"] == 'attachment; filename="sales.csv"'
    assert response.text == (
        "id,total.amount,total.currency,recipient.name,recipient.city,paid,tags\r\n"
        '1,-1290,EUR,"Ann ""A"", Ltd",,true,[]\r\n'
        '2,5,JPY,,,false,"[""naïve"", ""=1""]"\r\n'
        '3,0,USD,"\'=HYPERLINK(""http://x"")","a\nb",true,[]\r\n'
    )


async def test_a_page_links_to_the_next_one_until_the_last(client: httpx.AsyncClient) -> None:
    first = await get(client, "/sales?limit=2")
    assert first.headers["link"] == '<?limit=2&page=2>; rel="next"'

    last = await get(client, "/sales?limit=2&page=2")

    assert "link" not in last.headers
    assert [len(list(csv.reader(io.StringIO(page.text)))) for page in (first, last)] == [3, 2]


async def test_one_object_is_one_row_and_no_object_only_the_header(client: httpx.AsyncClient) -> None:
    assert (await get(client, "/sale")).text.count("\r\n") == 2
    assert (await get(client, "/none")).text == (
        "id,total.amount,total.currency,recipient.name,recipient.city,paid,tags\r\n"
    )


async def test_a_client_that_does_not_prefer_csv_gets_json(client: httpx.AsyncClient) -> None:
    for accept in ("*/*", "application/json", "text/csv;q=0.5, application/json", "text/html, */*;q=0.1", ""):
        response = await get(client, "/sales", accept)
        assert (response.status_code, response.headers["content-type"]) == (200, JSON), accept
        assert response.headers["vary"] == "Accept"
        assert response.json()["total"] == 3


async def test_an_error_is_a_problem_also_for_clients_that_prefer_csv(client: httpx.AsyncClient) -> None:
    response = await get(client, "/sales?limit=0")

    assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize("path", ["/other", "/health"])
async def test_a_route_without_an_acceptable_type_is_refused(client: httpx.AsyncClient, path: str) -> None:
    response = await get(client, path)

    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")
    assert JSON in response.json()["detail"]
    assert (await get(client, path, f"{CSV}, */*;q=0.1")).status_code == 200


async def test_a_response_without_content_is_always_acceptable(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/other", headers={"Accept": CSV})).status_code == 204


async def test_the_documentation_names_both_types(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    assert set(paths["/sales"]["get"]["responses"]["200"]["content"]) == {JSON, CSV}
    assert set(paths["/other"]["get"]["responses"]["200"]["content"]) == {JSON}


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ([], JSON),
        ([""], JSON),
        (["nonsense"], JSON),
        (["text/csv"], CSV),
        (["TEXT/CSV; charset=utf-8"], CSV),
        (["text/*"], CSV),
        (["*/*"], JSON),
        (["text/csv, */*"], CSV),
        (["application/json, text/csv"], JSON),
        (["application/json;q=0.8, text/csv;q=0.9"], CSV),
        (["application/json;q=0.8", "text/csv;q=0.9"], CSV),
        (["*/*, application/json;q=0"], CSV),
        (["text/csv;q=0"], None),
        (["text/html"], None),
        (["text/csv;q=x"], JSON),
    ],
)
def test_the_most_preferred_type_is_chosen(accept: Sequence[str], chosen: str | None) -> None:
    assert choose_media_type(accept, [JSON, CSV]) == chosen


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=5))
def test_a_table_is_read_back_as_it_was_written_but_for_formulas(values: list[str]) -> None:
    rows: list[dict[str, Any]] = [{"text": value, "number": -1} for value in values]

    read = list(csv.reader(io.StringIO(to_csv(rows, [("text",), ("number",)]), newline="")))

    assert read[0] == ["text", "number"]
    assert [row[1] for row in read[1:]] == ["-1"] * len(values)
    assert [row[0].removeprefix("'") for row in read[1:]] == [value.removeprefix("'") for value in values]
    assert not any(row[0].startswith(("=", "+", "-", "@", "\t", "\r")) for row in read[1:])
