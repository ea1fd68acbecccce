"""Cursors of lists: a page begins where the one before ends.

A page by its number reads all rows before it and discards them; a cursor is found in the index, however deep it is.
Each list says what the position of an item in its order is: a named tuple of numbers, times, ids and enums.
"""

import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import Field, TypeAdapter
from pydantic_core import to_json

from chassis.errors import ProblemError
from chassis.http.problems import INVALID_FIELD
from chassis.http.schemas import PageOf
from chassis.types.ids import MAX_ID

MAX_PAGED = 10_000
"""Items are paged by number up to this one; a cursor leads on to the end."""
_MAX_LENGTH = 200
_MAX_NUMBER = 2**53
_T = TypeVar("_T")
_ItemT = TypeVar("_ItemT")
PositionT = TypeVar("PositionT", bound=tuple[object, ...])


class ListedItem(Protocol):
    """An item of a list that is ordered by time."""

    @property
    def id(self) -> UUID: ...
    @property
    def created_at(self) -> datetime: ...


class TimePosition(NamedTuple):
    """The position of an item in a list that is ordered by time."""

    created_at: datetime
    id: UUID

    @classmethod
    def of(cls, item: ListedItem) -> "TimePosition":
        return cls(item.created_at, item.id)


@dataclass(frozen=True, slots=True)
class Cursor(Generic[PositionT]):
    """The page number `page`, which begins after the item at `position`. `total` was counted for the first page."""

    page: int
    total: int
    position: PositionT


@dataclass(frozen=True, slots=True)
class CursorPaging(Generic[PositionT]):
    """The page that a request asks for: the one behind a cursor, or else the one with a number."""

    page: int
    limit: int
    cursor: Cursor[PositionT] | None = None

    @property
    def offset(self) -> int:
        return 0 if self.cursor is not None else (self.page - 1) * self.limit

    @property
    def after(self) -> PositionT | None:
        return None if self.cursor is None else self.cursor.position

    @property
    def counted(self) -> int | None:
        """Returns the number of all items, which was counted for the first page; None for a page without a cursor."""
        return None if self.cursor is None else self.cursor.total

    def next_cursor(
        self, items: Sequence[_ItemT], total: int, position_of: Callable[[_ItemT], PositionT]
    ) -> str | None:
        """Returns the cursor of the page after the one with these items, as text; None after the last page."""
        if len(items) < self.limit or (self.cursor is None and self.page * self.limit >= total):
            return None
        return encode_cursor(Cursor(self.page + 1, total, position_of(items[-1])))

    def page_of(
        self, items: Sequence[_ItemT], responses: Sequence[_T], total: int, position_of: Callable[[_ItemT], PositionT]
    ) -> "CursorPageOf[_T]":
        """Returns the page of these items, of which `responses` are what the client sees."""
        following = self.next_cursor(items, total, position_of)
        return CursorPageOf(data=responses, page=self.page, limit=self.limit, total=total, next=following)


class CursorPageOf(PageOf[_T], Generic[_T]):
    """A response with one page of a list that can be followed by cursor.

    `total` is counted for the first page, and carried along by the cursors.
    """

    next: str | None = Field(description="The cursor of the next page; null on the last page")


def cursor_problem(message: str) -> ProblemError:
    """Returns the 422 problem of a cursor that the list cannot continue from."""
    return _invalid("cursor", message)


def encode_cursor(cursor: Cursor[Any]) -> str:
    """Encodes a cursor as text for the client. It is neither secret nor signed: `decode_cursor` validates it."""
    encoded = to_json([cursor.page, cursor.total, *cursor.position])
    return base64.urlsafe_b64encode(encoded).decode().rstrip("=")


def decode_cursor(text: str, position: type[PositionT]) -> Cursor[PositionT]:
    """Decodes what `encode_cursor` returned. Raises ValueError, whose text is for the client."""
    try:
        encoded = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        page, total, *values = json.loads(encoded)
        decoded = _adapter(position).validate_json(to_json(values), strict=True)
        for value in decoded:
            _check_storable(value)
        return Cursor(_number(page), _number(total), decoded)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise ValueError("send `next` of a response unchanged, or leave it out") from None


@cache
def _adapter(position: type[PositionT]) -> TypeAdapter[PositionT]:
    return TypeAdapter(position)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_NUMBER:
        raise ValueError
    return value


def _check_storable(value: object) -> None:
    """Raises ValueError or OverflowError for a value that PostgreSQL cannot compare with."""
    if isinstance(value, int) and not -MAX_ID <= value <= MAX_ID:
        raise ValueError
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError
        value.astimezone(UTC)


def cursor_paging(position: type[PositionT]) -> Callable[..., Awaitable[CursorPaging[PositionT]]]:
    """Returns the dependency of a route that lists items by cursor; `position` is the position of an item."""

    async def paging(
        page: Annotated[
            int, Query(ge=1, le=MAX_PAGED, description=f"Number of the page, from 1, up to item {MAX_PAGED}")
        ] = 1,
        limit: Annotated[int, Query(ge=1, le=100, description="Largest number of items on the page")] = 10,
        cursor: Annotated[
            str | None,
            Query(max_length=_MAX_LENGTH, description="`next` of the previous page; takes precedence over `page`"),
        ] = None,
    ) -> CursorPaging[PositionT]:
        """Raises a 422 problem for a malformed cursor, and for a page after item MAX_PAGED by its number."""
        if cursor is not None:
            return _behind(cursor, limit, position)
        if (page - 1) * limit >= MAX_PAGED:
            message = f"items after number {MAX_PAGED} are listed by `cursor` alone: send `next` of the page before"
            raise _invalid("page", message)
        return CursorPaging(page, limit)

    return paging


def _behind(text: str, limit: int, position: type[PositionT]) -> CursorPaging[PositionT]:
    try:
        cursor = decode_cursor(text, position)
    except ValueError as error:
        raise cursor_problem(str(error)) from None
    return CursorPaging(cursor.page, limit, cursor)


def _invalid(field: str, message: str) -> ProblemError:
    return ProblemError(INVALID_FIELD, f"{field}: {message}", errors=[{"field": field, "message": message}])


TimeCursorQuery = Annotated[CursorPaging[TimePosition], Depends(cursor_paging(TimePosition))]
"""The page of a list that is ordered by time, the newest item first."""
