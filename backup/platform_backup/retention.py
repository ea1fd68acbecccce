"""Chooses the backups that are deleted, never the newest whole one, nor the newest one that was verified."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

ABANDONED_AFTER = timedelta(days=2)
"""The age at which files without a manifest are deleted: longer than any backup takes."""
CLOCK_TOLERANCE = timedelta(hours=1)
"""How far the clock of the node that took a backup may be ahead of this one."""


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

    def is_ahead(self, now: datetime) -> bool:
        """Returns whether it is from the future, so that its time does not tell whether it is newer than others."""
        return self.at > now + CLOCK_TOLERANCE

    def owner(self, uid: str, created: datetime | None) -> str:
        """Returns the UID of its shop; empty if it states none and is of a former shop.

        `uid` is the UID of the shop of today, and `created` when that was created. A backup without a UID is of an
        earlier release, or of a shop without the operator. It counts as a backup of the shop of today if it is younger
        than that shop, or if `created` is not known.
        """
        is_of_today = not self.shop_uid and (created is None or self.at >= created)
        return uid if is_of_today else self.shop_uid

    def belongs_to(self, uid: str, created: datetime | None = None) -> bool:
        """Returns whether it is a backup of the shop of this UID. `created` is when that shop was created."""
        return self.owner(uid, created) == uid


def expired(
    stored: Sequence[StoredBackup],
    retention: Retention,
    now: datetime,
    uid: str = "",
    created: datetime | None = None,
    own: str = "",
) -> list[StoredBackup]:
    """Returns the backups to delete, the oldest first.

    - Backups of a former or later shop of the same name are kept. `uid` and `created` are those of the shop of today.
    - Files without a manifest are no backup. They are deleted when they are ABANDONED_AFTER old, whatever their shop.
    - `own`, the backup that this run has made, is kept, and so are backups from the future, which do not count either.
    - Only good backups count as the newest ones, so that damaged ones do not displace them.
    - Without any good backup, nothing that has a manifest is deleted: it may be whole with another key.
    - The newest backup that was verified is kept, since it is the last one that is known to be restorable.
    """
    of_today = [backup for backup in stored if not backup.has_manifest or backup.belongs_to(uid, created)]
    counted = [backup for backup in of_today if not backup.is_ahead(now)]
    newest_first = sorted(counted, key=lambda backup: backup.at, reverse=True)
    chosen: list[StoredBackup] = []
    newer_good = 0
    verified = next((backup for backup in newest_first if backup.is_whole and backup.is_restorable), None)
    for backup in newest_first:
        if backup.has_manifest:
            is_one_of_the_newest = newer_good < max(1, retention.count)
            is_kept = is_one_of_the_newest or now - backup.at < retention.age or backup is verified
        else:
            is_kept = now - backup.at < ABANDONED_AFTER
        if not is_kept and backup.id != own:
            chosen.append(backup)
        newer_good += backup.is_good
    return chosen[::-1]
