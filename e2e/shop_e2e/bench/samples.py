"""What is measured, and how several rounds of it are summarized. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """What was measured: the work on a catalogue of a size, over a number of connections."""

    products: int
    connections: int
    work: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one case. Processor times are seconds of one processor."""

    target: str
    case: Case
    round: int
    milliseconds: Sequence[float]
    """How long each request took; for journeys and mixes each of them, with all its requests."""
    requests: int
    """How many requests were sent: more than there are times where one action has several."""
    seconds: float
    processor: float
    """Processor time of the target and its stores, until what the requests caused was done; less what it uses at
    rest.
    """
    client_share: float
    """The part of one processor that the client used: near 1, it was the client that was measured."""
    commits: int
    """How many transactions that wrote something were committed, of all databases of the server."""
    failures: Sequence[str]

    @property
    def rate(self) -> float:
        """Actions per second."""
        return len(self.milliseconds) / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Life:
    """What one start of a target cost."""

    target: str
    products: int
    round: int
    start_seconds: float
    rest_bytes: int
    """Resident memory of the target's own processes after the start; `loaded_bytes` after all that was measured."""
    loaded_bytes: int
    stores_bytes: int
    """Resident memory of its stores after that. PostgreSQL's has what it cached for other targets too."""
    rest_share: float
    """The part of one processor that it uses at rest, its stores included."""


@dataclass(frozen=True, slots=True)
class Race:
    target: str
    round: int
    stock: int
    buyers: int
    sold: int


@dataclass(slots=True)
class OverloadOutcome:
    """The outcome of each journey of an overload. Times are milliseconds."""

    served: list[float] = field(default_factory=list)
    """The time of each journey that was made."""
    refusals: list[float] = field(default_factory=list)
    """The time of each request that was refused."""
    refusals_with_time: int = 0
    """The refusals that said when to return (`Retry-After`)."""
    failures: list[str] = field(default_factory=list)
    """What was neither an answer nor such a refusal."""
    seconds: float = 0.0
    """The time between the first beginning and the end of the last journey."""


@dataclass(frozen=True, slots=True)
class Overload:
    """Journeys that began more often than the target can make them. Rates are per second."""

    target: str
    round: int
    peak: float
    """The rate of journeys over the number of connections with the most."""
    offered: float
    outcome: OverloadOutcome

    @property
    def kept(self) -> float:
        """The part of the peak rate at which journeys were made."""
        return len(self.outcome.served) / self.outcome.seconds / self.peak


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several rounds, and the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Summary:
    """All rounds of one case on one target."""

    target: str
    case: Case
    rate: Spread
    p50: float
    p99: float
    """The 50th and 99th percentile of the times of all rounds together, in milliseconds."""
    processor_per_1000: float
    """Seconds of one processor per 1,000 requests, the median of the rounds."""
    processor_per_action: float
    """Milliseconds of one processor per action, the median of the rounds: a journey is one action of five requests."""
    commits_per_action: float
    client_share: float
    actions: int
    failures: int


def summarize(samples: Iterable[Sample]) -> list[Summary]:
    """Returns one summary per case and target, in the order of cases. A case that only failed has none."""
    grouped: dict[tuple[Case, str], list[Sample]] = {}
    for sample in samples:
        grouped.setdefault((sample.case, sample.target), []).append(sample)
    return [
        _summary(target, case, group) for (case, target), group in grouped.items() if any(s.milliseconds for s in group)
    ]


def _summary(target: str, case: Case, samples: Sequence[Sample]) -> Summary:
    times = sorted(one for sample in samples for one in sample.milliseconds)
    per_1000 = [1000 * sample.processor / sample.requests for sample in samples if sample.requests]
    return Summary(
        target=target,
        case=case,
        rate=Spread.of([sample.rate for sample in samples]),
        p50=quantile(times, 0.50),
        p99=quantile(times, 0.99),
        processor_per_action=statistics.median(
            1000 * sample.processor / len(sample.milliseconds) for sample in samples if sample.milliseconds
        ),
        processor_per_1000=statistics.median(per_1000),
        commits_per_action=sum(sample.commits for sample in samples) / len(times),
        client_share=max(sample.client_share for sample in samples),
        actions=len(times),
        failures=sum(len(sample.failures) for sample in samples),
    )


def quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """Returns `p50` and `p99` of unordered times; nothing of none."""
    times = sorted(milliseconds)
    return {"p50": quantile(times, 0.50), "p99": quantile(times, 0.99)} if times else {}


def p50_and_p99(milliseconds: Sequence[float]) -> str:
    """Returns both as text; empty of no times."""
    return ", ".join(f"{one:.0f}" for one in quantiles(milliseconds).values())


def quantile(ordered: Sequence[float], part: float) -> float:
    """Returns the least value that at least this part of the ordered values does not exceed (nearest rank)."""
    return ordered[max(math.ceil(part * len(ordered)) - 1, 0)]
