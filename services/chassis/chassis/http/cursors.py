"""Cursors of lists that are ordered by time, the newest item first: a page begins where the one before ends.

A page by its number reads all rows before it and discards them; a cursor is found in the index, however deep it is.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic, Protocol, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import AfterValidator, Field

from chassis.errors import ProblemError
from chassis.http.problems import INVALID_FIELD
from chassis.http.schemas import PageOf

MAX_PAGED = 10_000
"""Items are paged by number up to this one; a cursor leads on to the end."""
_MAX_LENGTH = 200
_MAX_NUMBER = 2**53
_T = TypeVar("_T")


class ListedItem(Protocol):
    """An item of a list that is ordered by time."""

    @property
    def id(self) -> UUID: ...
    @property
    def created_at(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Cursor:
    """The page number `page`, which begins after an item. `total` was counted for the first page."""

    page: int
    total: int
    created_at: datetime
    id: UUID

    @property
    def position(self) -> tuple[datetime, UUID]:
        """Returns the item after which the page begins, by its time and id."""
        return self.created_at, self.id


@dataclass(frozen=True, slots=True)
class CursorPaging:
    """The page that a request asks for: the one behind a cursor, or else the one with a number."""

    page: int
    limit: int
    cursor: Cursor | None = None

    @property
    def offset(self) -> int:
        return 0 if self.cursor is not None else (self.page - 1) * self.limit

    @property
    def after(self) -> tuple[datetime, UUID] | None:
        return None if self.cursor is None else self.cursor.position

    def page_of(self, items: Sequence[ListedItem], responses: Sequence[_T], total: int) -> "CursorPageOf[_T]":
        """Returns the page of these items, of which `responses` are what the client sees."""
        is_last = len(items) < self.limit or (self.cursor is None and self.page * self.limit >= total)
        following = None if is_last else Cursor(self.page + 1, total, items[-1].created_at, items[-1].id)
        next_text = None if following is None else encode_cursor(following)
        return CursorPageOf(data=responses, page=self.page, limit=self.limit, total=total, next=next_text)


class CursorPageOf(PageOf[_T], Generic[_T]):
    """A response with one page of a list that can be followed by cursor.

    `total` is counted for the first page, and carried along by the cursors.
    """

    next: str | None = Field(description="The cursor of the next page; null on the last page")


def encode_cursor(cursor: Cursor) -> str:
    """Encodes a cursor as text for the client. It is neither secret nor signed: `decode_cursor` validates it."""
    encoded = json.dumps([cursor.page, cursor.total, cursor.created_at.isoformat(), cursor.id.hex])
    return base64.urlsafe_b64encode(encoded.encode()).decode().rstrip("=")


def decode_cursor(text: str) -> Cursor:
    """Decodes what `encode_cursor` returned. Raises ValueError, whose text is for the client."""
    try:
        encoded = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        page, total, created_at, item = json.loads(encoded)
        return Cursor(_number(page), _number(total), _time(created_at), UUID(item))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ValueError("send `next` of a response unchanged, or leave it out") from None


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_NUMBER:
        raise ValueError
    return value


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError
    return time


def _validate(text: str) -> str:
    decode_cursor(text)
    return text


def _paging(
    page: Annotated[
        int, Query(ge=1, le=MAX_PAGED, description=f"Number of the page, from 1, up to item {MAX_PAGED}")
    ] = 1,
    limit: Annotated[int, Query(ge=1, le=100, description="Largest number of items on the page")] = 10,
    cursor: Annotated[
        str | None,
        Query(max_length=_MAX_LENGTH, description="`next` of the previous page; takes precedence over `page`"),
        AfterValidator(lambda text: None if text is None else _validate(text)),
    ] = None,
) -> CursorPaging:
    """Raises a 422 problem for a page after item MAX_PAGED that is asked for by its number."""
    if cursor is not None:
        decoded = decode_cursor(cursor)
        return CursorPaging(decoded.page, limit, decoded)
    if (page - 1) * limit >= MAX_PAGED:
        message = f"items after number {MAX_PAGED} are listed by `cursor` alone: send `next` of the page before"
        raise ProblemError(INVALID_FIELD, f"page: {message}", errors=[{"field": "page", "message": message}])
    return CursorPaging(page, limit)


CursorQuery = Annotated[CursorPaging, Depends(_paging)]
