"""The place where a page of a list begins, as text that goes out and comes back. It is nobody's secret, and whatever comes back is read
as what it claims to be or refused.
"""

import base64
import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from chassis.types.ids import MAX_ID

from product_service.domain.errors import BadCursor
from product_service.domain.lists import Position, Sort

MAX_CHARACTERS = 2_000
_LAST_PAGE = 10**9


def encode(position: Position) -> str:
    key = [value.isoformat() if isinstance(value, datetime) else value for value in position.key]
    written = json.dumps([position.sort, position.page, *key], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")


def decode(cursor: str, sort: Sort) -> Position:
    """The place in a list of this order. Raises BadCursor."""
    try:
        written = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
        named, page, *key = written
        readers = _KEYS[sort]
        if named != sort:
            raise BadCursor
        values = tuple(read(value) for read, value in zip(readers, key, strict=True))
        return Position(sort, values, _whole(page, 1, _LAST_PAGE))
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise BadCursor from None


def _whole(value: object, least: int = -MAX_ID, most: int = MAX_ID) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError
    return value


def _number(value: object) -> float:
    if not isinstance(value, float) or not math.isfinite(value):
        raise ValueError
    return value


def _time(value: object) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise ValueError
    return time.astimezone(UTC)


def _text(value: object) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError
    value.encode()  # no half of a surrogate pair
    return value


_KEYS: Mapping[Sort, tuple[Callable[[object], str | int | float | datetime], ...]] = {
    Sort.RELEVANCE: (_number, _whole),
    Sort.NEWEST: (_time, _whole),
    Sort.CHEAPEST: (_whole, _whole),
    Sort.DEAREST: (_whole, _whole),
    Sort.RATING: (_number, _whole, _whole),
    Sort.POPULAR: (_whole, _whole),
    Sort.NAME: (_text, _whole),
}
