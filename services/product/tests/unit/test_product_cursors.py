"""Pagination cursors are decoded exactly as they were encoded, or refused."""

import base64
import contextlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from product_service.domain.errors import BadCursor
from product_service.domain.search import Cursor, Sort
from product_service.handlers.schemas import MAX_CURSOR_LENGTH, decode_cursor, encode_cursor

IDS = st.integers(1, 2**63 - 1)
KEYS = {
    Sort.RELEVANCE: st.tuples(st.floats(0, 3), IDS),
    Sort.NEWEST: st.tuples(st.datetimes(timezones=st.just(UTC)), IDS),
    Sort.PRICE_ASC: st.tuples(st.integers(1, 2**53), IDS),
    Sort.PRICE_DESC: st.tuples(st.integers(1, 2**53), IDS),
    Sort.RATING: st.tuples(st.floats(0, 5), st.integers(0, 2**40), IDS),
    Sort.POPULAR: st.tuples(st.integers(0, 2**40), IDS),
    Sort.NAME: st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=200), IDS),
}
CURSORS = st.sampled_from(Sort).flatmap(
    lambda sort: st.builds(Cursor, st.just(sort), KEYS[sort], st.integers(1, 10**9))
)


def test_every_sort_order_has_a_cursor_key() -> None:
    assert set(KEYS) == set(Sort)


@given(CURSORS)
def test_a_decoded_cursor_equals_the_encoded_one(cursor: Cursor) -> None:
    assert decode_cursor(encode_cursor(cursor), cursor.sort) == cursor


def encoded(*values: object) -> str:
    """Encodes what may not be a cursor."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%",
        "é",
        "AAAA",
        encoded(),
        encoded("newest"),
        encoded("price_asc", 1, 5, 7),
        encoded("newest", 1, "2025-01-01T00:00:00+00:00"),
        encoded("newest", 1, "2025-01-01T00:00:00", 7),
        encoded("newest", 1, "yesterday", 7),
        encoded("newest", 1, "0001-01-01T00:00:00+14:00", 7),
        encoded("newest", 1, 5, 7),
        encoded("newest", 0, "2025-01-01T00:00:00+00:00", 7),
        encoded("newest", 1, "2025-01-01T00:00:00+00:00", 2**63),
        encoded("newest", 1, "2025-01-01T00:00:00+00:00", True),
        encoded("newest", 1, "2025-01-01T00:00:00+00:00", 7.0),
        encoded("newest", 1, "2025-01-01T00:00:00+00:00", 7, 8),
        encoded({"newest": 1}, 1, "2025-01-01T00:00:00+00:00", 7),
        base64.urlsafe_b64encode(b"[" * 1000).decode(),
        base64.urlsafe_b64encode(b"7").decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
    ids=lambda cursor: ascii(cursor)[:30],
)
def test_a_malformed_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(cursor, Sort.NEWEST)


@pytest.mark.parametrize("key", [("a\x00b", 1), ("\ud800", 1), (7, 1)])
def test_a_cursor_with_an_impossible_name_is_refused(key: tuple[object, ...]) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(encoded("name", 1, *key), Sort.NAME)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), "1", None, 10**400], ids=lambda score: str(score)[:9])
def test_a_cursor_with_a_score_that_is_no_number_is_refused(score: object) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(encoded("relevance", 1, score, 1), Sort.RELEVANCE)


def test_the_longest_name_fits_into_a_cursor() -> None:
    for letter in ("\U0001f642", "\x01", '"'):
        assert len(encode_cursor(Cursor(Sort.NAME, (letter * 200, 2**63 - 1), 10**9))) <= MAX_CURSOR_LENGTH


@given(st.text(max_size=100), st.sampled_from(Sort))
def test_any_text_is_decoded_or_refused(text: str, sort: Sort) -> None:
    with contextlib.suppress(BadCursor):
        assert decode_cursor(text, sort).sort is sort


def test_a_cursor_keeps_the_microseconds_of_a_time() -> None:
    cursor = Cursor(Sort.NEWEST, (datetime(2025, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), 7), 2)

    assert decode_cursor(encode_cursor(cursor), Sort.NEWEST) == cursor
