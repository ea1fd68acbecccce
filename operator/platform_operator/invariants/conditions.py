"""Business truth: what the services say of their own books, and what that means for a shop. Pure.

Each service looks at its books every half minute, and less often where they are long (chassis.invariants). It exports how many rows
break each promise, and the broker how many events nobody could digest. `auditing` reads those figures, this module turns them into the
rows of `status.invariants` and the rows into conditions. Neither holds a time or anything else that moves while the truth does not, so
that a status is written on transitions only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from platform_operator.api.conditions import Finding, Reason
from platform_operator.api.kinds import Key
from platform_operator.api.spec import WITH_DATABASE, Spec

VIOLATIONS = "business_invariant_violations"
CHECKED = "business_invariants_checked_timestamp_seconds"
PAUSE = "business_invariants_pause_seconds"
LAG = "outbox_lag_seconds"
DEAD = "rabbitmq_detailed_queue_messages"

BROKER = "rabbitmq"
_ROUNDS = 5
PATIENCE = _ROUNDS * 30.0
"""Seconds: five of the services' own rounds. For so long what was last known stands though nobody confirms it: a pod that is
replaced, or an operator that has just started, changes no books."""
LONGEST_LAG = 60.0
"""Seconds an event may wait to be published. The relay looks every second."""

Row = Mapping[str, Any]
"""One item of `status.invariants`, as stored."""


class State(StrEnum):
    HOLDS = "Holds"
    BROKEN = "Broken"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Figures:
    """What one source exports. None: it does not export that."""

    violations: Mapping[str, int] = field(default_factory=dict)
    """Rows that break each invariant."""
    checked: float | None = None
    """When the service last looked, in seconds of the epoch; 0: not yet."""
    lag: float | None = None
    """Age of the oldest event that is not yet published, in seconds."""
    dead: Mapping[str, int] | None = None
    """Events that nobody could digest, by the queue that keeps them."""
    pause: float | None = None
    """For how many seconds the service rests between two looks."""


@dataclass(frozen=True)
class Heard:
    """What a source said last, if it said something of use; else why not, and since when."""

    since: float
    figures: Figures | None = None
    silence: Reason = Reason.NOT_READ_YET


@dataclass(frozen=True)
class Promise:
    """A condition of the platform, and whose rows it stands for. Without `services`: the rows about events, whoever's."""

    condition: str
    services: tuple[str, ...]
    kept: str
    broken: str


_STOCK = Promise("NothingOversold", ("inventory",), "Nothing is sold that is not there", "Stock does not add up")
_MONEY = Promise("NobodyChargedTwice", ("payment",), "Nobody is charged twice or for nothing", "Payments do not add up")
_BOOKS = Promise(
    "BooksAgree",
    tuple(name for name in WITH_DATABASE if name not in (*_STOCK.services, *_MONEY.services)),
    "The books of the other services agree",
    "Books disagree",
)
_EVENTS = Promise(
    "EventsFlow", (), "Every event reaches those whom it concerns", "Events do not reach those whom they concern"
)
PROMISES = (_STOCK, _MONEY, _BOOKS, _EVENTS)

_PUBLISHED = "events_published"
_DIGESTED = "events_digested"
_ANY = "books"
"""Stands for a source's invariants while their names are not known."""


def sources(spec: Spec) -> tuple[str, ...]:
    """The components whose figures tell of a shop. A broker that is somebody else's is not asked."""
    return (*WITH_DATABASE, BROKER) if spec.broker.provider == "builtin" else WITH_DATABASE


# --- figures ----------------------------------------------------------------------------------------------------------


def read_figures(text: str) -> Figures:
    """What of a Prometheus exposition is of use here. Raises ValueError where it is none."""
    ours = "".join(
        line + "\n" for line in text.splitlines() if line.startswith((VIOLATIONS, CHECKED, PAUSE, LAG, DEAD))
    )
    try:
        samples = [sample for family in text_string_to_metric_families(ours) for sample in family.samples]
    except IndexError as error:  # what the parser makes of a label without a name
        raise ValueError("not an exposition") from error
    counted = [sample for sample in samples if math.isfinite(sample.value)]
    queues = _by_label(counted, DEAD, "queue")
    return Figures(
        violations=_by_label(counted, VIOLATIONS, "invariant"),
        checked=_first(counted, CHECKED),
        lag=_first(counted, LAG),
        dead={queue: count for queue, count in queues.items() if queue.endswith(".dead")} if queues else None,
        pause=_first(counted, PAUSE),
    )


def _by_label(samples: Iterable[Sample], name: str, label: str) -> dict[str, int]:
    return {s.labels[label]: int(s.value) for s in samples if s.name == name and s.labels.get(label)}


def _first(samples: Iterable[Sample], name: str) -> float | None:
    return next((sample.value for sample in samples if sample.name == name), None)


def hear(before: Heard | None, answer: Figures | None, now: float) -> Heard:
    """What is known of a source after it was asked once more. No answer: it could not be reached. Times are the epoch's."""
    silence = _silence(answer, now)
    if silence is None:
        return Heard(now, answer)
    quiet_before = before is not None and before.figures is None
    return Heard(before.since if before and quiet_before else now, None, silence)


def _silence(answer: Figures | None, now: float) -> Reason | None:
    if answer is None:
        return Reason.UNREACHABLE
    if answer.checked is not None and now - answer.checked > max(PATIENCE, _ROUNDS * (answer.pause or 0)):
        return Reason.NOT_CHECKED
    return None


# --- rows -------------------------------------------------------------------------------------------------------------


def rows(stored: Sequence[Row], heard: Mapping[str, Heard], asked: Iterable[str], now: float) -> list[Row]:
    """`status.invariants`: what each source says; while it is silent what is stored, and after PATIENCE that nobody knows."""
    return [
        row for source in asked for row in _rows_of(source, [r for r in stored if r["service"] == source], heard, now)
    ]


def _rows_of(source: str, stored: list[Row], heard: Mapping[str, Heard], now: float) -> Iterable[Row]:
    last = heard.get(source)
    if last is not None and last.figures is not None:
        return _fresh(source, last.figures)
    if last is None or now - last.since < PATIENCE:
        return stored or [_unknown(source, _ANY, Reason.NOT_READ_YET)]
    return [_unknown(source, row["name"], last.silence) for row in stored] or [_unknown(source, _ANY, last.silence)]


def _fresh(source: str, figures: Figures) -> Iterator[Row]:
    for name, count in sorted(figures.violations.items()):
        yield _counted(source, name, count, Reason.INVARIANT_BROKEN, f"{count} {_plural(count)} it")
    if not figures.violations and source in (*_STOCK.services, *_MONEY.services):
        yield _unknown(source, _ANY, Reason.NOT_EXPORTED)
    if figures.lag is not None:
        yield _published(source, figures.lag)
    if figures.dead is not None:
        found = {queue: count for queue, count in sorted(figures.dead.items()) if count}
        text = ", ".join(f"{queue} holds {count}" for queue, count in found.items())
        yield _counted(source, _DIGESTED, sum(found.values()), Reason.DEAD_LETTERS, text)


def _plural(count: int) -> str:
    return "row breaks" if count == 1 else "rows break"


def _counted(source: str, name: str, count: int, reason: Reason, text: str) -> Row:
    row = _broken(source, name, reason, text) if count else _holds(source, name)
    return {**row, "violations": count}


def _published(source: str, lag: float) -> Row:
    """Without the seconds, which move all the time."""
    text = f"events wait longer than {LONGEST_LAG:.0f} s to be published"
    return _broken(source, _PUBLISHED, Reason.EVENTS_WAIT, text) if lag > LONGEST_LAG else _holds(source, _PUBLISHED)


def _holds(source: str, name: str) -> Row:
    return {"service": source, "name": name, "state": State.HOLDS.value}


def _broken(source: str, name: str, why: Reason, text: str) -> Row:
    return {"service": source, "name": name, "state": State.BROKEN.value, "reason": why.value, "message": text}


def _unknown(source: str, name: str, why: Reason) -> Row:
    text = _WHY_UNKNOWN[why]
    return {"service": source, "name": name, "state": State.UNKNOWN.value, "reason": why.value, "message": text}


_WHY_UNKNOWN = {
    Reason.NOT_READ_YET: "its figures have not been read yet",
    Reason.UNREACHABLE: "its figures cannot be read",
    Reason.NOT_CHECKED: "it has not looked at its books for a while",
    Reason.NOT_EXPORTED: "it exports no invariants",
}


# --- conditions -------------------------------------------------------------------------------------------------------


def findings(found: Sequence[Row], platform: Key) -> tuple[Finding, ...]:
    """One condition for each promise."""
    return tuple(_finding(promise, [row for row in found if _concerns(row, promise)], platform) for promise in PROMISES)


def _concerns(row: Row, promise: Promise) -> bool:
    of_events = row["name"] in (_PUBLISHED, _DIGESTED)
    return of_events or _is_silent(row) if promise is _EVENTS else not of_events and row["service"] in promise.services


def _is_silent(row: Row) -> bool:
    """A source that says nothing tells nothing of its events either."""
    return bool(row["name"] == _ANY and row.get("reason") != Reason.NOT_EXPORTED)


def _finding(promise: Promise, about: Sequence[Row], platform: Key) -> Finding:
    broken = [row for row in about if row["state"] == State.BROKEN]
    unknown = [row for row in about if row["state"] == State.UNKNOWN]
    if broken:
        text = "; ".join(f"{row['service']}'s {row['name']}: {row.get('message', '')}" for row in broken)
        return _told(promise.condition, False, f"{promise.broken}. {text}", broken[0], platform)
    if unknown:
        text = "; ".join(dict.fromkeys(f"{row['service']}: {row.get('message', '')}" for row in unknown))
        return _told(promise.condition, None, f"Nobody knows. {text}", unknown[0], platform)
    if not about:
        return Finding(promise.condition, None, Reason.NOT_EXPORTED, "Nobody knows: no service exports such figures.")
    return Finding(promise.condition, True, Reason.ALL_HOLD, f"{promise.kept}.")


def _told(condition: str, status: bool | None, text: str, first: Row, platform: Key) -> Finding:
    """With what to do about the first of the rows, which may be stored by an operator of another version."""
    why = first.get("reason")
    reason = Reason(why) if why in _REASONS else Reason.NOT_READ_YET
    return Finding(condition, status, reason, f"{text}. {_advice(first, reason, platform)}".strip())


_REASONS = frozenset(Reason)


def _advice(row: Row, reason: Reason, platform: Key) -> str:
    server, kubectl = f"{platform.name}-{row['service']}", f"kubectl -n {platform.namespace}"
    match reason:
        case Reason.NOT_READ_YET:
            return ""
        case Reason.INVARIANT_BROKEN:
            return f"Read which rows: {kubectl} logs deployment/{server} | grep {row['name']}; its invariants.sql has the query."
        case Reason.EVENTS_WAIT:
            return f"See why the broker does not take them: {kubectl} logs deployment/{server} | grep outbox, and {kubectl} get " \
                   f"pods -l app.kubernetes.io/component={BROKER}"  # fmt: skip
        case Reason.DEAD_LETTERS:
            return f"Read why each was given up in the log of the service that the queue is named after: {kubectl} logs " \
                   f"deployment/{platform.name}-SERVICE; then move them back to its queue."  # fmt: skip
        case Reason.NOT_EXPORTED:
            return "Set spec.version to a version of the services that exports them."
        case Reason.NOT_CHECKED:
            return f"Read {kubectl} logs deployment/{server}: its database may be away."
        case _:
            return f"See that {kubectl} get pods -l app.kubernetes.io/component={row['service']} shows one that is ready, and " \
                   "that no NetworkPolicy keeps the operator from port metrics of its Service."  # fmt: skip
