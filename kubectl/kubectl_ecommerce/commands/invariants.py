"""`invariants`: the business promises of a shop, as its services count them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kubectl_ecommerce.commands.command import Command, Report, Session
from kubectl_ecommerce.output import Cell, Style, Text, Tone, table
from kubectl_ecommerce.shop import Row, Shop


def run(session: Session) -> Report:
    return report(session.shop(), session.now)


def report(shop: Shop, _: datetime) -> Report:
    """Returns the invariants of a shop."""
    rows = sorted(shop.rows("invariants"), key=_order)
    data = {"namespace": shop.namespace, "name": shop.name, "invariants": [dict(row) for row in rows]}
    return Report(data, lambda style: _render(shop, rows, style))


INVARIANTS = Command(
    "invariants",
    "list the business invariants of a shop, broken ones first",
    "Shows each business invariant of a shop, such as that no stock is oversold and that no order is charged twice: "
    "whether it holds, and how many rows break it. The operator reads them from the services every 30 seconds.",
    ("invariants", "invariants shop -n shop", "invariants shop -o json"),
    run,
)

_TONES = {"Broken": Tone.BAD, "Unknown": Tone.WAIT, "Holds": Tone.GOOD}


def _order(row: Row) -> tuple[int, str, str]:
    return [*_TONES].index(row["state"]) if row["state"] in _TONES else 0, row["service"], row["name"]


def _render(shop: Shop, rows: Sequence[Row], style: Style) -> str:
    if not rows:
        return f"{shop}: no invariants are reported yet.\n"
    return table(("SERVICE", "INVARIANT", "STATE", "VIOLATIONS", "MESSAGE"), [_cells(row) for row in rows], style)


def _cells(row: Row) -> Sequence[Cell]:
    count = str(row["violations"]) if "violations" in row else ""
    state = Text(row["state"], _TONES.get(row["state"], Tone.BAD))
    return row["service"], row["name"], state, count, row.get("message", "")
