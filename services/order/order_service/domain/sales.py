"""Sales reports: what was sold, by which seller, and when.

Days, weeks and months are those of a time zone. A time range includes its start and excludes its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from chassis.types.ids import ProductId

from order_service.domain.errors import InvalidTimeRange

DEFAULT_RANGE = timedelta(days=30)
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
    """The time from `start`, which is included, to `end`, which is not, and the time zone whose days count."""

    start: datetime
    end: datetime
    zone: ZoneInfo

    @classmethod
    def resolve(
        cls, start: datetime | None, end: datetime | None, now: datetime, interval: Interval, zone: ZoneInfo
    ) -> "TimeRange":
        """Returns the requested range; it ends now and lasts DEFAULT_RANGE by default. Raises InvalidTimeRange.

        A time without an offset is one of the zone.
        """
        end = now if end is None else _in_zone(end, zone)
        start = end - DEFAULT_RANGE if start is None else _in_zone(start, zone)
        if start >= end:
            raise InvalidTimeRange(f"from must be before to: {start.isoformat()} is not before {end.isoformat()}")
        if _wall_clock(end, zone) - _wall_clock(start, zone) > _MAX_RANGE[interval]:
            raise InvalidTimeRange(
                f"a report by {interval} covers at most {_MAX_RANGE[interval].days} days: request a shorter range"
            )
        return cls(start, end, zone)

    def divide(self, interval: Interval) -> list[datetime]:
        """Returns the first moments of the intervals that the range touches, in order.

        The first may be before `start`. A day in which clocks change has 23 or 25 hours.
        """
        day, last = _first_day(self.start.astimezone(self.zone).date(), interval), self.end.astimezone(self.zone).date()
        days = []
        while day <= last:
            days.append(day)
            day = _next_day(day, interval)
        starts = (datetime.combine(day, time(), self.zone).astimezone(UTC) for day in days)
        return [start.astimezone(self.zone) for start in dict.fromkeys(starts) if start < self.end]


def _in_zone(at: datetime, zone: ZoneInfo) -> datetime:
    return (at.replace(tzinfo=zone) if at.tzinfo is None else at).astimezone(UTC)


def _wall_clock(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None)


def _first_day(day: date, interval: Interval) -> date:
    """Returns the first day of the interval that a day belongs to."""
    match interval:
        case Interval.DAY:
            return day
        case Interval.WEEK:
            return day - timedelta(days=day.weekday())
        case Interval.MONTH:
            return day.replace(day=1)


def _next_day(first: date, interval: Interval) -> date:
    """Returns the first day of the next interval."""
    match interval:
        case Interval.DAY:
            return first + timedelta(days=1)
        case Interval.WEEK:
            return first + timedelta(weeks=1)
        case Interval.MONTH:
            return (first + timedelta(days=31)).replace(day=1)


@dataclass(frozen=True, slots=True)
class MoneySum:
    """The sum of many orders' money, in minor units: it may be larger than Money, which holds one order's, allows."""

    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class IntervalSales:
    """What was sold and refunded in one currency in one interval, which begins at `start`, in the report's zone."""

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
