"""`diff`: what the operator would change of a shop, as it has published it in `status.pending`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from kubectl_ecommerce.commands.command import Command, Report, Session
from kubectl_ecommerce.output import Cell, Style, Text, Tone, table
from kubectl_ecommerce.shop import Shop


def run(session: Session) -> Report:
    return report(session.shop(), session.now)


def report(shop: Shop, _: datetime) -> Report:
    """Returns the pending changes of a shop."""
    pending = shop.status.get("pending") or {}
    data = {
        "namespace": shop.namespace,
        "name": shop.name,
        "mode": shop.status.get("mode", ""),
        "observedNewestSpec": shop.is_current,
        "pending": dict(pending),
        "held": [dict(row) for row in shop.rows("blocked") if row["state"] == "Held"],
    }
    return Report(data, lambda style: "".join(_render(shop, data, style)))


DIFF = Command(
    "diff",
    "show what the operator would change in a shop",
    "Shows the changes that the operator has decided on and not made: which objects it would apply or delete, and what "
    "is different about them. They are those of its last pass (status.pending), which names the first twenty; objects "
    "themselves are not compared. To see what a change of the spec would do: pause the shop, edit it, run diff, and "
    "resume it.",
    ("diff", "diff shop -n shop", "diff shop -o json"),
    run,
)


def _render(shop: Shop, data: dict[str, Any], style: Style) -> Iterator[str]:
    if not shop.is_current:
        yield f"{shop}: the operator has not seen the newest spec yet; this is about the one before.\n"
    rows = [*_rows(data)]
    if not rows:
        yield f"{shop}: the operator has nothing to change.\n"
        return
    yield f"{shop}: {_heading(data)}\n"
    yield table(("ACTION", "KIND", "NAME", "REASON", "MESSAGE"), rows, style)
    more = data["pending"].get("applies", 0) + data["pending"].get("deletions", 0)
    more -= len(data["pending"].get("objects", ()))
    if more > 0:
        yield f"and {more} more to apply or delete\n"


def _heading(data: dict[str, Any]) -> str:
    pending = data["pending"]
    counts = f"{pending.get('applies', 0)} to apply, {pending.get('deletions', 0)} to delete"
    if data["mode"] == "Observe":
        return f"{counts}. The shop is paused: nothing of this is done before kubectl ecommerce resume."
    return f"{counts}, not done yet. kubectl ecommerce why says what they wait for."


def _rows(data: dict[str, Any]) -> Iterator[Sequence[Cell]]:
    for row in data["pending"].get("objects", ()):
        deletes = row["reason"] == "NotRequired"
        action = Text("delete", Tone.BAD) if deletes else Text("apply", Tone.WAIT)
        yield action, row["kind"], row["name"], row["reason"], row["message"]
    for row in data["held"]:
        yield Text("held", Tone.BAD), row["kind"], row["name"], "NotRequired", row["message"]
