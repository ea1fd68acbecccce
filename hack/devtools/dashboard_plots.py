"""Plots the dashboards from a Prometheus, by the same queries.

`python -m devtools.dashboard_plots http://localhost:9090` writes docs/pictures/services.svg, business.svg and
operator.svg.
"""

import argparse
import asyncio
import math
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from devtools.dashboards import DASHBOARDS, Dashboard, Panel
from devtools.metrics_reference import ROOT
from devtools.prometheus import Prometheus

_COLUMNS, _POINTS = 3, 240
_LEGENDS = 8
"""The number of series with a legend; more would hide the lines."""
STYLE = Path(__file__).with_suffix(".mplstyle")
_WIDE = 24
"""The length in characters from which legends are put below each other."""
_HEADROOM = 1.4
"""The space above the highest line, for the legend."""
_SECONDS, _SHARE, _BYTES = "s", "percentunit", "bytes"

Series = Mapping[str, Sequence[tuple[float, float]]]
"""Points of time and value, by legend."""


async def draw(prometheus: Prometheus, dashboard: Dashboard, namespace: str, minutes: float, end: float) -> Figure:
    """Draws all panels of a dashboard over the minutes before `end`, in seconds since the epoch. Raises
    httpx.HTTPError.
    """
    panels, scrape = dashboard.panels, await prometheus.scrape_seconds()
    lines = -(-len(panels) // _COLUMNS)
    with mpl.rc_context(fname=STYLE):
        figure = Figure(figsize=(4.4 * _COLUMNS, 2.5 * lines + 0.5), layout="constrained")
        figure.suptitle(dashboard.title, fontsize=12, fontweight="bold", x=0.01, ha="left")
        grid = figure.subplots(lines, _COLUMNS, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _plot(axes, panel, await series(prometheus, panel, namespace, scrape, minutes, end), minutes, end)
        for spare in list(grid.flat)[len(panels) :]:
            spare.set_visible(False)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure; the path's suffix is its format."""
    with mpl.rc_context(fname=STYLE):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


async def series(
    prometheus: Prometheus, panel: Panel, namespace: str, scrape: float, minutes: float, end: float
) -> Series:
    """Returns the series of a panel's queries by legend, for metrics scraped every `scrape` seconds. Raises
    httpx.HTTPError.
    """
    found: dict[str, Sequence[tuple[float, float]]] = {}
    step = max(minutes * 60 / _POINTS, 1)
    interval = f"{round(max(step + scrape, 4 * scrape))}s"  # as Grafana has it
    for legend, query in panel.queries.items():
        asked = filled(query, namespace, interval)
        for one in await prometheus.over(asked, end - minutes * 60, end, step):
            found[_named(legend, one["metric"])] = [(at, float(value)) for at, value in one["values"]]
    return found


def filled(query: str, namespace: str, interval: str) -> str:
    """Returns a panel's query with values in place of Grafana's variables."""
    return query.replace("$namespace", namespace).replace("$__rate_interval", interval)


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), legend)


def _plot(axes: Axes, panel: Panel, shown: Series, minutes: float, end: float) -> None:
    axes.set_title(panel.title)
    for legend, points in shown.items():
        ago = [(at - end) / 60 for at, _ in points]
        named = legend if len(axes.lines) < _LEGENDS else "_nolegend_"
        axes.plot(ago, [value for _, value in points], linewidth=1.2, label=named)
    values = [value for points in shown.values() for _, value in points if math.isfinite(value)]
    highest = max(values, default=0.0)
    axes.set_ylim(min(0.0, min(values, default=0.0)), highest * _HEADROOM if highest > 0 else 1.0)
    axes.set_xlim(-minutes, 0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ago, _: f"{ago:g} min"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _written(value, panel.unit)))
    if shown:
        columns = 1 if max(map(len, shown)) > _WIDE else 2
        axes.legend(fontsize=6, ncols=columns, frameon=False, loc="upper left").set_in_layout(False)
    else:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color="#6b7280")


def _written(value: float, unit: str) -> str:
    """Formats a value with its unit, short enough for an axis."""
    if unit == _SHARE:
        return f"{value * 100:.3g} %"
    if unit == _BYTES:
        return f"{value / 2**20:.0f} MiB"
    if unit == _SECONDS:
        return f"{value:.3g} s" if value >= 1 or value == 0 else f"{value * 1000:.3g} ms"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.3g}"


async def _write(arguments: Any) -> None:
    arguments.to.mkdir(parents=True, exist_ok=True)
    async with Prometheus(arguments.url) as prometheus:
        for dashboard in DASHBOARDS:
            figure = await draw(prometheus, dashboard, arguments.namespace, arguments.minutes, time.time())
            path: Path = arguments.to / f"{dashboard.name}.svg"
            save(figure, path)
            print(path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m devtools.dashboard_plots", description=__doc__)
    parser.add_argument("url", help="a Prometheus, e.g. http://localhost:9090")
    parser.add_argument("--namespace", default=".*", help="of the shop, as a regular expression [%(default)s]")
    parser.add_argument("--minutes", type=float, default=60, help="how far to look back [%(default)s]")
    parser.add_argument(
        "--to", type=Path, default=ROOT / "docs/pictures", help="folder for the pictures [docs/pictures]"
    )
    chosen = parser.parse_args(arguments)
    try:
        asyncio.run(_write(chosen))
    except httpx.HTTPError as error:
        sys.exit(f"{chosen.url} does not answer the queries of the dashboards ({error}): give the URL of a Prometheus")


if __name__ == "__main__":
    main()
