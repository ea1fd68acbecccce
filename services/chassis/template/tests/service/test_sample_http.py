"""The service over HTTP, on a real PostgreSQL."""

import asyncio

import pytest
from chassis_testing.ids import UNKNOWN_ID
from sample_harness import PATH, Samples


async def test_what_is_opened_is_there(samples: Samples) -> None:
    opened = await samples.open(user=1, name="First")

    assert (await samples.get(1, f"/{opened['id']}")).json()["data"] == opened
    assert (opened["name"], opened["closed_at"]) == ("First", None)


async def test_a_list_has_the_newest_first_and_nobody_elses(samples: Samples) -> None:
    names = ["one", "two", "three"]
    for name in names:
        await samples.open(user=2, name=name)
    await samples.open(user=3, name="another's")

    page = (await samples.get(2, "?limit=2")).json()

    assert [sample["name"] for sample in page["data"]] == ["three", "two"]
    assert (page["page"], page["limit"], page["total"]) == (1, 2, 3)


async def test_it_is_closed_once_however_many_try_at_once(samples: Samples) -> None:
    opened = await samples.open(user=4, name="First")

    answers = await asyncio.gather(*(samples.close(4, opened["id"]) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"already_closed"}
    assert (await samples.get(4, f"/{opened['id']}")).json()["data"]["closed_at"] is not None


async def test_anothers_is_unknown(samples: Samples) -> None:
    opened = await samples.open(user=5, name="First")

    answers = [
        await samples.get(6, f"/{opened['id']}"),
        await samples.close(6, opened["id"]),
        await samples.get(5, f"/{UNKNOWN_ID}"),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "unknown_sample")] * 3


@pytest.mark.parametrize("name", ["", "x" * 101, "a\x00b", 5, None])
async def test_a_bad_name_is_refused(samples: Samples, name: object) -> None:
    answer = await samples.post(7, name=name)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert answer.json()["errors"][0]["field"] == "name"


async def test_nobody_gets_in_without_a_token(samples: Samples) -> None:
    answers = [await samples.http.get(PATH), await samples.http.post(PATH, json={"name": "First"})]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(401, "unauthenticated")] * 2


async def test_probes_and_documentation_answer(samples: Samples) -> None:
    for path in ("/health", "/ready", "/swagger/", "/openapi.json"):
        assert (await samples.http.get(path)).status_code == 200, path
