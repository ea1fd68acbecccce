"""The plot of `make bench-operator`: what grows with the number of shops, and what must not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from devtools.dashboard_plots import STYLE
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from shop_e2e.bench_operator.report import Figures, quantile


@dataclass(frozen=True)
class _Panel:
    """One panel: lines by name, each with a value for each run, and the goal."""

    title: str
    lines: Mapping[str, Sequence[float]]
    goal: float | None = None


def plot(runs: Sequence[Figures]) -> Figure:
    """Draws the runs, by the number of shops."""
    with mpl.rc_context(fname=STYLE):
        figure = Figure(figsize=(11, 5.6), layout="constrained")
        figure.suptitle("One operator and many shops", fontsize=12, fontweight="bold", x=0.01, ha="left")
        panels = _panels(runs)
        for axes, panel in zip(figure.subplots(2, len(panels) // 2).flat, panels, strict=True):
            _draw(axes, panel, [one.shops for one in runs])
    return figure


def _panels(runs: Sequence[Figures]) -> Sequence[_Panel]:
    fleets = [one.fleet for one in runs]
    return (
        _Panel(
            "Shops created per second",
            {
                "operator, until ready": [one.creation.rate for one in fleets],
                "bare loop, until ready": [one.bare.ready for one in runs],
                "bare loop, applied": [one.bare.applied for one in runs],
            },
        ),
        _Panel(
            "Processor seconds of the operator per shop",
            {
                "creation": [one.creation.processor for one in fleets],
                "upgrade": [one.upgrade.processor if one.upgrade else float("nan") for one in fleets],
            },
        ),
        _Panel(
            "Seconds until a change is applied",
            {name: [quantile(one.latencies, percent) for one in fleets] for name, percent in _QUANTILES.items()},
            goal=5,
        ),
        _Panel("Seconds from a restart until in sync", {"restart": [one.restart for one in fleets]}, goal=30),
        _Panel("Resident memory, MiB", {"operator": [one.resident / 2**20 for one in fleets]}, goal=512),
        _Panel(
            "Requests per shop in a steady resync",
            {"lists": [one.resync.lists for one in fleets], "watches": [one.resync.watches for one in fleets]},
        ),
    )


_QUANTILES = {"p50": 50, "p99": 99}


def _draw(axes: Axes, panel: _Panel, shops: Sequence[int]) -> None:
    axes.set_title(panel.title)
    for number, (name, values) in enumerate(panel.lines.items()):
        axes.plot(shops, values, marker="o", markersize=4, color=f"C{number}", label=name)
    if panel.goal is not None:
        axes.axhline(panel.goal, linestyle="--", linewidth=1, color="grey", label="goal: less than this")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([*shops]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{one}" for one in shops])
    axes.set_xlabel("shops")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.5)
    axes.legend(frameon=False, loc="upper left")
