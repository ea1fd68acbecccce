"""Figures: what was sold, by whom, and when. All times are UTC, all spans include their beginning and not their end. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chassis.types.ids import ProductId

from order_service.domain.errors import BadRange

DEFAULT_SPAN = timedelta(days=30)
EARLIEST, LATEST = 2000, 2200
"""The years that figures may be asked for: whatever is outside of them is a slip of the pen."""


class Interval(StrEnum):
    """Weeks begin on Mondays (ISO 8601)."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_LONGEST: Mapping[Interval, timedelta] = {
    Interval.DAY: timedelta(days=366),
    Interval.WEEK: timedelta(days=5 * 366),
    Interval.MONTH: timedelta(days=10 * 366),
}


@dataclass(frozen=True, slots=True)
class Span:
    """From the moment `start` until the moment before `end`."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, start: datetime | None, end: datetime | None, now: datetime, interval: Interval) -> "Span":
        """Until now, and for a month, unless something else is said. Raises BadRange."""
        end = now if end is None else end
        start = end - DEFAULT_SPAN if start is None else start
        if start >= end:
            raise BadRange(f"from must be before to: {start.isoformat()} is not before {end.isoformat()}")
        if end - start > _LONGEST[interval]:
            raise BadRange(f"by {interval}, at most {_LONGEST[interval].days} days can be asked for: ask for less")
        return cls(start, end)


@dataclass(frozen=True, slots=True)
class Sum:
    """Many orders' money together, in minor units: it may be more than Money, which one order's is, can be."""

    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What was sold and given back in one interval, which begins at `start`, in one currency."""

    start: datetime
    orders: int
    units: int
    revenue: Sum
    refunds: Sum


@dataclass(frozen=True, slots=True)
class TopProduct:
    product_id: ProductId
    name: str
    orders: int
    units: int
    revenue: Sum


@dataclass(frozen=True, slots=True)
class Conversion:
    """How many of the orders that were placed were paid, whatever became of them later."""

    placed: int
    paid: int

    @property
    def rate(self) -> float | None:
        """Between 0 and 1, to four digits; None where nothing was placed."""
        return round(self.paid / self.placed, 4) if self.placed else None
