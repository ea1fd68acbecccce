from datetime import UTC, datetime, timedelta

import pytest
from user_service.domain.accounts import Email
from user_service.domain.lockout import LockoutPolicy, LoginFailures, email_digest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = LockoutPolicy(5, timedelta(seconds=30), timedelta(minutes=15))


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0), (1, 0), (4, 0), (5, 30), (6, 60), (7, 120), (9, 480), (10, 900), (11, 900), (10**9, 900)],
)
def test_the_wait_doubles_up_to_its_maximum(failures: int, seconds: int) -> None:
    assert POLICY.wait_after(failures) == timedelta(seconds=seconds)


def test_failures_are_kept_longer_than_the_longest_wait() -> None:
    assert POLICY.retention > POLICY.max_wait


def test_a_lock_ends_at_its_time() -> None:
    locked = LoginFailures(5, NOW, NOW + timedelta(seconds=30))
    assert locked.remaining_lock(NOW) == timedelta(seconds=30)
    assert locked.remaining_lock(NOW + timedelta(seconds=29.5)) == timedelta(seconds=0.5)
    assert locked.remaining_lock(NOW + timedelta(seconds=30)) is None
    assert LoginFailures(4, NOW, None).remaining_lock(NOW) is None


def test_a_digest_differs_by_address_and_by_key() -> None:
    ada = email_digest(Email("ada@example.com"), b"key")
    assert ada == email_digest(Email("ada@example.com"), b"key")
    assert ada != email_digest(Email("bob@example.com"), b"key")
    assert ada != email_digest(Email("ada@example.com"), b"another")
    assert ada.find(b"ada") == -1
