"""Measures the steps of upgrades: by the requests that pods fail, and by the invariants of the shop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from platform_operator.api.kinds import PlatformKey
from platform_operator.api.spec import SERVICES, Spec
from platform_operator.cache.observed import Children, Platform
from platform_operator.invariants.rows import Row, invariant_rows, known_sources
from platform_operator.invariants.scrape_results import GATEWAY, ScrapeResult
from platform_operator.plan.error_rates import PodCounts, failing
from platform_operator.plan.rollout_steps import services_of
from platform_operator.plan.upgrades import Known, Measurement, Release, Upgrade, holding_invariants, unready_components

PodCounter = Callable[[PlatformKey, Collection[str]], Awaitable[PodCounts]]
"""Asks the pods of services how many requests they have answered. Those that do not answer are left out."""


@dataclass(frozen=True)
class _Start:
    """What the pods had answered when a step began, or when this process first looked at it."""

    step: tuple[Release, int]
    counts: PodCounts
    since: datetime


@dataclass
class StepMeter:
    """Measures the current step of each platform's upgrade. After a restart it begins to count again."""

    scrape_results: Callable[[PlatformKey], Mapping[str, ScrapeResult]]
    count: PodCounter
    _starts: dict[PlatformKey, _Start] = field(init=False, default_factory=dict)

    async def known_before(self, platform: Platform, spec: Spec, observed: Children, now: datetime) -> Known:
        """Returns what a shop is like before an upgrade of it begins."""
        counts = await self.count(platform.key, SERVICES)
        errors = failing({}, counts, spec.upgrade.max_error_percent)
        invariants = holding_invariants(self._invariants(platform, spec, now))
        return Known(unready_components(platform.key, observed), errors, invariants)

    async def measure(
        self, platform: Platform, spec: Spec, upgrade: Upgrade, now: datetime, *, is_ready: bool
    ) -> Measurement:
        """Measures a step by the gateway and the services that it replaces, when its objects are ready."""
        key, step = platform.key, (upgrade.release, upgrade.step)
        if upgrade.has_failed or not upgrade.in_steps:
            self.forget(key)
            return Measurement()
        services, start = {GATEWAY, *services_of(upgrade.step)}, self._starts.get(key)
        rows = self._invariants(platform, spec, now)
        if start is None or start.step != step:
            self._starts[key] = _Start(step, await self.count(key, services), now)
            return Measurement(rows, {}, now if upgrade.since == now else None)
        if not is_ready:
            return Measurement(rows, {}, start.since)
        limit, counts = spec.upgrade.max_error_percent, await self.count(key, services)
        return Measurement(rows, failing(start.counts, counts, limit, upgrade.errors), start.since)

    def forget(self, key: PlatformKey) -> None:
        self._starts.pop(key, None)

    def _invariants(self, platform: Platform, spec: Spec, now: datetime) -> Sequence[Row]:
        stored = platform.status.get("invariants", ())
        return invariant_rows(stored, self.scrape_results(platform.key), known_sources(spec, stored), now.timestamp())
