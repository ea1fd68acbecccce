"""Times in a query."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from order_service.domain.sales import EARLIEST, LATEST


def _in_utc(value: datetime) -> datetime:
    if not EARLIEST <= value.year <= LATEST:
        raise ValueError(f"write a time between the years {EARLIEST} and {LATEST}")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Time = Annotated[
    datetime,
    AfterValidator(_in_utc),
    Field(description="RFC 3339; a date alone is its first moment in UTC", examples=["2025-01-01T00:00:00Z"]),
]
