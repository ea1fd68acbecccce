"""The figures of the soak, and what fails it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shop_e2e.bench_operator.report import two_columns

WARM_UP = 120.0
"""Seconds after a process began to lead in which its memory still grows: caches fill, modules are imported."""
ALLOWED_GROWTH = 10
"""Threads, connections or tasks by which two processes in the same state may differ: pools grow as they are used."""


@dataclass(frozen=True)
class Sample:
    """What a leader uses at one time. Memory is in bytes, time in seconds."""

    life: str
    """The process: each start of an operator is another one."""
    at: float
    resident: int
    threads: int
    connections: int
    tasks: int


@dataclass
class Figures:
    """What one run has counted. Times are seconds."""

    shops: int
    seed: int
    seconds: float
    machine: str
    done: dict[str, int] = field(default_factory=dict)
    """The disturbances of each kind."""
    created: float = 0.0
    """The time until all shops were ready, with those for reference, after they were created at once."""
    checks: int = 0
    """The checks since then."""
    slowest_convergence: float = 0.0
    objects: tuple[int, int] = (0, 0)
    """The objects of all shops at the first and at the last check."""
    first: Sample | None = None
    """The leader after the shops were created, and no work was left."""
    last: Sample | None = None
    """The leader after everything, and no work was left."""
    samples: Sequence[Sample] = ()
    slowest_takeover: float = 0.0
    lost_leases: int = 0
    """Operators that ended because they could not renew the Lease in time: the machine had too much other work."""
    writes: int = 0
    """Writes in a resync after the end."""
    failures: list[str] = field(default_factory=list)


def growth(figures: Figures) -> list[str]:
    """Returns what the last leader has more of than the first one, one line each."""
    first, last = figures.first, figures.last
    if first is None or last is None:
        return ["the leaders were not measured"]
    return [
        f"the leader has {getattr(last, name)} {name}, after {getattr(first, name)} at the start"
        for name in ("threads", "connections", "tasks")
        if getattr(last, name) > getattr(first, name) + ALLOWED_GROWTH
    ]


def memory_slope(samples: Sequence[Sample]) -> float | None:
    """Returns by how many bytes a second the memory of a leader grows after its warm-up: least squares over all
    processes, each with a level of its own. None if none led for long enough.
    """
    above = below = 0.0
    for life in dict.fromkeys(one.life for one in samples):
        of_it = [one for one in samples if one.life == life]
        warm = [one for one in of_it if one.at - of_it[0].at >= WARM_UP]
        if len(warm) < 2:
            continue
        mean_time, mean = (sum(values) / len(warm) for values in ([w.at for w in warm], [w.resident for w in warm]))
        above += sum((one.at - mean_time) * (one.resident - mean) for one in warm)
        below += sum((one.at - mean_time) ** 2 for one in warm)
    return above / below if below else None


def longest_life(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Returns the samples of the process that led longest."""
    lives = [[one for one in samples if one.life == life] for life in dict.fromkeys(one.life for one in samples)]
    return max(lives, key=lambda life: life[-1].at - life[0].at, default=())


def table(figures: Figures) -> str:
    first, last = figures.first, figures.last
    rows = [
        ("shops, and minutes of disturbances", f"{figures.shops}, {figures.seconds / 60:.0f}"),
        ("machine", figures.machine),
        ("seed", f"{figures.seed}"),
        ("all shops created until all are ready", f"{figures.created:.0f} s"),
        *((name, f"{count}") for name, count in figures.done.items()),
        ("slowest takeover after the loss of a leader", f"{figures.slowest_takeover:.0f} s"),
        ("Leases that were lost without being disturbed", f"{figures.lost_leases}"),
        ("checks, and the longest time until all shops were as their specs say",
         f"{figures.checks}, {figures.slowest_convergence:.0f} s"),
        ("objects of all shops at the start, at the end", "{}, {}".format(*figures.objects)),
        ("writes in a resync after the end", f"{figures.writes}"),
    ]  # fmt: skip
    if first is not None and last is not None:
        pairs = ((first.threads, last.threads), (first.connections, last.connections), (first.tasks, last.tasks))
        text = "; ".join(f"{before}, {after}" for before, after in pairs)
        rows.append(("threads; connections; tasks of the leader, at the start and at the end", text))
    rows += _memory(figures.samples)
    return two_columns([*rows, ("failures", f"{len(figures.failures)}")])


def _memory(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    life = longest_life(samples)
    if not life:
        return []
    slope = memory_slope(samples)
    minutes, least, most = (life[-1].at - life[0].at) / 60, min(s.resident for s in life), max(s.resident for s in life)
    known = "not known: no process led long enough" if slope is None else f"{slope * 3600 / 2**20:+.1f} MiB/h"
    return [
        (f"memory of the longest leader, {minutes:.0f} min: first, last, least, most",
         ", ".join(f"{size / 2**20:.0f}" for size in (life[0].resident, life[-1].resident, least, most)) + " MiB"),
        (f"growth of memory from {WARM_UP:.0f} s on", known),
    ]  # fmt: skip
