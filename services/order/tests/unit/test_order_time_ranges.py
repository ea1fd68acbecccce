"""The time ranges of sales reports, and the conversion rate."""

from datetime import UTC, datetime, timedelta

import pytest
from order_service.domain.errors import InvalidTimeRange
from order_service.domain.sales import Conversion, Interval, TimeRange

NOW = datetime(2025, 6, 15, 12, tzinfo=UTC)


def test_the_default_range_is_the_last_thirty_days() -> None:
    assert TimeRange.resolve(None, None, NOW, Interval.DAY) == TimeRange(NOW - timedelta(days=30), NOW)


def test_a_missing_start_or_end_is_filled_in() -> None:
    start, end = NOW - timedelta(days=3), NOW - timedelta(days=300)

    assert TimeRange.resolve(start, None, NOW, Interval.DAY) == TimeRange(start, NOW)
    assert TimeRange.resolve(None, end, NOW, Interval.DAY) == TimeRange(end - timedelta(days=30), end)


@pytest.mark.parametrize("start", [NOW, NOW + timedelta(seconds=1)])
def test_a_range_that_ends_before_it_starts_is_refused(start: datetime) -> None:
    with pytest.raises(InvalidTimeRange, match="before"):
        TimeRange.resolve(start, NOW, NOW, Interval.DAY)


@pytest.mark.parametrize(("interval", "days"), [(Interval.DAY, 366), (Interval.WEEK, 1830), (Interval.MONTH, 3660)])
def test_the_length_of_a_range_is_limited_by_its_interval(interval: Interval, days: int) -> None:
    TimeRange.resolve(NOW - timedelta(days=days), NOW, NOW, interval)
    with pytest.raises(InvalidTimeRange, match=f"{days} days"):
        TimeRange.resolve(NOW - timedelta(days=days, seconds=1), NOW, NOW, interval)


def test_the_conversion_rate_of_no_orders_is_none() -> None:
    assert [Conversion(0, 0).rate, Conversion(3, 1).rate, Conversion(2, 2).rate] == [None, 0.3333, 1.0]
