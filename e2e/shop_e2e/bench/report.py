"""The results of a benchmark as JSON, as tables in Markdown, and as a plot."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl
from devtools.dashboard_plots import STYLE
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shop_e2e.bench.samples import (
    Life,
    Overload,
    Race,
    Sample,
    Spread,
    Summary,
    p50_and_p99,
    quantiles,
    summarize,
)
from shop_e2e.bench.targets.target import DESCRIPTIONS

_MIB = 1 << 20
_APART = 0.18
"""The distance between two targets in the plot; that between two works is 1."""
_CLIENT_LIMIT = 0.7
"""The part of a processor from which on the client may be what limits a rate."""


@dataclass(frozen=True, slots=True)
class Report:
    """The results. `shop` is the target that the others are compared with, `peers` are those it is compared with."""

    shop: str
    peers: Sequence[str]
    machine: Mapping[str, str]
    servers: Mapping[str, str]
    targets: Mapping[str, Mapping[str, str]]
    samples: Sequence[Sample]
    lives: Sequence[Life]
    races: Sequence[Race]
    overloads: Sequence[Overload]

    def write(self, folder: Path) -> list[Path]:
        """Writes results.json, results.md and results.svg, and returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"results.{suffix}" for suffix in ("json", "md", "svg")]
        summaries = summarize(self.samples)
        paths[0].write_text(json.dumps(self._as_json(summaries), indent=1) + "\n")
        paths[1].write_text(self.markdown(summaries))
        with mpl.rc_context(fname=STYLE):
            _plot(summaries).savefig(paths[2], metadata={"Date": None})
        return paths

    def markdown(self, summaries: Sequence[Summary]) -> str:
        parts = ["# Benchmark", "", *self._settings(), "", *_lives(self.lives), "", *_races(self.races), ""]
        parts += _overloads(self.overloads)
        groups = {(summary.case.products, summary.case.connections): None for summary in summaries}
        for products, connections in groups:
            group = [one for one in summaries if (one.case.products, one.case.connections) == (products, connections)]
            parts += ["", f"## {products:,} products, {connections} connections", "", *self._table(group)]
        parts += ["", "## Work", "", *(f"- **{work}**: {text}" for work, text in DESCRIPTIONS.items())]
        return "\n".join([*parts, ""])

    def _settings(self) -> Iterable[str]:
        yield "| what | settings |"
        yield "|---|---|"
        rows = {"machine": self.machine, "servers": self.servers, **self.targets}
        for name, facts in rows.items():
            yield f"| {name} | {'; '.join(f'{key}: {value}' for key, value in facts.items())} |"

    def _table(self, group: Sequence[Summary]) -> Iterable[str]:
        yield (
            "| work | target | per second (least to most) | times the best peer | p50 ms | p99 ms"
            " | processor s per 1,000 requests | processor ms per action"
            " | commits per action | actions | failures | client's processor |"
        )
        yield f"|{12 * '---|'}"
        for work in dict.fromkeys(summary.case.work for summary in group):
            of_work = [summary for summary in group if summary.case.work == work]
            for summary in of_work:
                cells = (
                    work, summary.target, _spread(summary.rate), self._ratio(summary, of_work), f"{summary.p50:.1f}",
                    f"{summary.p99:.1f}", f"{summary.processor_per_1000:.2f}", f"{summary.processor_per_action:.2f}",
                    f"{summary.commits_per_action:.1f}",
                    str(summary.actions), str(summary.failures), _client(summary.client_share),
                )  # fmt: skip
                yield f"| {' | '.join(cells)} |"

    def _ratio(self, summary: Summary, of_work: Sequence[Summary]) -> str:
        peers = [one.rate.median for one in of_work if one.target in self.peers]
        if summary.target != self.shop or not peers or not max(peers):
            return ""
        return f"{summary.rate.median / max(peers):.1f}"

    def _as_json(self, summaries: Sequence[Summary]) -> Mapping[str, object]:
        return {
            "machine": self.machine,
            "servers": self.servers,
            "targets": self.targets,
            "summaries": [asdict(summary) for summary in summaries],
            "rounds": [_sample_as_json(sample) for sample in self.samples],
            "lives": [asdict(life) for life in self.lives],
            "races": [asdict(race) for race in self.races],
            "overloads": [_overload_as_json(one) for one in self.overloads],
        }


def _sample_as_json(sample: Sample) -> Mapping[str, object]:
    """Returns a sample without its single times, of which there may be a million."""
    fields = {name: value for name, value in asdict(sample).items() if name != "milliseconds"}
    return {**fields, "actions": len(sample.milliseconds), "rate": sample.rate, **quantiles(sample.milliseconds)}


def _overload_as_json(one: Overload) -> Mapping[str, object]:
    """Returns an overload without its single times."""
    outcome = one.outcome
    return {
        "target": one.target,
        "round": one.round,
        "peak": one.peak,
        "offered": one.offered,
        "kept": one.kept,
        "seconds": outcome.seconds,
        "served": {"journeys": len(outcome.served), **quantiles(outcome.served)},
        "refused": {
            "requests": len(outcome.refusals),
            "with_time": outcome.refusals_with_time,
            **quantiles(outcome.refusals),
        },
        "failures": outcome.failures,
    }


def _lives(lives: Sequence[Life]) -> Iterable[str]:
    yield (
        "| target | products | start to healthy s | resident at rest MiB | after load MiB | its stores MiB"
        " | processor at rest |"
    )
    yield "|---|---|---|---|---|---|---|"
    for target, products in dict.fromkeys((life.target, life.products) for life in lives):
        group = [life for life in lives if (life.target, life.products) == (target, products)]
        start, rest, loaded, stores, share = (
            Spread.of(values)
            for values in (
                [life.start_seconds for life in group],
                [life.rest_bytes / _MIB for life in group],
                [life.loaded_bytes / _MIB for life in group],
                [life.stores_bytes / _MIB for life in group],
                [life.rest_share for life in group],
            )
        )
        yield (
            f"| {target} | {products:,} | {_spread(start)} | {rest.median:.0f} | {loaded.median:.0f}"
            f" | {stores.median:.0f} | {share.median:.1%} |"
        )


def _races(races: Sequence[Race]) -> Iterable[str]:
    for race in races:
        verdict = "as many as there were" if race.sold == race.stock else "not as many as there were"
        yield (
            f"- race, round {race.round}, {race.target}: {race.buyers} buyers, {race.stock} units, {race.sold} sold:"
            f" {verdict}"
        )


def _overloads(overloads: Sequence[Overload]) -> Iterable[str]:
    if not overloads:
        return
    yield (
        "| overload | journeys/s: peak, offered | served | of the peak rate | p50, p99 ms | refused | with Retry-After"
        " | p50, p99 ms of a refusal | failures |"
    )
    yield f"|{9 * '---|'}"
    for one in overloads:
        cells = (
            f"{one.target}, round {one.round}", f"{one.peak:.1f}, {one.offered:.1f}", str(len(one.outcome.served)),
            f"{one.kept:.0%}", p50_and_p99(one.outcome.served), str(len(one.outcome.refusals)),
            str(one.outcome.refusals_with_time), p50_and_p99(one.outcome.refusals), str(len(one.outcome.failures)),
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def _spread(spread: Spread) -> str:
    return f"{spread.median:.1f} ({spread.least:.1f} to {spread.most:.1f})"


def _client(share: float) -> str:
    return f"{share:.0%}" + (" (limits the rate)" if share >= _CLIENT_LIMIT else "")


def _plot(summaries: Sequence[Summary]) -> Figure:
    """Draws the rates: one panel per catalogue and number of connections."""
    groups: dict[tuple[int, int], list[Summary]] = {}
    for summary in summaries:
        groups.setdefault((summary.case.products, summary.case.connections), []).append(summary)
    targets = list(dict.fromkeys(summary.target for summary in summaries))
    figure = Figure(figsize=(11, 0.6 + 3.0 * max(len(groups), 1)), layout="constrained")
    figure.suptitle("Actions per second, median of the rounds", fontsize=12, fontweight="bold", x=0.01, ha="left")
    panels = figure.subplots(max(len(groups), 1), 1, squeeze=False)[:, 0]
    for axes, ((products, connections), group) in zip(panels, groups.items(), strict=False):
        axes.set_title(f"{products:,} products, {connections} connections")
        _draw_rates(axes, group, targets)
    return figure


def _draw_rates(axes: Axes, group: Sequence[Summary], targets: Sequence[str]) -> None:
    """Draws the median of each rate as a point, and its spread as a line: a logarithmic axis has no zero for bars."""
    works = list(dict.fromkeys(summary.case.work for summary in group))
    for number, target in enumerate(targets):
        rates = {summary.case.work: summary.rate for summary in group if summary.target == target}
        shift = (number - (len(targets) - 1) / 2) * _APART
        axes.errorbar(
            [works.index(work) + shift for work in rates],
            [rate.median for rate in rates.values()],
            yerr=[
                [rate.median - rate.least for rate in rates.values()],
                [rate.most - rate.median for rate in rates.values()],
            ],
            fmt="o",
            markersize=4,
            linewidth=1,
            color=f"C{number}",
            label=target,
        )
    axes.set_yscale("log")
    axes.set_xticks(range(len(works)), works)
    axes.legend(frameon=False, ncols=len(targets), loc="lower left", bbox_to_anchor=(0.55, 1.0), borderaxespad=0)
