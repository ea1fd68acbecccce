"""Builds `status.pending`: what would be changed next, or is changed as soon as nothing blocks it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from platform_operator.plan.planner import Plan

MAX_NAMED = 20
"""Objects that are named. Of the others the status has the number."""
MAX_LENGTH = 300
"""Characters of a message. Names of field managers and fields come from other writers."""
NOT_REQUIRED = "NotRequired"
"""The reason of a deletion."""


def pending_changes(stored: Mapping[str, Any], plan: Plan | None) -> Mapping[str, Any]:
    """Returns the changes that are not made yet; empty if there are none. Without a plan the stored ones stand."""
    if plan is None:
        return stored
    rows = [*_rows(plan)]
    if not rows:
        return {}
    return {"applies": len(plan.due), "deletions": len(plan.leftovers), "objects": rows[:MAX_NAMED]}


def _rows(plan: Plan) -> Iterator[Mapping[str, str]]:
    """Yields deletions first: they cannot be undone."""
    for seen in plan.leftovers:
        yield _row(*seen.id, NOT_REQUIRED, "is not required any more")
    for change in plan.due:
        yield _row(*change.object.id, change.reason.value, change.cause)


def _row(kind: str, name: str, reason: str, message: str) -> Mapping[str, str]:
    return {"kind": kind, "name": name, "reason": reason, "message": message[:MAX_LENGTH]}
