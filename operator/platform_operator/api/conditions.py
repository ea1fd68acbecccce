"""What a condition says, before it is dated: the vocabulary that `reporting` and `invariants` share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a condition is as it is. Part of the API: alerts and scripts match on these."""

    ALL_READY = "AllReady"
    STABLE = "Stable"
    HEALTHY = "Healthy"
    APPLYING = "Applying"
    WAITING_FOR_STORES = "WaitingForStores"
    MIGRATING = "Migrating"
    WAITING_FOR_SERVICES = "WaitingForServices"
    WAITING_FOR_GATEWAY = "WaitingForGateway"
    PAUSED = "Paused"
    INVALID_SPEC = "InvalidSpec"
    RENDER_FAILED = "RenderFailed"
    REFUSED = "Refused"
    INTERRUPTED = "Interrupted"
    IMMUTABLE_FIELD = "ImmutableField"
    MIGRATION_FAILED = "MigrationFailed"
    ROLLOUT_FAILED = "RolloutFailed"
    TAKES_TOO_LONG = "TakesTooLong"

    ALL_HOLD = "AllHold"
    INVARIANT_BROKEN = "InvariantBroken"
    EVENTS_WAIT = "EventsWait"
    DEAD_LETTERS = "DeadLetters"
    NOT_READ_YET = "NotReadYet"
    UNREACHABLE = "Unreachable"
    NOT_CHECKED = "NotChecked"
    NOT_EXPORTED = "NotExported"


@dataclass(frozen=True)
class Finding:
    """One side of a condition. Without a status nobody knows."""

    type: str
    status: bool | None
    reason: Reason
    message: str
