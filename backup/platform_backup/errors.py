"""The errors of a backup or a restore. Each class has the reason that a condition or an alert can have."""

from typing import ClassVar


class BackupError(Exception):
    """A backup or a restore that has failed. The message says what failed, and what to do."""

    reason: ClassVar[str] = "BackupFailed"


class DestinationUnavailable(BackupError):
    """The bucket or the folder does not answer, or does not exist."""

    reason = "DestinationUnavailable"


class DestinationRefused(BackupError):
    """The destination refuses the credentials, or what they may do."""

    reason = "DestinationRefused"


class DestinationFull(BackupError):
    """The destination has no room for the backup."""

    reason = "DestinationFull"


class DatabaseFailed(BackupError):
    """A database does not answer, or pg_dump or the restore of it has failed."""

    reason = "DatabaseFailed"


class PostgresToolsTooOld(BackupError):
    """pg_dump is of an older major version than the server, whose databases it cannot dump."""

    reason = "PostgresToolsTooOld"


class BackupNotFound(BackupError):
    """The destination has no whole backup of this id."""

    reason = "BackupNotFound"


class WrongKey(BackupError):
    """The backup was encrypted with another key."""

    reason = "WrongKey"


class BackupDamaged(BackupError):
    """A file of the backup, or its manifest, is not as it was written."""

    reason = "BackupDamaged"


class RestoreRefused(BackupError):
    """The databases are not in a state into which a backup may be restored. Nothing was changed."""

    reason = "RestoreRefused"
