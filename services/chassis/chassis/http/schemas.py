"""Schemas that every HTTP API shares. Requests reject unknown fields and wrong types; responses are `{"data": …}`."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Header, Path, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from chassis.types import money
from chassis.types.ids import MAX_ID

_MAX_FIELDS = 100


def _validate_storable(value: str) -> str:
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain the character U+0000 or half a surrogate pair")
    return value


StorableText = Annotated[str, AfterValidator(_validate_storable)]
"""A string that PostgreSQL can store."""


def _whole_number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(_whole_number)
"""Accepts what JSON Schema calls an integer: 2.0, but not "2" or true.

In an annotation it comes after Field, because it hides the bounds from what follows.
"""
Id = Annotated[int, Field(ge=1, le=MAX_ID), Whole]
PathId = Annotated[int, Path(ge=1, le=MAX_ID)]
Quantity = Annotated[int, Field(ge=1, le=1_000_000), Whole]

_EARLIEST_YEAR, _LATEST_YEAR = 2000, 2200


def _validate_year(value: datetime) -> datetime:
    if not _EARLIEST_YEAR <= value.year <= _LATEST_YEAR:
        raise ValueError(f"write a time between the years {_EARLIEST_YEAR} and {_LATEST_YEAR}")
    return value


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


LocalQueryTime = Annotated[datetime, AfterValidator(_validate_year)]
"""A time in a query, in any time zone; one without an offset belongs to the time zone that the route says."""
QueryTime = Annotated[
    LocalQueryTime,
    AfterValidator(_in_utc),
    Field(description="RFC 3339; a date without a time is its first moment in UTC", examples=["2025-01-01T00:00:00Z"]),
]
"""A time in a query, in UTC."""


class RequestBody(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _limit_fields(cls, body: object) -> object:
        """Rejects objects of very many fields, because each unknown one is an error of its own in the response."""
        parts = (body, *body.values()) if isinstance(body, Mapping) else ()
        if any(isinstance(part, Mapping) and len(part) > _MAX_FIELDS for part in parts):
            raise ValueError(f"no object may have more than {_MAX_FIELDS} fields")
        return body


class ResponseBody(BaseModel):
    """The body of a response, which is built from the attributes of domain objects."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Price(RequestBody):
    """Money in a request: at least one minor unit."""

    amount: Annotated[
        int,
        Field(ge=1, le=1_000_000_000_00, examples=[249999], description="In minor units: cents of USD, whole JPY"),
        Whole,
    ]
    currency: Annotated[
        str, Field(pattern="^[A-Z]{3}$", examples=["USD"], description="A currency of the shop: ISO 4217")
    ]
    """Only its form is checked here: whether the shop sells in it, the service knows that stores the price."""

    def to_money(self) -> money.Money:
        return money.Money(self.amount, self.currency)


class Money(ResponseBody):
    """Integer minor units of an ISO 4217 currency."""

    amount: int = Field(description="In minor units: cents of USD, whole JPY")
    currency: str = Field(description="ISO 4217 code")


_T = TypeVar("_T")


class Data(BaseModel, Generic[_T]):
    """A response with one result."""

    data: _T


class PageOf(BaseModel, Generic[_T]):
    """A response with one page of a list."""

    data: Sequence[_T]
    page: int = Field(description="Number of this page, from 1")
    limit: int = Field(description="Largest number of items on a page")
    total: int = Field(description="Number of items on all pages")


@dataclass(frozen=True, slots=True)
class Paging:
    """The page of a list that a request asks for: `page` counts from 1, `limit` is the number of items on a page."""

    page: int
    limit: int

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.limit


async def _paging(
    page: Annotated[int, Query(ge=1, le=10_000, description="Number of the page, from 1")] = 1,
    limit: Annotated[int, Query(ge=1, le=100, description="Largest number of items on the page")] = 10,
) -> Paging:
    return Paging(page, limit)


PageQuery = Annotated[Paging, Depends(_paging)]


def query_fields(filters: type[_T]) -> Callable[..., Awaitable[_T]]:
    """Returns the dependency that reads the fields of a dataclass from the query, as its annotations describe them.

    If the class itself were the dependency, FastAPI would call it in a thread.
    """

    async def read(**fields: object) -> _T:
        return filters(**fields)

    read.__signature__ = inspect.signature(filters)  # type: ignore[attr-defined]  # where FastAPI reads the parameters
    return read


KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7E]+$",
        description="A key of the caller's choice. Repeated requests with the same key take effect once.",
    ),
]
