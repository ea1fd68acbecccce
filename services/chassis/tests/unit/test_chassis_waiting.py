"""How long rows have waited for a neighbour's answer."""

from datetime import UTC, datetime, timedelta

from chassis.observability.waiting import longest_wait

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_oldest_row_without_an_answer_counts() -> None:
    asked = {"a": NOW - timedelta(seconds=30), "b": NOW - timedelta(seconds=20), "c": NOW - timedelta(seconds=10)}

    assert longest_wait(asked, {}, NOW) == 30
    assert longest_wait(asked, {"a": 1, "c": 3}, NOW) == 20
    assert longest_wait(asked, asked, NOW) == 0
    assert longest_wait({}, {}, NOW) == 0
