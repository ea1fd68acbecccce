"""The retention keeps the newest backups, and always one that can be restored."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from platform_backup.retention import ABANDONED_AFTER, Retention, StoredBackup, expired

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def backup(
    days_ago: float, *, manifest: bool = True, whole: bool = True, restorable: bool | None = None
) -> StoredBackup:
    at = NOW - timedelta(days=days_ago)
    return StoredBackup(f"{days_ago}", at, manifest, manifest and whole, is_restorable=restorable)


def deleted(*stored: StoredBackup, count: int = 2, days: int = 0) -> list[str]:
    return [backup.id for backup in expired(stored, Retention(count, timedelta(days=days)), NOW)]


def test_the_newest_are_kept() -> None:
    assert deleted(backup(4), backup(3), backup(2), backup(1)) == ["4", "3"]


def test_a_young_backup_is_kept() -> None:
    assert deleted(backup(40), backup(4), backup(3), backup(2), backup(1), count=1, days=10) == ["40"]


def test_backups_from_the_future_are_kept_and_do_not_displace_others() -> None:
    """A node whose clock was ahead took them, so they may be older than those of a right clock."""
    ahead = [backup(-days, restorable=True) for days in (400, 1)]

    assert deleted(*ahead, backup(3, restorable=True), backup(2), backup(1), count=1) == ["2"]
    assert deleted(*ahead, backup(-0.02), backup(1), count=1) == ["1"], "half an hour is no error of a clock"


def test_a_run_keeps_its_own_backup_however_the_clocks_of_others_went() -> None:
    stored = [backup(2), backup(1), backup(0.01), backup(-0.01)]

    chosen = expired(stored, Retention(1), NOW, own=stored[2].id)

    assert [one.id for one in chosen] == ["2", "1"]


def test_damaged_backups_do_not_displace_whole_ones() -> None:
    damaged = [backup(days, whole=False) for days in (1, 2, 3)]

    assert deleted(backup(6), backup(5), backup(4), *damaged, count=2) == ["6"]


def test_the_newest_verified_backup_is_kept_while_none_of_the_newer_ones_is_verified() -> None:
    verified = [backup(days, restorable=True) for days in (6, 5)]

    assert deleted(*verified, backup(4), backup(3), backup(2), backup(1)) == ["6", "4", "3"]
    assert deleted(*verified, backup(2, restorable=True), backup(1)) == ["6", "5"]


def test_a_backup_that_was_verified_and_is_damaged_now_is_not_kept() -> None:
    assert deleted(backup(5, whole=False, restorable=True), backup(2), backup(1)) == ["5"]


def test_backups_that_are_not_restorable_do_not_displace_others() -> None:
    broken = [backup(days, restorable=False) for days in (1, 2, 3)]

    assert deleted(backup(6), backup(5), backup(4), *broken) == ["6"]


def test_a_damaged_backup_is_deleted_as_others() -> None:
    assert deleted(backup(3, whole=False), backup(2), backup(1), count=2) == ["3"]


def test_without_a_whole_backup_nothing_with_a_manifest_is_deleted() -> None:
    assert deleted(*(backup(days, whole=False) for days in range(100, 400)), count=1) == []


def test_files_without_a_manifest_are_deleted_when_no_backup_can_still_write_them() -> None:
    limit = ABANDONED_AFTER / timedelta(days=1)

    assert deleted(backup(limit + 1, manifest=False), backup(limit - 1, manifest=False)) == [str(limit + 1)]


def test_backups_of_a_former_shop_of_the_name_are_left_alone() -> None:
    former = [replace(backup(days), shop_uid="former") for days in (1, 2, 3)]
    earlier = [backup(days) for days in (4, 5)]
    own = [replace(backup(days), shop_uid="own") for days in (6, 7)]

    chosen = expired([*former, *earlier, *own], Retention(3), NOW, "own")
    assert [one.id for one in chosen] == ["7"], "nor do they count as its newest ones; those of earlier releases do"


def test_a_backup_without_a_uid_that_is_older_than_the_shop_is_of_a_former_one() -> None:
    created = NOW - timedelta(days=3)
    stored = [backup(9, manifest=False), *(backup(days) for days in (5, 4, 2, 1)), replace(backup(0.5), shop_uid="own")]

    assert [one.id for one in expired(stored, Retention(1), NOW, "own", created)] == ["9", "2", "1"]
    assert [one.id for one in expired(stored, Retention(1), NOW, "own")] == ["9", "5", "4", "2", "1"]


_BACKUPS = st.builds(
    lambda days, manifest, whole, restorable: backup(days, manifest=manifest, whole=whole, restorable=restorable),
    st.integers(-50, 3000),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, True, False]),
)


@given(st.lists(_BACKUPS, unique_by=lambda backup: backup.id), st.integers(0, 5), st.integers(0, 50))
def test_the_newest_whole_backup_is_never_deleted(stored: list[StoredBackup], count: int, days: int) -> None:
    whole = sorted((backup for backup in stored if backup.is_whole and backup.at <= NOW), key=lambda backup: backup.at)
    verified = [backup for backup in whole if backup.is_restorable]

    chosen = deleted(*stored, count=count, days=days)

    assert not whole or whole[-1].id not in chosen
    assert not verified or verified[-1].id not in chosen
