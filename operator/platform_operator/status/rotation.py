"""The rotations of a platform in its status: a row for each kind, and the condition Rotating. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from platform_operator.api.conditions import TIME_FORMAT, Condition, ConditionReason, RotationKind
from platform_operator.secrets.rotation import Rotation, RotationReport


def rotation_rows(report: RotationReport) -> list[dict[str, Any]]:
    """Returns the rows of `status.rotation`: the kinds that have ever been rotated."""
    return [_row(kind, one) for kind, one in sorted(report.rotations.items()) if _was_rotated(one)]


def _was_rotated(rotation: Rotation) -> bool:
    return replace(rotation, asked="") != Rotation()


def _row(kind: RotationKind, rotation: Rotation) -> dict[str, Any]:
    times = {"since": rotation.since, "finished": rotation.finished}
    return {
        "name": str(kind),
        "generation": rotation.generation,
        "step": str(rotation.step),
        **({"request": rotation.request} if rotation.request else {}),
        **{name: time.strftime(TIME_FORMAT) for name, time in times.items() if time},
    }


def rotation_condition(report: RotationReport, *, reported_before: bool) -> Condition | None:
    """Returns whether credentials are being rotated; None for a platform that was never asked to."""
    active = [(kind, one) for kind, one in sorted(report.rotations.items()) if one.is_active]
    waits = [report.waits] if report.waits else []
    if active:
        steps = [_waits_for(report, kind, one) for kind, one in active]
        reason = ConditionReason.ROTATION_REFUSED if report.is_held_up else ConditionReason.ROTATING
        return Condition("Rotating", True, reason, " ".join([*steps, *report.problems, *waits]))
    if report.problems:
        return Condition(
            "Rotating",
            False,
            ConditionReason.ROTATION_REFUSED,
            " ".join(filter(None, [*report.problems, report.waits])),
        )
    if waits:
        return Condition("Rotating", False, ConditionReason.ROTATION_WAITS, report.waits)
    finished = [(kind, one) for kind, one in sorted(report.rotations.items()) if one.generation]
    if not (finished or reported_before):
        return None
    return Condition("Rotating", False, ConditionReason.ROTATED, _finished(finished))


def _waits_for(report: RotationReport, kind: RotationKind, rotation: Rotation) -> str:
    after = report.next_steps.get(kind)
    wait = f"not before {after.strftime(TIME_FORMAT)}" if after else "when the shop is Ready and no other pod is left"
    return f"{kind}: step {rotation.step}; the next one comes {wait}."


def _finished(rotations: Sequence[tuple[RotationKind, Rotation]]) -> str:
    generations = ", ".join(f"{kind} in generation {one.generation}" for kind, one in rotations)
    return f"No credentials are being rotated; {generations or 'all are in generation 0'}."
