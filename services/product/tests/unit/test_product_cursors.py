"""The place where a page begins comes back as it went out, or not at all."""

import base64
import contextlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from product_service.domain.errors import BadCursor
from product_service.domain.lists import Position, Sort
from product_service.handlers.cursors import MAX_CHARACTERS, decode, encode

IDS = st.integers(1, 2**63 - 1)
KEYS = {
    Sort.RELEVANCE: st.tuples(st.floats(0, 3), IDS),
    Sort.NEWEST: st.tuples(st.datetimes(timezones=st.just(UTC)), IDS),
    Sort.CHEAPEST: st.tuples(st.integers(1, 2**53), IDS),
    Sort.DEAREST: st.tuples(st.integers(1, 2**53), IDS),
    Sort.RATING: st.tuples(st.floats(0, 5), st.integers(0, 2**40), IDS),
    Sort.POPULAR: st.tuples(st.integers(0, 2**40), IDS),
    Sort.NAME: st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=200), IDS),
}
POSITIONS = st.sampled_from(Sort).flatmap(
    lambda sort: st.builds(Position, st.just(sort), KEYS[sort], st.integers(1, 10**9))
)


def test_every_order_has_a_key() -> None:
    assert set(KEYS) == set(Sort)


@given(POSITIONS)
def test_a_place_comes_back_as_it_went_out(position: Position) -> None:
    assert decode(encode(position), position.sort) == position


def written(*values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%",
        "é",
        "AAAA",
        written(),
        written("newest"),
        written("price_asc", 1, 5, 7),
        written("newest", 1, "2025-01-01T00:00:00+00:00"),
        written("newest", 1, "2025-01-01T00:00:00", 7),
        written("newest", 1, "yesterday", 7),
        written("newest", 1, "0001-01-01T00:00:00+14:00", 7),
        written("newest", 1, 5, 7),
        written("newest", 0, "2025-01-01T00:00:00+00:00", 7),
        written("newest", 1, "2025-01-01T00:00:00+00:00", 2**63),
        written("newest", 1, "2025-01-01T00:00:00+00:00", True),
        written("newest", 1, "2025-01-01T00:00:00+00:00", 7.0),
        written("newest", 1, "2025-01-01T00:00:00+00:00", 7, 8),
        written({"newest": 1}, 1, "2025-01-01T00:00:00+00:00", 7),
        base64.urlsafe_b64encode(b"[" * 1000).decode(),
        base64.urlsafe_b64encode(b"7").decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
    ids=lambda cursor: ascii(cursor)[:30],
)
def test_what_is_no_place_in_a_list_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        decode(cursor, Sort.NEWEST)


@pytest.mark.parametrize("key", [("a\x00b", 1), ("\ud800", 1), (7, 1)])
def test_a_name_that_no_product_can_have_is_refused(key: tuple[object, ...]) -> None:
    with pytest.raises(BadCursor):
        decode(written("name", 1, *key), Sort.NAME)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), "1", None, 10**400], ids=lambda score: str(score)[:9])
def test_a_score_is_a_number(score: object) -> None:
    with pytest.raises(BadCursor):
        decode(written("relevance", 1, score, 1), Sort.RELEVANCE)


def test_the_longest_name_makes_no_cursor_that_is_too_long() -> None:
    for letter in ("\U0001f642", "\x01", '"'):
        assert len(encode(Position(Sort.NAME, (letter * 200, 2**63 - 1), 10**9))) <= MAX_CHARACTERS


@given(st.text(max_size=100), st.sampled_from(Sort))
def test_any_text_is_read_or_refused(cursor: str, sort: Sort) -> None:
    with contextlib.suppress(BadCursor):
        assert decode(cursor, sort).sort is sort


def test_a_time_keeps_its_microseconds() -> None:
    position = Position(Sort.NEWEST, (datetime(2025, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), 7), 2)

    assert decode(encode(position), Sort.NEWEST) == position
