"""The rows of `status.invariants`: one for each invariant of each source. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from platform_operator.api.conditions import ConditionReason, InvariantState
from platform_operator.api.spec import Spec
from platform_operator.invariants.scrape_results import (
    MAX_NAMES,
    UNKNOWN_AFTER,
    ForwardedHeaders,
    ScrapeResult,
    ServiceMetrics,
    sources,
)

MAX_LAG = 60.0
"""Seconds that an event may wait to be published. The relay looks every second."""

MIN_REQUESTS = 20
"""Requests that a gateway pod must have answered before it tells whether the proxies in front of it are trusted."""

MAX_MESSAGE_LENGTH = 500
"""Characters of a row's message, which may name many queues."""
EVENTS_PUBLISHED = "events_published"
EVENTS_CONSUMED = "events_consumed"
FORWARDED_HEADERS = "forwarded_headers_believed"
ALL_INVARIANTS = "all"
"""Stands for a source's invariants while their names are not known."""
MUST_EXPORT = ("inventory", "payment")
"""Services that have invariants in every version: if one exports none, that is Unknown rather than fine."""

Row = Mapping[str, Any]
"""One item of `status.invariants`, as stored."""


def known_sources(spec: Spec | None, stored: Sequence[Row]) -> tuple[str, ...]:
    """Returns the sources that a spec has. While the spec is invalid (None), those that are stored: they still run."""
    return sources(spec) if spec else tuple(dict.fromkeys(row["service"] for row in stored))


def invariant_rows(
    stored: Sequence[Row], results: Mapping[str, ScrapeResult], sources: Iterable[str], now: float
) -> list[Row]:
    """Returns the rows of all sources.

    While scraping a source fails its stored rows stand; after UNKNOWN_AFTER they are Unknown.
    """
    return [
        row
        for source in sources
        for row in _rows_of(source, [row for row in stored if row["service"] == source], results.get(source), now)
    ]


def _rows_of(source: str, stored: list[Row], result: ScrapeResult | None, now: float) -> Iterable[Row]:
    is_young = result is None or now - result.since < UNKNOWN_AFTER
    if result is not None and result.metrics is not None and is_young:
        return _current(source, result.metrics, stored)
    if is_young:
        return stored or [_unknown(source, ALL_INVARIANTS, ConditionReason.NOT_SCRAPED)]
    names = [row["name"] for row in stored] or [ALL_INVARIANTS]
    failure = result.failure if result is not None and result.metrics is None else ConditionReason.UNREACHABLE
    return [_unknown(source, name, failure) for name in names]


def _current(source: str, metrics: ServiceMetrics, stored: list[Row]) -> Iterator[Row]:
    for name, count in sorted(metrics.violations.items()):
        yield _counted(source, name, count, ConditionReason.INVARIANT_BROKEN, f"{count} {_plural(count)} it")
    if metrics.cut:
        yield _unknown(source, ALL_INVARIANTS, ConditionReason.LIMIT_EXCEEDED)
    elif not metrics.violations and source in MUST_EXPORT:
        yield _unknown(source, ALL_INVARIANTS, ConditionReason.NOT_EXPORTED)
    if metrics.lag is not None:
        yield _published(source, metrics.lag)
    if metrics.dead_letters is not None:
        counts = {queue: count for queue, count in sorted(metrics.dead_letters.items()) if count}
        text = ", ".join(f"{queue} holds {count}" for queue, count in counts.items())
        yield _counted(source, EVENTS_CONSUMED, sum(counts.values()), ConditionReason.DEAD_LETTERS, text)
    if metrics.forwarded is not None:
        yield _forwarded(source, metrics.forwarded, stored)


def _plural(count: int) -> str:
    return "row breaks" if count == 1 else "rows break"


def _counted(source: str, name: str, count: int, reason: ConditionReason, text: str) -> Row:
    row = _broken(source, name, reason, text) if count else _holds(source, name)
    return {**row, "violations": count}


def _published(source: str, lag: float) -> Row:
    """The message leaves the lag out, since it changes all the time."""
    if lag <= MAX_LAG:
        return _holds(source, EVENTS_PUBLISHED)
    text = f"events wait longer than {MAX_LAG:.0f} s to be published"
    return _broken(source, EVENTS_PUBLISHED, ConditionReason.EVENTS_DELAYED, text)


def _forwarded(source: str, headers: ForwardedHeaders, stored: list[Row]) -> Row:
    """Decides by the share of requests, since any client can send such headers itself.

    A pod that has answered few requests decides nothing: what is stored stands.
    """
    if headers.requests < MIN_REQUESTS:
        return next((row for row in stored if row["name"] == FORWARDED_HEADERS), _holds(source, FORWARDED_HEADERS))
    if 2 * headers.ignored <= headers.requests:
        return _holds(source, FORWARDED_HEADERS)
    text = "most requests come with X-Forwarded-* headers from an address that is no trusted proxy's"
    return _broken(source, FORWARDED_HEADERS, ConditionReason.UNTRUSTED_PROXY, text)


def _holds(source: str, name: str) -> Row:
    return {"service": source, "name": name, "state": InvariantState.HOLDS.value}


def _broken(source: str, name: str, reason: ConditionReason, text: str) -> Row:
    return _row(source, name, InvariantState.BROKEN, reason, text)


def _unknown(source: str, name: str, reason: ConditionReason) -> Row:
    return _row(source, name, InvariantState.UNKNOWN, reason, _UNKNOWN_MESSAGES[reason])


def _row(source: str, name: str, state: InvariantState, reason: ConditionReason, text: str) -> Row:
    message = text[:MAX_MESSAGE_LENGTH]
    return {"service": source, "name": name, "state": state.value, "reason": reason.value, "message": message}


_UNKNOWN_MESSAGES = {
    ConditionReason.NOT_SCRAPED: "its metrics have not been read yet",
    ConditionReason.UNREACHABLE: "its metrics cannot be read",
    ConditionReason.NOT_CHECKED: "it has not checked its invariants for some time",
    ConditionReason.NOT_EXPORTED: "it exports no invariants",
    ConditionReason.LIMIT_EXCEEDED: f"it exports more than {MAX_NAMES} invariants or queues, or names or counts that "
    "are too long",
}
