"""The table of `make bench-operator`, and its place in docs/measurements.md. Pure, but for reading and writing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shop_e2e.bench_operator.bare_loop import BareLoop
from shop_e2e.bench_operator.fleet import Creation, Fleet, FleetUpgrade, Resync

BEGIN, END = "<!-- bench-operator -->", "<!-- end of bench-operator -->"


@dataclass(frozen=True)
class Figures:
    """What one run has measured."""

    shops: int
    machine: str
    bare_shops: int
    """The shops that the bare loop applied."""
    bare: BareLoop
    fleet: Fleet

    def dump(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> Figures:
        fields = json.loads(text)
        return cls(**{**fields, "bare": BareLoop(**fields["bare"]), "fleet": _fleet(fields["fleet"])})


def _fleet(fields: Mapping[str, Any]) -> Fleet:
    upgrade = fields["upgrade"]
    return Fleet(
        **{
            **fields,
            "creation": Creation(**fields["creation"]),
            "resync": Resync(**fields["resync"]),
            "upgrade": FleetUpgrade(**upgrade) if upgrade else None,
        }
    )


def keep(folder: Path, figures: Figures) -> None:
    """Keeps the figures of a run for the table and the plot, in place of an earlier run with as many shops."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{figures.shops}.json").write_text(figures.dump())


def kept(folder: Path) -> Sequence[Figures]:
    """Returns the figures of all runs that are kept, those of the smallest fleet first."""
    return sorted((Figures.load(path.read_text()) for path in folder.glob("*.json")), key=lambda one: one.shops)


def table(runs: Sequence[Figures]) -> str:
    """Returns a table with a column for each run."""
    names = [name for name, _ in _rows(runs[0])]
    columns = [[value for _, value in _rows(one)] for one in runs]
    rows = [f"| {' | '.join(cells)} |" for cells in zip(names, *columns, strict=True)]
    return "\n".join([f"| {'| ' * len(runs)}|", f"|{'---|' * (len(runs) + 1)}", *rows])


def _rows(figures: Figures) -> Iterator[tuple[str, str]]:
    fleet = figures.fleet
    creation, resync, upgrade = fleet.creation, fleet.resync, fleet.upgrade
    yield "shops", f"{figures.shops}"
    yield "machine", figures.machine
    yield "objects of one", f"{figures.bare.objects}"
    yield "a bare loop applies the same objects", f"{figures.bare.applied:.2f} shops/s (of {figures.bare_shops})"
    yield "until all pods of the bare loop are ready", f"{figures.bare.ready:.2f} shops/s"
    yield "created until all are ready", f"{creation.rate:.2f} shops/s"
    yield "for one: requests, passes", f"{creation.requests:.0f}, {creation.passes:.1f}"
    yield "for one: processor time of the operator", f"{creation.processor:.2f} s"
    yield "restart until all are in sync", f"{fleet.restart:.1f} s, {fleet.restart_writes} writes"
    yield "resync: interval, writes", f"{resync.seconds} s, {resync.writes}"
    yield "resync of one: lists, watches", f"{resync.lists:.2f}, {resync.watches:.2f}"
    yield "resync of one: bytes, processor time", f"{resync.bytes / 1024:.0f} KiB, {_milliseconds(resync.processor)}"
    yield "change until applied while all resync: p50, p99", _latency(fleet.latencies)
    yield "a new release until all shops have it", f"{upgrade.seconds:.0f} s" if upgrade else ""
    yield "shops between releases at once: canary, then", _at_once(upgrade) if upgrade else ""
    yield "upgrade of one: processor time of the operator", f"{upgrade.processor:.2f} s" if upgrade else ""
    yield "resident memory, at most", f"{fleet.resident / 2**20:.0f} MiB"
    yield "longest block of the event loop", _milliseconds(fleet.block)
    yield "without the time in which no processor was free", _milliseconds(fleet.own_block)
    yield "processor time of its longest callback", _milliseconds(fleet.work)
    yield "leader kept", "yes" if fleet.leader_kept else "no"


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.0f} ms"


def two_columns(rows: Sequence[tuple[str, str]]) -> str:
    """Returns a table of names and values."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def quantile(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _latency(ordered: Sequence[float]) -> str:
    return f"{quantile(ordered, 50):.2f} s, {quantile(ordered, 99):.2f} s (of {len(ordered)})"


def _at_once(upgrade: FleetUpgrade) -> str:
    return f"{upgrade.most_before_first}, {upgrade.most_at_once}"


def write(page: Path, runs: Sequence[Figures]) -> None:
    """Replaces the table in the page."""
    text = page.read_text()
    page.write_text(re.sub(f"{BEGIN}.*{END}", f"{BEGIN}\n\n{table(runs)}\n\n{END}", text, flags=re.DOTALL))
