"""The errors of a backup or a restore. The name of each is the reason that people and scripts see."""

from typing import ClassVar


class BackupError(Exception):
    """A backup or a restore that has failed. The message says what failed, and what to do."""

    reason: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.reason = cls.__name__


class DestinationUnavailable(BackupError):
    """The bucket or the folder does not answer. A later attempt may succeed."""


class DestinationMissing(BackupError):
    """The bucket or the folder does not exist."""


class DestinationRefused(BackupError):
    """The destination refuses the credentials, what they may do, or the region."""


class DestinationFull(BackupError):
    """The destination has no room for the backup."""


class DatabaseFailed(BackupError):
    """A database does not answer, or pg_dump or the restore of it has failed."""

    def __init__(self, message: str, exit_status: int | None = None) -> None:
        super().__init__(message)
        self.exit_status = exit_status
        """The exit status of the psql, pg_dump or pg_restore that failed; None if none did."""


class DatabaseUnreachable(DatabaseFailed):
    """A database does not answer, or its connection was lost, as when its pod was evicted. A later attempt may
    succeed."""


class PostgresToolsTooOld(BackupError):
    """pg_dump is of an older major version than the server, whose databases it cannot dump."""


class BackupNotFound(BackupError):
    """The destination has no whole backup of this id, or none that is chosen without an id."""


class WrongKey(BackupError):
    """The backup was encrypted with another key."""


class BackupDamaged(BackupError):
    """A file of the backup, or its manifest, is not as it was written."""


class RestoreRefused(BackupError):
    """The databases are not in a state into which a backup may be restored. Nothing was changed."""


class RestoreIncomplete(BackupError):
    """A restore has failed after it had committed a database: some databases may be restored and others not."""


class RestoreInterrupted(RestoreIncomplete):
    """A restore has lost a connection, or its psql was killed, during the commits or after them: some databases may be
    restored and others not. Another attempt replaces all of them."""


class BackupNotRestorable(BackupError):
    """PostgreSQL could not restore the backup, or the restored databases are not those of its manifest."""


class InvariantBroken(BackupError):
    """The restored databases violate an invariant of their services."""


class ScratchServerFailed(BackupError):
    """The server into which a verification restores does not start, or has no room. It says nothing of the backup."""
