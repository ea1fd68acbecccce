"""The time ranges of sales reports, and the conversion rate."""

# ruff: noqa: DTZ001 - times without an offset are what is tested

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from order_service.domain.errors import InvalidTimeRange
from order_service.domain.sales import Conversion, Interval, TimeRange

NOW, ZONE = datetime(2025, 6, 15, 12, tzinfo=UTC), ZoneInfo("UTC")


def test_the_default_range_is_the_last_thirty_days() -> None:
    assert TimeRange.resolve(None, None, NOW, Interval.DAY, ZONE) == TimeRange(NOW - timedelta(days=30), NOW, ZONE)


def test_a_missing_start_or_end_is_filled_in() -> None:
    start, end = NOW - timedelta(days=3), NOW - timedelta(days=300)

    assert TimeRange.resolve(start, None, NOW, Interval.DAY, ZONE) == TimeRange(start, NOW, ZONE)
    assert TimeRange.resolve(None, end, NOW, Interval.DAY, ZONE) == TimeRange(end - timedelta(days=30), end, ZONE)


@pytest.mark.parametrize("start", [NOW, NOW + timedelta(seconds=1)])
def test_a_range_that_ends_before_it_starts_is_refused(start: datetime) -> None:
    with pytest.raises(InvalidTimeRange, match="before"):
        TimeRange.resolve(start, NOW, NOW, Interval.DAY, ZONE)


@pytest.mark.parametrize(("interval", "days"), [(Interval.DAY, 366), (Interval.WEEK, 1830), (Interval.MONTH, 3660)])
def test_the_length_of_a_range_is_limited_by_its_interval(interval: Interval, days: int) -> None:
    TimeRange.resolve(NOW - timedelta(days=days), NOW, NOW, interval, ZONE)
    with pytest.raises(InvalidTimeRange, match=f"{days} days"):
        TimeRange.resolve(NOW - timedelta(days=days, seconds=1), NOW, NOW, interval, ZONE)


def test_the_conversion_rate_of_no_orders_is_none() -> None:
    assert [Conversion(0, 0).rate, Conversion(3, 1).rate, Conversion(2, 2).rate] == [None, 0.3333, 1.0]


def test_a_time_without_an_offset_is_one_of_the_zone() -> None:
    period = TimeRange.resolve(datetime(2025, 7, 1), datetime(2025, 7, 2), NOW, Interval.DAY, ZoneInfo("Asia/Kolkata"))

    assert period.start == datetime(2025, 6, 30, 18, 30, tzinfo=UTC)
    assert period.end - period.start == timedelta(days=1)


@pytest.mark.parametrize(
    ("zone", "days", "hours"),
    [
        ("Europe/Berlin", ((2025, 3, 29), (2025, 4, 1)), [24, 23, 24]),
        ("Europe/Berlin", ((2025, 10, 25), (2025, 10, 28)), [24, 25, 24]),
        ("Africa/Cairo", ((2025, 4, 24), (2025, 4, 27)), [24, 23, 24]),  # midnight does not exist
        ("Australia/Lord_Howe", ((2025, 4, 5), (2025, 4, 8)), [24, 24.5, 24]),
        ("Pacific/Apia", ((2011, 12, 29), (2012, 1, 1)), [24, 24]),  # 30 December does not exist
    ],
)
def test_a_day_lasts_from_midnight_to_midnight_of_its_zone(
    zone: str, days: tuple[tuple[int, int, int], tuple[int, int, int]], hours: list[float]
) -> None:
    start, end = (datetime(*day) for day in days)
    period = TimeRange.resolve(start, end, NOW, Interval.DAY, ZoneInfo(zone))

    moments = [start.astimezone(UTC) for start in period.divide(Interval.DAY)]

    assert moments[0] == period.start
    assert [(b - a) / timedelta(hours=1) for a, b in pairwise([*moments, period.end])] == hours


def test_weeks_and_months_begin_before_a_range_that_begins_within_them() -> None:
    zone = ZoneInfo("America/New_York")
    period = TimeRange.resolve(datetime(2025, 1, 31, 12), datetime(2025, 3, 1), NOW, Interval.MONTH, zone)

    assert [start.isoformat() for start in period.divide(Interval.MONTH)] == [
        "2025-01-01T00:00:00-05:00",
        "2025-02-01T00:00:00-05:00",
    ]
    assert [start.date().isoformat() for start in period.divide(Interval.WEEK)][:2] == ["2025-01-27", "2025-02-03"]


def test_a_year_that_is_longer_by_an_hour_is_a_year() -> None:
    TimeRange.resolve(datetime(2023, 10, 28), datetime(2024, 10, 28), NOW, Interval.DAY, ZoneInfo("Europe/Berlin"))


@given(
    st.timezones(),
    st.datetimes(datetime(2000, 1, 2), datetime(2037, 1, 1)),
    st.timedeltas(timedelta(seconds=1), timedelta(days=99)),
    st.sampled_from(Interval),
)
def test_each_moment_of_a_range_is_in_one_interval(
    zone: ZoneInfo, start: datetime, length: timedelta, interval: Interval
) -> None:
    first = start.replace(tzinfo=UTC)
    period = TimeRange(first, first + length, zone)

    starts = [moment.astimezone(UTC) for moment in period.divide(interval)]

    assert starts == sorted(set(starts))
    assert starts[0] <= period.start
    assert starts[-1] < period.end
    assert len(starts) == 1 or starts[1] > period.start
