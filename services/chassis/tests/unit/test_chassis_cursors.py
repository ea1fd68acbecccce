"""Cursors of lists: encoded and decoded without loss, and everything else is refused."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

import httpx
import pytest
from chassis.http import cursors
from chassis.http.app import Readiness, create_app
from chassis.http.cursors import Cursor, CursorPageOf, TimeCursorQuery, TimePosition, decode_cursor, encode_cursor
from fastapi import APIRouter
from hypothesis import given
from hypothesis import strategies as st

NEWEST = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Item:
    id: UUID
    created_at: datetime


ITEMS = [Item(UUID(int=number), NEWEST - timedelta(seconds=number // 3)) for number in range(8, 0, -1)]
ITEMS.sort(key=lambda item: (item.created_at, item.id), reverse=True)


def routes() -> APIRouter:
    router = APIRouter()

    @router.get("/items")
    async def list_items(paging: TimeCursorQuery) -> CursorPageOf[int]:
        after = paging.after
        following = [item for item in ITEMS if after is None or (item.created_at, item.id) < after]
        items = following[paging.offset : paging.offset + paging.limit]
        total = len(ITEMS) if paging.counted is None else paging.counted
        return paging.page_of(items, [item.id.int for item in items], total, TimePosition.of)

    return router


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async def is_ready() -> bool:
        return True

    app = create_app("Items", "1", [routes()], {}, Readiness(is_ready))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


@given(
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.datetimes(timezones=st.just(UTC)),
    st.uuids(),
)
def test_a_cursor_is_decoded_as_it_was_encoded(page: int, total: int, at: datetime, item: UUID) -> None:
    cursor = Cursor(page, total, TimePosition(at, item))

    assert decode_cursor(encode_cursor(cursor), TimePosition) == cursor
    assert len(encode_cursor(cursor)) <= 200


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 9])
async def test_pages_by_cursor_have_every_item_once(http: httpx.AsyncClient, limit: int) -> None:
    seen, query, pages = [], f"limit={limit}", 0
    while query:
        page = (await http.get(f"/items?{query}")).json()
        seen += page["data"]
        pages += 1
        assert (page["page"], page["total"]) == (pages, 8)
        query = page["next"] and f"limit={limit}&cursor={page['next']}"

    assert seen == [item.id.int for item in ITEMS]


def encoded(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "%00", "x", "a" * 201, encoded(), encoded(1), encoded(1, 2, "2026-01-01T00:00:00+00:00", "not-a-uuid"),
        encoded(1, 2, "2026-01-01T00:00:00", "0" * 32), encoded("1", 2, "2026-01-01T00:00:00+00:00", "0" * 32),
        encoded(1, -2, "2026-01-01T00:00:00+00:00", "0" * 32), encoded(1, 2, 3, "0" * 32),
        encoded(1, 2, "2026-01-01T00:00:00+00:00", 7), encoded(True, 2, "2026-01-01T00:00:00+00:00", "0" * 32),
        encoded(1, 2, "0001-01-01T00:00:00+14:00", "0" * 32), encoded(1, 2, "2026-01-01T00:00:00+00:00"),
    ],
)  # fmt: skip
async def test_a_malformed_cursor_is_refused(http: httpx.AsyncClient, cursor: str) -> None:
    response = await http.get(f"/items?cursor={cursor}")

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
    assert [error["field"] for error in response.json()["errors"]] == ["cursor"]


@pytest.mark.parametrize(("query", "status"), [("page=101&limit=100", 422), ("page=100&limit=100", 200)])
async def test_items_after_the_first_ten_thousand_are_listed_by_cursor_alone(
    http: httpx.AsyncClient, query: str, status: int
) -> None:
    response = await http.get(f"/items?{query}")

    assert response.status_code == status
    if status == 422:
        assert "cursor" in response.json()["errors"][0]["message"]


async def test_a_cursor_is_decoded_once_a_request(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def decode(text: str, position: type[TimePosition]) -> Cursor[TimePosition]:
        decoded.append(text)
        return decode_cursor(text, position)

    monkeypatch.setattr(cursors, "decode_cursor", decode)
    cursor = (await http.get("/items?limit=3")).json()["next"]

    assert (await http.get(f"/items?limit=3&cursor={cursor}")).status_code == 200
    assert decoded == [cursor]


class Rank(StrEnum):
    HIGH = "high"


class Place(NamedTuple):
    rank: Rank
    number: int


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_positions_are_of_the_list_that_they_come_from(number: int) -> None:
    cursor = Cursor(2, 30, Place(Rank.HIGH, number))

    assert decode_cursor(encode_cursor(cursor), Place) == cursor
    with pytest.raises(ValueError, match="unchanged"):
        decode_cursor(encode_cursor(cursor), TimePosition)


@pytest.mark.parametrize("values", [("low", 1), ("high", 2**63), ("high", -(2**63)), ("high", True), ("high", "1")])
def test_a_position_that_no_item_can_have_is_refused(values: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="unchanged"):
        decode_cursor(encoded(2, 30, *values), Place)


def test_a_cursor_of_the_release_before_leads_on() -> None:
    """Positions are written flat, a time as ISO 8601 and an id in hexadecimal digits, with dashes or without."""
    cursor = decode_cursor(encoded(2, 8, "2026-01-01T00:00:00+00:00", "0" * 31 + "7"), TimePosition)

    assert cursor == Cursor(2, 8, TimePosition(NEWEST, UUID(int=7)))
