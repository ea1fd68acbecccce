"""The table of `make bench-operator`, and its place in docs/measurements.md. Pure, but for `write`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "<!-- bench-operator -->", "<!-- end of bench-operator -->"


@dataclass(frozen=True)
class Figures:
    """What one run has measured. Rates are shops per second, other times seconds, sizes bytes."""

    shops: int
    machine: str
    resync: int
    bare: float
    created: float
    restart: float
    restart_writes: int
    requests: float
    bytes: float
    writes: int
    latencies: Sequence[float]
    """The seconds of each change, in ascending order."""
    resident: int
    block: float
    work: float
    """The most processor time in one callback of the event loop."""
    leader_kept: bool


def table(figures: Figures) -> str:
    rows = [
        ("shops", f"{figures.shops}"),
        ("machine", figures.machine),
        ("a bare loop applies the same objects", f"{figures.bare:.2f} shops/s"),
        ("created until all are ready", f"{figures.created:.2f} shops/s"),
        ("restart until all are in sync", f"{figures.restart:.1f} s, {figures.restart_writes} writes"),
        (f"requests per shop in a resync of {figures.resync} s", f"{figures.requests:.1f}, {figures.writes} writes"),
        ("bytes per shop in it", f"{figures.bytes / 1024:.0f} KiB"),
        ("change until applied while all resync: p50, p99", _latency(figures.latencies)),
        ("resident memory", f"{figures.resident / 2**20:.0f} MiB"),
        ("longest block of the event loop", f"{figures.block * 1000:.0f} ms"),
        ("processor time of its longest callback", f"{figures.work * 1000:.0f} ms"),
        ("leader kept", "yes" if figures.leader_kept else "no"),
    ]
    return two_columns(rows)


def two_columns(rows: Sequence[tuple[str, str]]) -> str:
    """Returns a table of names and values."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _latency(ordered: Sequence[float]) -> str:
    middle, last = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"{middle:.2f} s, {last:.2f} s ({len(ordered)} changes)"


def write(page: Path, figures: Figures) -> None:
    """Replaces the table in the page."""
    text = page.read_text()
    page.write_text(re.sub(f"{BEGIN}.*{END}", f"{BEGIN}\n\n{table(figures)}\n\n{END}", text, flags=re.DOTALL))
