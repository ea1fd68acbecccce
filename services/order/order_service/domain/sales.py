"""Sales reports: what was sold, by which seller, and when.

All times are UTC; a time range includes its start and excludes its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chassis.types.ids import ProductId

from order_service.domain.errors import InvalidTimeRange

DEFAULT_RANGE = timedelta(days=30)
EARLIEST_YEAR, LATEST_YEAR = 2000, 2200
"""The years that a report may cover: a year outside of them is a typing error."""


class Interval(StrEnum):
    """The intervals that a report may be divided into. Weeks begin on Mondays (ISO 8601)."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_MAX_RANGE: Mapping[Interval, timedelta] = {
    Interval.DAY: timedelta(days=366),
    Interval.WEEK: timedelta(days=5 * 366),
    Interval.MONTH: timedelta(days=10 * 366),
}


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The time from `start`, which is included, to `end`, which is not."""

    start: datetime
    end: datetime

    @classmethod
    def resolve(cls, start: datetime | None, end: datetime | None, now: datetime, interval: Interval) -> "TimeRange":
        """Returns the requested range; it ends now and lasts DEFAULT_RANGE by default. Raises InvalidTimeRange."""
        end = now if end is None else end
        start = end - DEFAULT_RANGE if start is None else start
        if start >= end:
            raise InvalidTimeRange(f"from must be before to: {start.isoformat()} is not before {end.isoformat()}")
        if end - start > _MAX_RANGE[interval]:
            raise InvalidTimeRange(
                f"a report by {interval} covers at most {_MAX_RANGE[interval].days} days: request a shorter range"
            )
        return cls(start, end)


@dataclass(frozen=True, slots=True)
class MoneySum:
    """The sum of many orders' money, in minor units: it may be larger than Money, which holds one order's, allows."""

    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class IntervalSales:
    """What was sold and refunded in one currency in one interval, which begins at `start`."""

    start: datetime
    orders: int
    units: int
    revenue: MoneySum
    refunds: MoneySum


@dataclass(frozen=True, slots=True)
class TopProduct:
    """How often one product was ordered and sold in a time range, in one currency."""

    product_id: ProductId
    name: str
    orders: int
    units: int
    revenue: MoneySum


@dataclass(frozen=True, slots=True)
class Conversion:
    """How many of the orders placed in a time range were paid, including those that were cancelled afterwards."""

    placed: int
    paid: int

    @property
    def rate(self) -> float | None:
        """The share of paid orders between 0 and 1, rounded to four digits; None if no order was placed."""
        return round(self.paid / self.placed, 4) if self.placed else None
