"""The rows of `status.blocked`: the objects that are not as specified or not ready, why, and since when. Pure.

The time is in the status and not in memory, so that a deadline goes on when the operator restarts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from platform_operator.api.conditions import TIME_FORMAT, BlockedState
from platform_operator.api.kinds import ObjectId
from platform_operator.status.conditions import PassResult

Row = Mapping[str, Any]
"""One item of `status.blocked`, as stored."""

MAX_LENGTH = 500
"""Characters of a message."""


def blocked_rows(stored: Sequence[Row], result: PassResult, now: datetime) -> list[Row]:
    """Returns a row for each object that is not as it should be and cannot be changed now, or is not ready.

    Without a plan the stored rows stand.
    """
    plan = result.plan
    if plan is None:
        return [*stored]
    began = {(_identity(row), row["state"]): row["since"] for row in stored}
    states = {one.id: (BlockedState.WAITING, f"waits for {one.waits_for}") for one in plan.waiting}
    states |= {one.id: (BlockedState.NOT_READY, one.message) for one in plan.blockers}
    states |= {one.id: (BlockedState.HELD, "is not deleted without permission") for one in plan.held_prune}
    states |= {one.id: (BlockedState.REFUSED, f"was refused: {one.error}") for one in result.refusals}
    states |= {one.id: (BlockedState.CONFLICT, f"is another's: {one}") for one in result.name_conflicts}
    return [
        _row(one, state, text, began.get((one, state.value), now.strftime(TIME_FORMAT)))
        for one, (state, text) in sorted(states.items())
    ]


def blocked_for(rows: Iterable[Row], now: datetime) -> dict[ObjectId, timedelta]:
    """Returns for how long each object has not been ready."""
    return {identity: now - since for identity, since in blocked_since(rows).items()}


def blocked_since(rows: Iterable[Row]) -> dict[ObjectId, datetime]:
    """Returns since when each object has not been ready. The time in which it waited for others does not count."""
    not_ready = [row for row in rows if row["state"] == BlockedState.NOT_READY]
    return {_identity(row): datetime.fromisoformat(row["since"]) for row in not_ready}


def _row(identity: ObjectId, state: BlockedState, message: str, since: str) -> Row:
    text = message[:MAX_LENGTH]
    return {"kind": identity.kind, "name": identity.name, "state": state.value, "message": text, "since": since}


def _identity(row: Row) -> ObjectId:
    return ObjectId(row["kind"], row["name"])
