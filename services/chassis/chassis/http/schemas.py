"""Shapes that every API shares. Requests refuse unknown fields and wrong types; answers are `{"data": …}`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Header, Path, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from chassis.types import money
from chassis.types.ids import MAX_ID


def _storable(value: str) -> str:
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain the character U+0000 or half a surrogate pair")
    return value


StorableText = Annotated[str, AfterValidator(_storable)]
"""A string that PostgreSQL can store."""


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(_whole)
"""Takes what JSON Schema calls an integer: 2.0 is one, "2" and true are not. Comes after a Field, whose bounds it would hide."""
Id = Annotated[int, Field(ge=1, le=MAX_ID), Whole]
PathId = Annotated[int, Path(ge=1, le=MAX_ID)]
Quantity = Annotated[int, Field(ge=1, le=1_000_000), Whole]
_MOST_FIELDS = 100


class RequestBody(BaseModel):
    """What a caller sends."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _few(cls, sent: object) -> object:
        """Each unknown field is a complaint of its own, and a body has room for a hundred thousand."""
        parts = (sent, *sent.values()) if isinstance(sent, Mapping) else ()
        if any(isinstance(part, Mapping) and len(part) > _MOST_FIELDS for part in parts):
            raise ValueError(f"no object may have more than {_MOST_FIELDS} fields")
        return sent


class ResponseBody(BaseModel):
    """What a caller gets; made from domain objects by attribute."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Price(RequestBody):
    """Money in a request: at least one minor unit."""

    amount: Annotated[int, Field(ge=1, le=1_000_000_000_00, examples=[249999]), Whole]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$", examples=["USD"])]

    def to_money(self) -> money.Money:
        return money.Money(self.amount, self.currency)


class Money(ResponseBody):
    """Integer minor units of an ISO 4217 currency."""

    amount: int
    currency: str


_T = TypeVar("_T")


class Data(BaseModel, Generic[_T]):
    data: _T


class PageOf(BaseModel, Generic[_T]):
    data: Sequence[_T]
    page: int
    limit: int
    total: int


@dataclass(frozen=True, slots=True)
class Paging:
    """One page of a list: `page` counts from 1."""

    page: int
    limit: int

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.limit


def _paging(
    page: Annotated[int, Query(ge=1, le=10_000)] = 1, limit: Annotated[int, Query(ge=1, le=100)] = 10
) -> Paging:
    return Paging(page, limit)


PageQuery = Annotated[Paging, Depends(_paging)]

KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7E]+$",
        description="one per intent: repeated requests with the same key take effect once",
    ),
]
