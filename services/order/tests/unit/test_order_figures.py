"""For which times figures may be asked."""

from datetime import UTC, datetime, timedelta

import pytest
from order_service.domain.errors import BadRange
from order_service.domain.sales import Conversion, Interval, Span

NOW = datetime(2025, 6, 15, 12, tzinfo=UTC)


def test_without_a_word_figures_are_of_the_last_thirty_days() -> None:
    assert Span.of(None, None, NOW, Interval.DAY) == Span(NOW - timedelta(days=30), NOW)


def test_a_beginning_or_an_end_alone_is_completed() -> None:
    start, end = NOW - timedelta(days=3), NOW - timedelta(days=300)

    assert Span.of(start, None, NOW, Interval.DAY) == Span(start, NOW)
    assert Span.of(None, end, NOW, Interval.DAY) == Span(end - timedelta(days=30), end)


@pytest.mark.parametrize("start", [NOW, NOW + timedelta(seconds=1)])
def test_a_span_that_ends_before_it_begins_is_refused(start: datetime) -> None:
    with pytest.raises(BadRange, match="before"):
        Span.of(start, NOW, NOW, Interval.DAY)


@pytest.mark.parametrize(("interval", "days"), [(Interval.DAY, 366), (Interval.WEEK, 1830), (Interval.MONTH, 3660)])
def test_a_span_has_a_length_that_its_interval_bears(interval: Interval, days: int) -> None:
    Span.of(NOW - timedelta(days=days), NOW, NOW, interval)
    with pytest.raises(BadRange, match=f"{days} days"):
        Span.of(NOW - timedelta(days=days, seconds=1), NOW, NOW, interval)


def test_the_rate_of_no_orders_is_no_number() -> None:
    assert [Conversion(0, 0).rate, Conversion(3, 1).rate, Conversion(2, 2).rate] == [None, 0.3333, 1.0]
