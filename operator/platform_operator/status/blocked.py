"""The rows of `status.blocked`: the objects that are not ready, why, and since when. Pure.

The time is in the status and not in memory, so that a deadline goes on when the operator restarts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from platform_operator.api.kinds import ObjectId
from platform_operator.plan.planner import Plan
from platform_operator.plan.readiness import Blocker

Row = Mapping[str, Any]
"""One item of `status.blocked`, as stored."""

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def blocked_rows(stored: Sequence[Row], plan: Plan | None, now: datetime) -> list[Row]:
    """Returns a row for each object of the plan that is not ready. Without a plan the stored rows stand."""
    if plan is None:
        return [*stored]
    began = {_identity(row): row["since"] for row in stored}
    blockers = sorted(plan.blockers, key=lambda one: (one.wave, one.id))
    return [_row(one, began.get(one.id, now.strftime(TIME_FORMAT))) for one in blockers]


def blocked_for(rows: Iterable[Row], now: datetime) -> dict[ObjectId, timedelta]:
    """Returns for how long each object has not been ready."""
    return {identity: now - since for identity, since in blocked_since(rows).items()}


def blocked_since(rows: Iterable[Row]) -> dict[ObjectId, datetime]:
    """Returns since when each object has not been ready."""
    return {_identity(row): datetime.fromisoformat(row["since"]) for row in rows}


def _row(one: Blocker, since: str) -> Row:
    return {"kind": one.id.kind, "name": one.id.name, "message": one.message, "since": since}


def _identity(row: Row) -> ObjectId:
    return ObjectId(row["kind"], row["name"])
