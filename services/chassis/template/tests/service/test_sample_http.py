"""The HTTP API, on a real PostgreSQL."""

import asyncio

import pytest
from chassis_testing.ids import UNKNOWN_ID
from sample_harness import PATH, SampleClient


async def test_an_opened_sample_can_be_read(client: SampleClient) -> None:
    opened = await client.open(user=1, name="First")

    assert (await client.get(1, f"/{opened['id']}")).json()["data"] == opened
    assert (opened["name"], opened["closed_at"]) == ("First", None)


async def test_the_list_has_only_the_callers_samples_newest_first(client: SampleClient) -> None:
    for name in ("one", "two", "three"):
        await client.open(user=2, name=name)
    await client.open(user=3, name="of another user")

    page = (await client.get(2, "?limit=2")).json()

    assert [sample["name"] for sample in page["data"]] == ["three", "two"]
    assert (page["page"], page["limit"], page["total"]) == (1, 2, 3)


async def test_concurrent_requests_close_a_sample_once(client: SampleClient) -> None:
    opened = await client.open(user=4, name="First")

    responses = await asyncio.gather(*(client.close(4, opened["id"]) for _ in range(5)))

    assert sorted(response.status_code for response in responses) == [200, 409, 409, 409, 409]
    assert {r.json()["code"] for r in responses if r.status_code == 409} == {"already_closed"}
    assert (await client.get(4, f"/{opened['id']}")).json()["data"]["closed_at"] is not None


async def test_the_sample_of_another_user_is_unknown(client: SampleClient) -> None:
    opened = await client.open(user=5, name="First")

    responses = [
        await client.get(6, f"/{opened['id']}"),
        await client.close(6, opened["id"]),
        await client.get(5, f"/{UNKNOWN_ID}"),
    ]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [(404, "unknown_sample")] * 3


@pytest.mark.parametrize("name", ["", "x" * 101, "a\x00b", 5, None])
async def test_an_invalid_name_is_refused(client: SampleClient, name: object) -> None:
    response = await client.post(7, name=name)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
    assert response.json()["errors"][0]["field"] == "name"


async def test_a_request_without_a_token_is_refused(client: SampleClient) -> None:
    responses = [await client.http.get(PATH), await client.http.post(PATH, json={"name": "First"})]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [(401, "unauthenticated")] * 2


async def test_probes_and_documentation_answer(client: SampleClient) -> None:
    for path in ("/health", "/ready", "/swagger/", "/openapi.json"):
        assert (await client.http.get(path)).status_code == 200, path
