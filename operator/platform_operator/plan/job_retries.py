"""Retries failed Jobs with growing delays. A Job that fails is retried for ever: its cause may end by itself.

A failed Job is deleted, and so created again. Its own attempts (`backoffLimit`) come before that. The counts are in
memory: after a restart of the operator the delays begin again with the shortest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from platform_operator.api.conditions import TIME_FORMAT
from platform_operator.api.kinds import ObjectId, PlatformKey
from platform_operator.cache.observed import Children, JobProgress, ObservedObject
from platform_operator.plan.planner import Plan
from platform_operator.plan.readiness import Blocker

FIRST_DELAY = timedelta(minutes=1)
LONGEST_DELAY = timedelta(hours=1)


@dataclass(frozen=True)
class _Failure:
    """The last failure of a Job, and how often it has failed."""

    uid: str
    count: int
    message: str
    retry_at: datetime
    data_lost: bool


@dataclass
class JobRetries:
    """Knows the failures of the Jobs of all platforms, and when each is retried."""

    _failures: dict[PlatformKey, dict[ObjectId, _Failure]] = field(default_factory=dict)

    def due(self, key: PlatformKey, observed: Children, now: datetime) -> list[ObservedObject]:
        """Counts new failures, and returns the failed Jobs whose delay is over."""
        known = self._failures.setdefault(key, {})
        failed = list(_failed_jobs(observed))
        for seen, progress in failed:
            before = known.get(seen.id)
            if before is None or before.uid != seen.uid:
                count = before.count + 1 if before else 1
                retry_at = progress.failed_at + _delay(count)
                known[seen.id] = _Failure(seen.uid, count, progress.failure, retry_at, progress.data_lost)
        return [seen for seen, _ in failed if known[seen.id].retry_at <= now]

    def with_failures(self, key: PlatformKey, plan: Plan) -> Plan:
        """Returns the plan with Jobs that failed before as failed until they complete, and says when they are retried.

        Otherwise each retry would look like a recovery.
        """
        known = self._failures.get(key, {})
        if plan.converged:
            self.forget(key)
        return replace(plan, blockers=tuple(_with_failure(one, known.get(one.id)) for one in plan.blockers))

    def forget(self, key: PlatformKey) -> None:
        self._failures.pop(key, None)


def _failed_jobs(observed: Children) -> Iterator[tuple[ObservedObject, JobProgress]]:
    for seen in observed.values():
        if isinstance(seen.state, JobProgress) and seen.state.failure and not seen.deleting:
            yield seen, seen.state


def _delay(count: int) -> timedelta:
    return min(FIRST_DELAY * (1 << min(count - 1, 16)), LONGEST_DELAY)


def _with_failure(blocker: Blocker, failure: _Failure | None) -> Blocker:
    if failure is None:
        return blocker
    if blocker.failed:
        return replace(blocker, message=f"{blocker.message} (retried after {failure.retry_at.strftime(TIME_FORMAT)})")
    message = f"{failure.message} (retry {failure.count} runs)"
    return replace(blocker, failed=True, message=message, data_lost=failure.data_lost)
