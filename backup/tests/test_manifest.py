"""A manifest is read only as it was written, with the key that wrote it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from platform_backup.encryption import BackupKey
from platform_backup.errors import BackupDamaged, WrongKey
from platform_backup.manifest import (
    DatabaseEntry,
    Manifest,
    OutboxPosition,
    backup_id,
    read_manifest,
    time_of,
    write_manifest,
)

KEY = BackupKey(b"a" * 32)
NOW = datetime(2026, 11, 29, 18, 0, 1, tzinfo=UTC)
ORDER = DatabaseEntry(
    file="order.dump",
    size=10,
    sha256="0" * 64,
    server_version=17,
    revision="0007",
    snapshot_at=NOW,
    outbox=OutboxPosition(last_sequence=12, waiting=2),
)
MANIFEST = Manifest(
    id="20261129T180001Z-abcdef",
    shop="default/shop",
    tool_version="0.1.0",
    key_id=KEY.id,
    started_at=NOW,
    finished_at=NOW,
    databases={
        "order": ORDER,
        "user": ORDER.model_copy(update={"snapshot_at": NOW + timedelta(milliseconds=3), "outbox": None}),
    },
)


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert read_manifest(write_manifest(MANIFEST, KEY), KEY) == MANIFEST


def test_the_cut_is_the_earliest_snapshot() -> None:
    assert (MANIFEST.cut_at, MANIFEST.cut_spread_seconds) == (NOW, 0.003)


@pytest.mark.parametrize("field", ["id", "shop", "databases", "signature", "started_at"])
def test_a_changed_manifest_is_refused(field: str) -> None:
    content = json.loads(write_manifest(MANIFEST, KEY))
    content[field] = "20261129T180001Z-000000"

    with pytest.raises(BackupDamaged):
        read_manifest(json.dumps(content).encode(), KEY)


def test_another_key_is_named() -> None:
    other = BackupKey(b"b" * 32)

    with pytest.raises(WrongKey, match=KEY.id):
        read_manifest(write_manifest(MANIFEST, KEY), other)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(BackupDamaged):
        read_manifest(text, KEY)


def test_an_id_has_the_time() -> None:
    assert time_of(backup_id(NOW, "abcdef")) == NOW
    assert time_of("lost+found") is None


def test_backups_of_the_same_second_are_in_the_order_in_which_they_were_made() -> None:
    """The retention would otherwise delete the newer one."""
    earlier, later = backup_id(NOW, "ffffff"), backup_id(NOW + timedelta(milliseconds=1), "000000")
    assert (earlier < later, time_of(earlier) != time_of(later)) == (True, True)
