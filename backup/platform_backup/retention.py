"""The choice of the backups that are deleted. It never chooses the newest whole backup."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

ABANDONED_AFTER = timedelta(days=2)
"""The age at which files without a manifest are deleted: longer than any backup takes."""


@dataclass(frozen=True, slots=True)
class Retention:
    """A backup is kept while it is one of the newest `count`, or younger than `age`."""

    count: int = 7
    age: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class StoredBackup:
    """A backup of the destination.

    It is whole if its signature is right and all its files are there, with their size.
    """

    id: str
    at: datetime
    has_manifest: bool
    is_whole: bool
    shop_uid: str = ""
    """The UID of the shop, as its manifest states it; empty if it states none."""

    def belongs_to(self, uid: str) -> bool:
        """Returns whether it may be of the shop of this UID, and not of a former or later one of the same name.

        One without a UID is of an earlier release, or of a shop without the operator.
        """
        return self.shop_uid in ("", uid)


def expired(stored: Sequence[StoredBackup], retention: Retention, now: datetime, uid: str = "") -> list[StoredBackup]:
    """Returns the backups to delete, the oldest first. Those of another shop of the same name are not among them.

    Only whole backups count as the newest ones, so that damaged ones do not displace them. Without any whole backup
    nothing that has a manifest is deleted: it may be whole with another key.
    """
    own = [backup for backup in stored if backup.belongs_to(uid)]
    newest_first = sorted(own, key=lambda backup: backup.at, reverse=True)
    chosen: list[StoredBackup] = []
    newer_whole = 0
    for backup in newest_first:
        if backup.has_manifest:
            is_kept = newer_whole < max(1, retention.count) or now - backup.at < retention.age
        else:
            is_kept = now - backup.at < ABANDONED_AFTER
        if not is_kept:
            chosen.append(backup)
        newer_whole += backup.is_whole
    return chosen[::-1]
