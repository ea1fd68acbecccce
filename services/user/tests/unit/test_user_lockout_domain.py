from datetime import UTC, datetime, timedelta

import pytest
from user_service.domain.accounts import Email
from user_service.domain.lockout import Backoff, Failures, digest_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BACKOFF = Backoff(5, timedelta(seconds=30), timedelta(minutes=15))


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0), (1, 0), (4, 0), (5, 30), (6, 60), (7, 120), (9, 480), (10, 900), (11, 900), (10**9, 900)],
)
def test_the_wait_doubles_up_to_its_ceiling(failures: int, seconds: int) -> None:
    assert BACKOFF.after(failures) == timedelta(seconds=seconds)


def test_the_count_outlives_the_longest_wait() -> None:
    assert BACKOFF.remembered > BACKOFF.longest


def test_a_lock_ends_when_its_time_is_over() -> None:
    locked = Failures(5, NOW, NOW + timedelta(seconds=30))
    assert locked.wait(NOW) == timedelta(seconds=30)
    assert locked.wait(NOW + timedelta(seconds=29.5)) == timedelta(seconds=0.5)
    assert locked.wait(NOW + timedelta(seconds=30)) is None
    assert Failures(4, NOW, None).wait(NOW) is None


def test_a_digest_tells_addresses_apart_and_needs_its_key() -> None:
    ada = digest_of(Email("ada@example.com"), b"key")
    assert ada == digest_of(Email("ada@example.com"), b"key")
    assert ada != digest_of(Email("bob@example.com"), b"key")
    assert ada != digest_of(Email("ada@example.com"), b"another")
    assert ada.find(b"ada") == -1
