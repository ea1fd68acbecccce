"""The metrics that a shop exports about its invariants and its proxies, and the result of scraping them. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from platform_operator.api.conditions import ConditionReason
from platform_operator.api.spec import WITH_DATABASE, Spec
from platform_operator.plan.error_rates import RequestCounts

VIOLATIONS = "business_invariant_violations"
CHECKED = "business_invariants_checked_timestamp_seconds"
PAUSE = "business_invariants_pause_seconds"
LAG = "outbox_lag_seconds"
QUEUE_MESSAGES = "rabbitmq_detailed_queue_messages"
REQUESTS = "http_server_request_duration_seconds_count"
ORDERS = "orders_placed_total"
STARTED = "process_start_time_seconds"
HEADERS_IGNORED = "forwarded_headers_ignored_total"

BROKER = "rabbitmq"
GATEWAY = "gateway"
_PROBES = ("/health", "/ready")
"""The routes that the kubelet requests, itself and not through a proxy."""
INTERVAL = 30.0
"""Seconds between two scrapes, as often as the services check."""
UNKNOWN_AFTER = 3 * INTERVAL
"""Seconds: three missed scrapes. For so long the last known state stands without being confirmed, since a pod that is
replaced, or an operator that has just started, breaks no invariant."""
_MISSED_CHECKS = 5
MAX_NAMES = 64
"""Invariants of a source, or dead-letter queues, that are kept. The metrics come from a shop, and end in its status."""
MAX_NAME_LENGTH = 100
"""Characters."""
MAX_COUNT = 2**31 - 1
"""What a count of the status can hold."""
STALE_AFTER = _MISSED_CHECKS * 30.0
"""Seconds: five of the services' own check intervals, after which a service's result counts no longer."""


@dataclass(frozen=True)
class ForwardedHeaders:
    """How many requests a gateway pod has answered since it started."""

    requests: int
    ignored: int
    """Those whose X-Forwarded-* headers it ignored, because they came from an address that is no trusted proxy's."""


@dataclass(frozen=True)
class PlacedOrders:
    """How many orders one pod has taken since it started."""

    started: float
    """When it started, in seconds of the epoch: that tells apart the pods behind one address."""
    placed: int


@dataclass(frozen=True)
class ServiceMetrics:
    """The metrics of one source. None: the source does not export that metric."""

    violations: Mapping[str, int] = field(default_factory=dict)
    """Rows that break each invariant."""
    checked: float | None = None
    """When the service last checked, in seconds of the epoch; 0: not yet."""
    lag: float | None = None
    """Age of the oldest event that is not yet published, in seconds."""
    dead_letters: Mapping[str, int] | None = None
    """Events that no consumer could handle, by dead-letter queue."""
    pause: float | None = None
    """Seconds that the service waits between two checks."""
    cut: bool = False
    """True if it exports more, or longer names, than MAX_NAMES and MAX_NAME_LENGTH: the rest is left out."""
    forwarded: ForwardedHeaders | None = None
    orders: PlacedOrders | None = None


@dataclass(frozen=True)
class ScrapeResult:
    """The newest result of scraping a source: its metrics, or why there are none and since when."""

    since: float
    """When the metrics were scraped, or when scraping began to fail, in seconds of the epoch."""
    metrics: ServiceMetrics | None = None
    failure: ConditionReason = ConditionReason.NOT_SCRAPED


def sources(spec: Spec) -> tuple[str, ...]:
    """Returns the components that are scraped. An external broker is not."""
    services = (*WITH_DATABASE, GATEWAY)
    return services if spec.broker.provider == "external" else (*services, BROKER)


def parse_metrics(text: str) -> ServiceMetrics:
    """Parses the relevant part of a Prometheus exposition. Raises ValueError if it is malformed."""
    finite = _samples(text, _RELEVANT)
    violations = _by_label(finite, VIOLATIONS, "invariant")
    queues = _by_label(finite, QUEUE_MESSAGES, "queue")
    dead = {queue: count for queue, count in queues.items() if queue.endswith(".dead")}
    return ServiceMetrics(
        violations=_bounded(violations),
        checked=_first(finite, CHECKED),
        lag=_first(finite, LAG),
        dead_letters=_bounded(dead) if queues else None,
        pause=_first(finite, PAUSE),
        forwarded=_forwarded_headers(finite),
        orders=_placed_orders(finite),
        cut=any(_bounded(counts) != counts for counts in (violations, dead)),
    )


def sum_of_nodes(answers: Sequence[ServiceMetrics]) -> ServiceMetrics | None:
    """Returns the metrics of a source of which each node counts the dead letters of some queues; None without any.

    The queues of a node that is down are led, and counted, by others.
    """
    if not answers:
        return None
    known = [one.dead_letters for one in answers if one.dead_letters is not None]
    counts = Counter[str]()
    for dead in known:
        counts.update(dead)
    return replace(answers[0], dead_letters=dict(counts) if known else None, cut=any(one.cut for one in answers))


_RELEVANT = (VIOLATIONS, CHECKED, PAUSE, LAG, QUEUE_MESSAGES, REQUESTS, HEADERS_IGNORED, ORDERS, STARTED)


def _placed_orders(samples: Iterable[Sample]) -> PlacedOrders | None:
    started, placed = _first(samples, STARTED), _first(samples, ORDERS)
    return None if started is None or placed is None else PlacedOrders(started, int(placed))


def _forwarded_headers(samples: Iterable[Sample]) -> ForwardedHeaders | None:
    ignored = _first(samples, HEADERS_IGNORED)
    if ignored is None:
        return None
    requests = sum(s.value for s in samples if s.name == REQUESTS and s.labels.get("http_route") not in _PROBES)
    return ForwardedHeaders(int(requests), int(ignored))


def parse_requests(text: str) -> RequestCounts:
    """Parses how many requests a pod has answered, probes aside. Raises ValueError if the exposition is malformed."""
    samples = [one for one in _samples(text, (REQUESTS,)) if one.labels.get("http_route") not in _PROBES]
    failed = (one.value for one in samples if one.labels.get("http_response_status_code", "").startswith("5"))
    return RequestCounts(int(sum(one.value for one in samples)), int(sum(failed)))


def _samples(text: str, relevant: tuple[str, ...]) -> list[Sample]:
    """Returns the samples of some metrics, those with finite values. Raises ValueError."""
    lines = "".join(line + "\n" for line in text.splitlines() if line.startswith(relevant))
    try:
        samples = [sample for family in text_string_to_metric_families(lines) for sample in family.samples]
    except Exception as error:  # the parser names no errors, and the text is a tenant's
        raise ValueError("not a Prometheus exposition") from error
    return [sample for sample in samples if math.isfinite(sample.value)]


def _by_label(samples: Iterable[Sample], name: str, label: str) -> dict[str, int]:
    return {s.labels[label]: int(s.value) for s in samples if s.name == name and s.labels.get(label)}


def _bounded(counts: Mapping[str, int]) -> dict[str, int]:
    short = {name: count for name, count in counts.items() if len(name) <= MAX_NAME_LENGTH and 0 <= count <= MAX_COUNT}
    return dict(sorted(short.items())[:MAX_NAMES])


def _first(samples: Iterable[Sample], name: str) -> float | None:
    return next((sample.value for sample in samples if sample.name == name), None)


def next_result(previous: ScrapeResult | None, metrics: ServiceMetrics | None, now: float) -> ScrapeResult:
    """Returns the result of one more scrape. `metrics` is None if the source could not be reached.

    Times are the epoch's.
    """
    failure = _failure(metrics, now)
    if failure is None:
        return ScrapeResult(now, metrics)
    failed_before = previous is not None and previous.metrics is None
    return ScrapeResult(previous.since if previous and failed_before else now, None, failure)


def _failure(metrics: ServiceMetrics | None, now: float) -> ConditionReason | None:
    if metrics is None:
        return ConditionReason.UNREACHABLE
    if metrics.checked is not None and now - metrics.checked > max(STALE_AFTER, _MISSED_CHECKS * (metrics.pause or 0)):
        return ConditionReason.NOT_CHECKED
    return None
