"""The vocabulary of a status: conditions with their reasons, how they are stored, and other states. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class ConditionReason(StrEnum):
    """The reason of a condition. Part of the API: alerts and scripts match on these."""

    ALL_READY = "AllReady"
    STABLE = "Stable"
    HEALTHY = "Healthy"
    APPLYING = "Applying"
    WAITING_FOR_STORES = "WaitingForStores"
    MIGRATING = "Migrating"
    WAITING_FOR_SERVICES = "WaitingForServices"
    WAITING_FOR_GATEWAY = "WaitingForGateway"
    OBSERVING = "Observing"
    INVALID_SPEC = "InvalidSpec"
    RENDER_FAILED = "RenderFailed"
    REFUSED = "Refused"
    REQUEST_FAILED = "RequestFailed"
    IMMUTABLE_FIELD = "ImmutableField"
    INTERNAL_ERROR = "InternalError"
    MIGRATION_FAILED = "MigrationFailed"
    DATA_LOST = "DataLost"
    SECRET_MISSING = "SecretMissing"  # noqa: S105
    QUOTA_EXCEEDED = "QuotaExceeded"
    ROLLOUT_FAILED = "RolloutFailed"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    NAME_CONFLICT = "NameConflict"
    PRUNE_HELD = "PruneHeld"
    MASTER_KEY_MISSING = "MasterKeyMissing"
    MASTER_KEY_CHANGED = "MasterKeyChanged"

    TAKEN_AGAIN = "TakenAgain"
    NO_FIELD_FIGHT = "NoFieldFight"

    UP_TO_DATE = "UpToDate"
    ROLLING_OUT = "RollingOut"
    OUTSIDE_MAINTENANCE = "OutsideMaintenance"
    WAITING_FOR_CANARY = "WaitingForCanary"
    WAITING_FOR_TURN = "WaitingForTurn"
    UPGRADES_HALTED = "UpgradesHalted"
    SHOP_DEGRADED = "ShopDegraded"
    OBSERVING_STEP = "ObservingStep"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    ROLLBACK_FAILED = "RollbackFailed"
    UPGRADE_STOPPED = "UpgradeStopped"

    HIBERNATED = "Hibernated"
    HIBERNATING = "Hibernating"
    WAKING = "Waking"
    AWAKE = "Awake"

    CLOSED = "Closed"
    CLOSING = "Closing"
    OPENING = "Opening"
    OPEN = "Open"

    RESTORING = "Restoring"
    REOPENING = "Reopening"
    RESTORE_FAILED = "RestoreFailed"
    RESTORE_INCOMPLETE = "RestoreIncomplete"
    NOT_RESTORING = "NotRestoring"

    ALL_HOLD = "AllHold"
    INVARIANT_BROKEN = "InvariantBroken"
    EVENTS_DELAYED = "EventsDelayed"
    DEAD_LETTERS = "DeadLetters"
    NOT_SCRAPED = "NotScraped"
    UNREACHABLE = "Unreachable"
    NOT_CHECKED = "NotChecked"
    NOT_EXPORTED = "NotExported"
    LIMIT_EXCEEDED = "LimitExceeded"
    UNTRUSTED_PROXY = "UntrustedProxy"

    ROTATING = "Rotating"
    ROTATED = "Rotated"
    ROTATION_REFUSED = "RotationRefused"
    ROTATION_WAITS = "RotationWaits"

    MAIL_SERVER_SET = "MailServerSet"
    NO_MAIL_SERVER = "NoMailServer"

    BACKED_UP = "BackedUp"
    NO_BACKUP_YET = "NoBackupYet"
    BACKUP_FAILED = "BackupFailed"
    BACKUP_TOO_OLD = "BackupTooOld"
    VERIFICATION_FAILED = "VerificationFailed"
    BACKUPS_NOT_SCHEDULED = "BackupsNotScheduled"


@dataclass(frozen=True)
class Condition:
    """A condition before it is stored: it has no time and no generation yet. A status of None means Unknown."""

    type: str
    status: bool | None
    reason: StrEnum
    message: str


TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
"""The format of times in a status: RFC 3339 in UTC."""


def stored_condition(status: Mapping[str, Any], type_: str) -> Mapping[str, Any] | None:
    """Returns a condition of a stored status, None if it has none of the type."""
    return next((one for one in status.get("conditions") or () if one["type"] == type_), None)


def is_met(status: Mapping[str, Any], type_: str) -> bool:
    """Returns whether a stored status has a condition of the type, and it is True."""
    stored = stored_condition(status, type_)
    return stored is not None and stored["status"] == "True"


def dated(condition: Condition, stored: Mapping[str, Any] | None, generation: int, now: datetime) -> dict[str, Any]:
    """Returns a condition as it is stored, given the stored one of its type.

    By the Kubernetes API conventions lastTransitionTime changes with the status and with nothing else.
    """
    status = "Unknown" if condition.status is None else str(condition.status)
    unchanged = stored is not None and stored["status"] == status
    return {
        "type": condition.type,
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": stored["lastTransitionTime"] if stored and unchanged else now.strftime(TIME_FORMAT),
        "reason": str(condition.reason),
        "message": condition.message,
    }


class InvariantState(StrEnum):
    """The state of one business invariant of one service."""

    HOLDS = "Holds"
    BROKEN = "Broken"
    UNKNOWN = "Unknown"


class RotationKind(StrEnum):
    """The credentials that rotate together."""

    SIGNING = "signing"
    """The secret of access tokens and mail tokens."""
    GRPC = "grpc"
    """The tokens by which services recognize each other."""
    DATABASES = "databases"
    """The roles that services log in to databases as, unless these are external."""
    OWNERS = "owners"
    """The passwords of the owners of databases, unless these are external, which migrations log in with."""
    CACHE = "cache"
    """The password of the builtin Redis."""
    BROKER = "broker"
    """The users of services and the administrator of RabbitMQ, unless it is external."""
    ADMIN = "admin"
    """The password of the first admin of the shop."""
    AUTHORITY = "authority"
    """The authority of the stores' certificates. It rotates with the master key alone (docs/adr/0069)."""


class RotationStep(StrEnum):
    """The step of a rotation, in the order in which they follow (docs/adr/0046)."""

    PUBLISH = "Publish"
    """The next value is accepted, and not used yet."""
    USE = "Use"
    """The next value is used, and the former one is still accepted."""
    RETIRE = "Retire"
    """Only the new value is accepted."""
    DONE = "Done"


class UpgradePhase(StrEnum):
    """The phase of the last upgrade of a shop that is not complete (docs/adr/0048)."""

    ROLLING_OUT = "RollingOut"
    ROLLING_BACK = "RollingBack"
    """A step has failed: what the upgrade has changed goes back to the version before."""
    ROLLBACK_FAILED = "RollbackFailed"
    """Going back has not ended in time. It goes on, and nothing else is tried."""
    ROLLED_BACK = "RolledBack"
    STOPPED = "Stopped"
    """A step has failed, and there is no other version to go back to: what came after it stays as it was."""


class BlockedState(StrEnum):
    """Why an object is in `status.blocked`."""

    NOT_READY = "NotReady"
    REFUSED = "Refused"
    WAITING = "Waiting"
    """It has to be applied, and waits for another."""
    CONFLICT = "Conflict"
    """Another has an object of that name, which is left alone."""
    HELD = "Held"
    """It is no longer required, and its deletion waits for the user's permission."""
