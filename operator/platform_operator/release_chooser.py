"""Chooses the release that a shop is to run, and leads it there step by step. The status stores the choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from platform_operator import metrics
from platform_operator.api.conditions import UpgradePhase
from platform_operator.api.kinds import PLATFORM, PlatformKey
from platform_operator.api.spec import Spec
from platform_operator.cache.observed import Platform, observe_platform
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError
from platform_operator.invariants.step_meter import StepMeter
from platform_operator.plan.fleet import (
    Target,
    UpgradePolicy,
    choose_target,
    current_upgrade,
    failed_target,
    is_halted,
    needs_upgrade,
    running_release,
    stored_target,
    with_target,
    with_targets,
)
from platform_operator.plan.hibernation import keeps_release
from platform_operator.plan.inventory import Inventory
from platform_operator.plan.rollout_steps import Releases
from platform_operator.plan.surge import surge_at
from platform_operator.plan.upgrades import Stage, Upgrade, advance, begin, progress, read_upgrade, stage_of
from platform_operator.render.renderer import Renderer
from platform_operator.render.values import ChartValues
from platform_operator.status.platform_status import status_manifest


@dataclass(frozen=True)
class Choice:
    """The release that a shop is to run, and how it gets there."""

    target: Target
    upgrade: Upgrade | None = None
    stage: Stage | None = None
    """Set while the objects of the shop are of two releases."""


@dataclass
class ReleaseChooser:
    """Chooses releases for the shops of an installation, as its policy for the fleet allows."""

    client: KubernetesClient
    cache: Cache
    renderer: Renderer
    step_meter: StepMeter
    version: str
    """The release of the operator."""
    policy: UpgradePolicy
    now: Callable[[], datetime]
    _starting: dict[PlatformKey, Target] = field(init=False, default_factory=dict)
    """Targets that were chosen and are not known to be stored. They count as started, so that a lost answer starts no
    more shops than the policy allows."""

    @property
    def _release(self) -> Target:
        return Target(self.version, self.renderer.chart_digest)

    def upgrades_halted(self) -> bool:
        """Returns whether upgrades to the operator's release have stopped, since it has failed on a shop.

        Called in the thread of the metrics, so it reads a copy.
        """
        return is_halted(self.cache.fleet(), self._release)

    async def choose(
        self, platform: Platform, spec: Spec, inventory: Inventory, values_of: Callable[[str], ChartValues]
    ) -> Choice:
        """Chooses the release that the shop is to run and the step of its upgrade, and stores them before anything is
        changed by them.

        So a restart neither goes back nor starts more shops than the policy allows. `values_of` returns the values of
        the charts for a version of the services. Raises ApiError, RenderError.
        """
        target = self._target(platform, spec, inventory, values_of)
        stored, before = read_upgrade(platform.status), stored_target(platform.status)
        if spec.observes:
            self.forget(platform.key)
            return Choice(target, stored)
        self._starting[platform.key] = target
        may_be_stored = False
        try:
            choice = await self._choose_step(platform, spec, inventory, target, values_of)
            target = choice.target
            if before not in (None, (target.version, target.charts)) or choice.upgrade != stored:
                status = with_target(platform.status, target, choice.upgrade)
                manifest = status_manifest(platform, status)
                answer = await self.client.apply(PLATFORM, platform.key.namespace, manifest, "status")
                self.cache.store_platform(observe_platform(answer))
                self._count_failure(stored, choice.upgrade)
        except ApiError as error:
            may_be_stored = error.transient
            raise
        finally:
            if not may_be_stored:
                del self._starting[platform.key]
        return choice

    def forget(self, key: PlatformKey) -> None:
        """Forgets what is known of a shop that is gone."""
        self._starting.pop(key, None)
        self.step_meter.forget(key)

    def _target(
        self, platform: Platform, spec: Spec, inventory: Inventory, values_of: Callable[[str], ChartValues]
    ) -> Target:
        stored = stored_target(platform.status)
        edited = False
        is_new_spec = platform.generation != platform.status.get("observedGeneration")
        if stored is not None and (is_new_spec or self._has_other_surge(platform, spec)):
            values = values_of(spec.version or stored[0])
            content = self.renderer.content_digest(platform.key, platform.uid, values, stored[1])
            edited = content != inventory.content_digest
        fleet = with_targets(self.cache.fleet(), self._starting)
        return choose_target(platform, spec, self._release, fleet, self.policy, self.now(), edited=edited)

    def _has_other_surge(self, platform: Platform, spec: Spec) -> bool:
        """Returns whether a surge window has begun or ended since the last pass."""
        known: Mapping[str, object] = platform.status.get("surge", {})
        return known.get("now") != surge_at(spec, self.now()).dump().get("now")

    async def _choose_step(
        self,
        platform: Platform,
        spec: Spec,
        inventory: Inventory,
        target: Target,
        values_of: Callable[[str], ChartValues],
    ) -> Choice:
        """Looks at the step of an upgrade, if there is one. Raises RenderError."""
        key, running = platform.key, running_release(platform.status)
        if keeps_release(spec, platform.status, platform.annotations):
            return Choice(target)
        upgrade = current_upgrade(read_upgrade(platform.status), target, running)
        goes_back = upgrade is not None and upgrade.goes_back
        if running is None or not (goes_back or needs_upgrade(target, running, self.renderer.chart_digest)):
            return Choice(target, upgrade)
        release = upgrade.release if upgrade is not None else (target.version, target.charts)
        old = await self.renderer.render(key, platform.uid, values_of(running[0]))
        new = await self.renderer.render(key, platform.uid, values_of(release[0]))
        releases, observed = Releases(key, old, new), self.cache.children(key)
        if upgrade is None:
            step = progress(releases, None, inventory, observed).next_step(0)
            now = self._second()
            known = await self.step_meter.known_before(platform, spec, observed, now)
            upgrade = begin(release, read_upgrade(platform.status), known, step, now)
        upgrade = await self._advance_upgrade(platform, spec, inventory, releases, upgrade)
        if upgrade.has_failed:
            target = failed_target(key, upgrade, running)
        return Choice(target, upgrade, stage_of(releases, upgrade, inventory, observed))

    async def _advance_upgrade(
        self, platform: Platform, spec: Spec, inventory: Inventory, releases: Releases, upgrade: Upgrade
    ) -> Upgrade:
        """Returns the upgrade as far as it has come: a step that is passed is followed by the next one at once."""
        observed, now = self.cache.children(platform.key), self._second()
        running = running_release(platform.status) or upgrade.release
        while True:
            state = progress(releases, upgrade, inventory, observed, upgrade.unready)
            is_ready = upgrade.step not in state.waits_for
            measured = await self.step_meter.measure(platform, spec, upgrade, now, is_ready=is_ready)
            following = advance(upgrade, platform, running, spec.upgrade, state, measured, now)
            if following == upgrade:
                return upgrade
            upgrade = following

    def _second(self) -> datetime:
        """Returns the time as the status can hold it."""
        return self.now().replace(microsecond=0)

    def _count_failure(self, stored: Upgrade | None, upgrade: Upgrade | None) -> None:
        """Counts an upgrade that has failed, when its outcome is known."""
        outcomes = (UpgradePhase.ROLLED_BACK, UpgradePhase.ROLLBACK_FAILED, UpgradePhase.STOPPED)
        if upgrade is not None and upgrade.phase in outcomes and (stored is None or stored.phase is not upgrade.phase):
            metrics.FAILED_UPGRADES.labels(upgrade.phase.value).inc()
