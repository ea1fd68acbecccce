"""The choice of the backups that are deleted. It never chooses the newest whole backup, nor the newest verified one."""

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
    is_restorable: bool | None = None
    """What its last verification found; None if there was none."""

    @property
    def is_good(self) -> bool:
        """Returns whether it is whole, and no verification has found that it cannot be restored."""
        return self.is_whole and self.is_restorable is not False

    def owner(self, uid: str, created: datetime | None) -> str:
        """Returns the UID of its shop, where `uid` is that of the shop of today; empty for a former shop without a UID.

        A backup without a UID is of an earlier release, or of a shop without the operator. It is of the shop of today
        if that was `created` before it, or if that time is not known.
        """
        is_of_today = not self.shop_uid and (created is None or self.at >= created)
        return uid if is_of_today else self.shop_uid

    def belongs_to(self, uid: str, created: datetime | None = None) -> bool:
        """Returns whether it is of the shop of this UID, and not of a former or later one of the same name."""
        return self.owner(uid, created) == uid


def expired(
    stored: Sequence[StoredBackup],
    retention: Retention,
    now: datetime,
    uid: str = "",
    created: datetime | None = None,
) -> list[StoredBackup]:
    """Returns the backups to delete, the oldest first. Those of another shop of the same name are not among them,
    but for files without a manifest, which are no backup.

    Only good backups count as the newest ones, so that damaged ones do not displace them. Without any good backup
    nothing that has a manifest is deleted: it may be whole with another key. The newest one that was verified is kept
    besides, since it is the last one that is known to be restorable.
    """
    own = [backup for backup in stored if not backup.has_manifest or backup.belongs_to(uid, created)]
    newest_first = sorted(own, key=lambda backup: backup.at, reverse=True)
    chosen: list[StoredBackup] = []
    newer_good = 0
    verified = next((backup for backup in newest_first if backup.is_whole and backup.is_restorable), None)
    for backup in newest_first:
        if backup.has_manifest:
            is_one_of_the_newest = newer_good < max(1, retention.count)
            is_kept = is_one_of_the_newest or now - backup.at < retention.age or backup is verified
        else:
            is_kept = now - backup.at < ABANDONED_AFTER
        if not is_kept:
            chosen.append(backup)
        newer_good += backup.is_good
    return chosen[::-1]
