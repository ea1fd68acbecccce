"""Reconciles a platform: observe, plan, apply, report."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from platform_operator import metrics
from platform_operator.api.conditions import ConditionReason, UpgradePhase, stored_condition
from platform_operator.api.kinds import (
    CLUSTER_KINDS,
    EVENT,
    LABEL_COMPONENT,
    LABEL_INSTANCE,
    PLATFORM,
    POD,
    ObjectId,
    PlatformKey,
)
from platform_operator.api.spec import SERVICES, Spec, parse
from platform_operator.apply.applier import apply_object, delete_object, find_conflict, find_free_names, prune
from platform_operator.apply.deletion import finish_deletion, set_finalizer
from platform_operator.apply.helm_release import adopts_release, delete_release_records
from platform_operator.apply.inventory_store import inventory_id, is_stored, read_inventory, write_inventory
from platform_operator.apply.release_history import record_release
from platform_operator.apply.rotation_store import write_rotations
from platform_operator.apply.salt_store import recorded_or_new_salt, write_base
from platform_operator.apply.volumes import list_volumes
from platform_operator.cache.observed import Children, ObservedObject, Platform, observe_platform
from platform_operator.cache.store import Cache, same_but_for_status
from platform_operator.client import KubernetesClient
from platform_operator.errors import (
    ApiError,
    InvalidSpecError,
    LeadershipLostError,
    MasterKeyChangedError,
    MasterKeyMissingError,
    OperatorError,
    RenderError,
    RenderTimeoutError,
    StoreLeftBehindError,
    UnexpectedError,
)
from platform_operator.invariants.scrape_results import ScrapeResult
from platform_operator.invariants.step_meter import StepMeter
from platform_operator.plan.comparison import Change
from platform_operator.plan.data_loss import (
    MigrationTimes,
    databases_id,
    databases_object,
    migration_times,
    migrations_to_run,
)
from platform_operator.plan.field_fights import FieldFights
from platform_operator.plan.fleet import (
    Target,
    UpgradePolicy,
    choose_target,
    current_upgrade,
    failed_target,
    held_release,
    is_halted,
    needs_upgrade,
    running_release,
    stored_target,
    with_target,
    with_targets,
)
from platform_operator.plan.hibernation import (
    Hibernation,
    has_stopped_store,
    hibernation_of,
    is_closed,
    is_draining,
    is_in_steps,
    keeps_release,
    stores_are_stopped,
)
from platform_operator.plan.inventory import DesiredObject, Inventory
from platform_operator.plan.job_retries import JobRetries
from platform_operator.plan.planner import Plan, make_plan
from platform_operator.plan.prune_guard import ANNOTATION_ALLOW_PRUNE, PruneGuard, declared_removals
from platform_operator.plan.readiness import NameConflict, Refusal
from platform_operator.plan.releases import release_ids, release_of
from platform_operator.plan.rollout_steps import Releases
from platform_operator.plan.store_providers import check_clusters, check_volumes, new_clusters
from platform_operator.plan.surge import greatest_factor, surge_at
from platform_operator.plan.upgrades import Stage, Upgrade, advance, begin, progress, read_upgrade, stage_of
from platform_operator.render.renderer import Renderer
from platform_operator.render.store_images import kept_images
from platform_operator.render.values import ChartValues, Installation, Scale, chart_values
from platform_operator.secrets.caller_tokens import grpc_authentication, replaced_version
from platform_operator.secrets.credentials import derived_secrets, may_write, protected_secrets, writable_secrets
from platform_operator.secrets.master_key import KeyRing, MasterKey
from platform_operator.secrets.master_key_store import MasterKeyStore
from platform_operator.secrets.named_secrets import SecretState, pod_annotations
from platform_operator.secrets.rotation import (
    RotationReport,
    Rotations,
    advance_rotations,
    generation_annotations,
    is_rotating,
    migration_rotation,
    read_rotations,
    rotation_id,
    shop_key_ids,
)
from platform_operator.secrets.salt import read_salt, salt_id
from platform_operator.secrets.secret_reader import read_named_secrets, read_url_secrets
from platform_operator.secrets.store_tls import StoreTls, own_stores, store_tls
from platform_operator.status.backups import BackupReport
from platform_operator.status.blocked import blocked_for, blocked_since
from platform_operator.status.causes import MAX_EVENTS, WARNINGS, with_causes
from platform_operator.status.conditions import PassResult, degraded_part
from platform_operator.status.diagnosis import diagnose
from platform_operator.status.events import changed_conditions, mode_changed
from platform_operator.status.platform_status import Snapshot, describe, status_manifest, store_profile, stored_blocked
from platform_operator.status.recorder import EventRecorder
from platform_operator.workqueue import Requeue

logger = logging.getLogger(__name__)

RECHECK_INTERVAL = 30.0
"""Seconds until a platform that has not converged is reconciled again: no event announces a passed deadline."""
SECRETS_INTERVAL = 30.0
"""Seconds between two looks at the Secrets that a spec names."""
TURN_INTERVAL = 60.0
"""Seconds until a shop that waits for its upgrade is looked at again."""
STEP_INTERVAL = 15.0
"""Seconds between two looks at the step of an upgrade."""
EARLY_RECHECK = 5.0
"""Seconds until the next look while an object has not been ready for less than EARLY, or while pods of services are
being stopped, whose end no event of a Deployment announces."""
EARLY = timedelta(seconds=30)
MAX_CONCURRENT_APPLIES = 8
"""The limit over all platforms."""
MAX_DIAGNOSED_PODS = 20
"""Pods of a part that are listed. More of them fail for the same reason, or are not the part's."""
MAX_ERROR_LENGTH = 500
"""Characters of an unexpected error in the status."""


@dataclass
class Reconciler:
    """Brings platforms to the state that their specs describe, one pass at a time."""

    client: KubernetesClient
    cache: Cache
    renderer: Renderer
    master_keys: MasterKeyStore
    installation: Installation
    recorder: EventRecorder
    now: Callable[[], datetime]
    scrape_results: Callable[[PlatformKey], Mapping[str, ScrapeResult]]
    """The newest scrape results of a platform's services."""
    step_meter: StepMeter
    new_salt: Callable[[], str]
    """Returns a random salt, for the credentials of a new platform."""
    policy: UpgradePolicy = field(default_factory=UpgradePolicy)
    backup_reports: Mapping[PlatformKey, BackupReport] = field(default_factory=dict)
    """What the status of each platform says about its backups, as far as that is known."""
    fights: FieldFights = field(default_factory=FieldFights)
    _apply_slots: asyncio.Semaphore = field(
        init=False, default_factory=lambda: asyncio.Semaphore(MAX_CONCURRENT_APPLIES)
    )
    _job_retries: JobRetries = field(init=False, default_factory=JobRetries)
    _beginning: set[PlatformKey] = field(init=False, default_factory=set)
    """Shops whose rotation begins and is not in their status yet, so that workers beside each other do not begin too
    many."""
    _starting: dict[PlatformKey, Target] = field(init=False, default_factory=dict)
    """Targets that are chosen and not stored yet, so that workers beside each other do not start too many shops."""

    @property
    def _release(self) -> Target:
        return Target(self.installation.version, self.renderer.chart_digest)

    def upgrades_halted(self) -> bool:
        """Returns whether no shop gets the operator's release, since it has failed on one.

        Called in a thread of the metrics as well, so it reads a copy.
        """
        return is_halted(self.cache.fleet(), self._release)

    async def reconcile(self, key: PlatformKey) -> Requeue:
        """Makes one pass over one platform: observe, plan, apply, report. Safe to stop anywhere and to repeat.

        Raises ApiError or UnexpectedError if the pass has to be retried.
        """
        platform = self.cache.platforms.get(key)
        if platform is None:
            self._forget(key)
            return Requeue.never()
        if platform.deleting:
            await finish_deletion(self.client, self.cache, platform, self.now())
            return Requeue.never()  # the garbage collector follows the owner references
        spec, result = await self._converge(platform)
        await _yield_to_others()
        await self._report(platform, spec, result)
        if result.rotation is not None:  # the status shows it
            self._beginning.discard(key)
        if isinstance(result.error, ApiError | UnexpectedError):
            raise result.error
        if result.converged and adopts_release(platform) and not (spec and spec.observes):
            await delete_release_records(self.client, platform.key)
        if not self._is_current(platform):
            return Requeue.after(0)
        recheck = self._recheck(platform.key, spec, result)
        secrets = SECRETS_INTERVAL if result.secrets else None
        rotation = result.rotation.seconds_until_next_step(self.now()) if result.rotation else None
        waits = (result.target and result.target.wait) or (result.rotation and result.rotation.awaits_turn)
        turn = TURN_INTERVAL if waits else None
        in_steps = result.upgrade is not None and result.upgrade.in_steps and not (spec and spec.observes)
        step = STEP_INTERVAL if in_steps else None
        next_change = surge_at(spec, self.now()).next_change if spec else None
        surge = max(0.0, (next_change - self.now()).total_seconds()) if next_change else None
        stops = 0.0 if self._begins_to_hibernate(platform.key, spec, result) else None
        drains = result.hibernation is Hibernation.SERVICES and not is_closed(platform)
        drain = EARLY_RECHECK if drains else None
        fights = self.fights.next_look(key, self.now())
        return Requeue.earliest(recheck, secrets, rotation, turn, step, surge, stops, drain, fights)

    def _begins_to_hibernate(self, key: PlatformKey, spec: Spec | None, result: PassResult) -> bool:
        """Returns whether the upgrade that a shop had to complete before it is stopped ended in this pass."""
        known = self.cache.platforms.get(key)
        if spec is None or spec.observes or result.error is not None or known is None:
            return False
        stops = spec.hibernated or is_closed(known)
        return stops and result.hibernation is Hibernation.NONE and not is_in_steps(known.status)

    def _recheck(self, key: PlatformKey, spec: Spec | None, result: PassResult) -> float | None:
        """Returns the seconds until the next look at what changes without an event: deadlines, and causes in Events.

        The Event that says why a new object gets no pods is written just after the first status.
        """
        if not _may_change_without_event(spec, result):
            return None
        known = self.cache.platforms.get(key)
        waiting = blocked_for(stored_blocked(known), self.now()).values() if known else ()
        return EARLY_RECHECK if any(time < EARLY for time in waiting) else RECHECK_INTERVAL

    def _is_current(self, platform: Platform) -> bool:
        """Returns whether the pass saw the newest spec.

        The answer to its status write may have brought a newer one, of which the watch then reports nothing new.
        """
        newest = self.cache.platforms.get(platform.key)
        return newest is None or same_but_for_status(platform, newest)

    def _forget(self, key: PlatformKey) -> None:
        """Forgets a platform that is gone.

        The queue guarantees that no other pass over it is running, which would bring it back.
        """
        metrics.remove_platform(key)
        self._beginning.discard(key)
        self.fights.forget(key)
        self._job_retries.forget(key)
        self.step_meter.forget(key)

    async def _converge(self, platform: Platform) -> tuple[Spec | None, PassResult]:
        spec, named, choice = None, None, None
        try:
            spec = parse(platform.spec)
            if not spec.observes:
                needed = spec.deletion_policy == "Delete"
                await set_finalizer(self.client, self.cache, platform, needed=needed)
            await self._check_stores(platform.key, spec)
            inventory = read_inventory(platform.key, self.cache.children(platform.key))
            replaced = replaced_version(platform.key, self.cache.children(platform.key), inventory)
            rotations = read_rotations(platform.key, self.cache.children(platform.key))
            times = migration_times(platform, self.cache.children(platform.key))
            keys = await self._master_keys(platform, spec)
            if isinstance(keys, NameConflict):
                return spec, PassResult(conflicts=(keys,))
            named = await self._named_secrets(platform, spec, keys.base)
            release = await self._release_secrets(platform, spec)
            draining = spec.hibernated and await self._drains(platform.key, spec)

            def generated_for(version: str) -> _Generated:
                tls = self._store_tls(platform.key, spec, version, keys, inventory, release)
                return _Generated(platform.key, spec, keys, replaced, tls, rotations, times, draining)

            choice = await self._choose_release(platform, spec, inventory, generated_for, named)
            target = choice.target
            generated = generated_for(target.version)
            values = self._values(platform, spec, target.version, generated, named)
            result = await self._carry_out(platform, spec, inventory, values, generated, choice)
            result = replace(result, secrets=named, target=target, upgrade=choice.upgrade, migration_times=times)
            result = replace(result, hibernation=Hibernation(values["global"].get("hibernated", "")))
            rotation = await self._advance_rotations(platform, spec, generated, result)
            return spec, replace(result, rotation=rotation)
        except (ApiError, InvalidSpecError, RenderError, MasterKeyMissingError, MasterKeyChangedError) as error:
            return spec, _failed_pass(error, named, choice)
        except LeadershipLostError:
            raise
        except Exception as error:  # it is reported, and raised when that is done
            unexpected = UnexpectedError(f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH])
            unexpected.__cause__ = error
            return spec, _failed_pass(unexpected, named, choice)

    async def _check_stores(self, key: PlatformKey, spec: Spec) -> None:
        """Raises StoreLeftBehindError if the spec would leave the data of an earlier shop behind, or ApiError.

        Volumes are not watched: they are listed until the Clusters exist.
        """
        observed = self.cache.children(key)
        check_clusters(key, spec, observed)
        if new_clusters(key, spec, observed):
            volumes = await list_volumes(self.client, key)
            check_volumes(key, spec, observed, [one["metadata"]["name"] for one in volumes])

    async def _carry_out(
        self,
        platform: Platform,
        spec: Spec,
        inventory: Inventory,
        values: ChartValues,
        generated: _Generated,
        choice: _Choice,
    ) -> PassResult:
        if choice.stage is not None:
            await self._run_jobs_again(platform, inventory)
            return await self._apply_waves(platform, spec, inventory, values, generated, choice.stage)
        if choice.target.holds(self.renderer.chart_digest):
            return await self._hold(platform, spec, inventory, values, generated)
        if not spec.observes:
            await self._run_jobs_again(platform, inventory)
        plan = self._plan_from_inventory(platform, spec, inventory, values, generated)
        if plan is not None and plan.idle:
            return PassResult(plan)
        act = self._observe if spec.observes else self._apply_waves
        return await act(platform, spec, inventory, values, generated)

    async def _choose_release(
        self,
        platform: Platform,
        spec: Spec,
        inventory: Inventory,
        generated_for: Callable[[str], _Generated],
        named: Sequence[SecretState],
    ) -> _Choice:
        """Chooses the release that the shop is to run and the step of its upgrade, and stores them before anything is
        changed by them.

        So a restart neither goes back nor starts more shops than the policy allows. Raises ApiError, RenderError.
        """

        def values_of(version: str) -> ChartValues:
            return self._values(platform, spec, version, generated_for(version), named)

        target = self._target(platform, spec, inventory, values_of)
        stored, before = read_upgrade(platform.status), stored_target(platform.status)
        if spec.observes:
            self.step_meter.forget(platform.key)
            return _Choice(target, stored)
        self._starting[platform.key] = target
        try:
            choice = await self._choose_step(platform, spec, inventory, target, values_of)
            target = choice.target
            if before not in (None, (target.version, target.charts)) or choice.upgrade != stored:
                status = with_target(platform.status, target, choice.upgrade)
                manifest = status_manifest(platform, status)
                answer = await self.client.apply(PLATFORM, platform.key.namespace, manifest, "status")
                self.cache.store_platform(observe_platform(answer))
                self._count_failure(stored, choice.upgrade)
        finally:
            del self._starting[platform.key]
        return choice

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
    ) -> _Choice:
        """Looks at the step of an upgrade, if there is one. Raises RenderError."""
        key, running = platform.key, running_release(platform.status)
        if keeps_release(spec, platform.status, platform.annotations):
            return _Choice(target)
        upgrade = current_upgrade(read_upgrade(platform.status), target, running)
        goes_back = upgrade is not None and upgrade.goes_back
        if running is None or not (goes_back or needs_upgrade(target, running, self.renderer.chart_digest)):
            return _Choice(target, upgrade)
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
        return _Choice(target, upgrade, stage_of(releases, upgrade, inventory, observed))

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

    async def _hold(
        self, platform: Platform, spec: Spec, inventory: Inventory, values: ChartValues, generated: _Generated
    ) -> PassResult:
        """Repairs what was applied, and changes nothing else: the operator's release is not the shop's yet."""
        key = platform.key
        plan = self._plan(platform, spec, inventory.desired(), inventory).without_deletions()
        if plan.idle:
            return PassResult(plan, holds=True)
        rendered = await self.renderer.render(key, platform.uid, values)
        desired = held_release((*self._generated(platform, spec, generated), *rendered), inventory)
        progress = _PassProgress(inventory)
        plan = self._plan(platform, spec, desired, inventory)
        try:
            await self._apply(platform, plan.apply, progress)
        finally:
            with contextlib.suppress(ApiError):  # then the next pass repairs more than necessary
                await write_inventory(self.client, self.cache, platform, progress.inventory, generated.key_ids)
        plan = self._plan(platform, spec, desired, progress.inventory, frozenset(progress.attempted))
        return PassResult(plan.without_deletions(), tuple(progress.refusals), tuple(progress.conflicts), holds=True)

    async def _master_keys(self, platform: Platform, spec: Spec) -> KeyRing | NameConflict:
        """Returns the master keys with the salt of the platform, which is recorded before anything is derived with it.

        A platform that is only observed has the salt that is known, and none is recorded.
        """
        key = platform.key
        keys = await self.master_keys.keys_for(key, may_create=not spec.observes)
        if spec.observes:
            salt: str | NameConflict = read_salt(platform, self.cache.children(key))
        else:
            salt = await recorded_or_new_salt(self.client, self.cache, platform, self.new_salt, keys)
        if isinstance(salt, NameConflict):
            return salt
        return keys.for_shop(key, self.cache.children(key)).with_salt(salt)

    async def _run_jobs_again(self, platform: Platform, inventory: Inventory) -> None:
        """Deletes the failed Jobs whose retry is due, and migrations whose answer is out of date.

        This pass creates them again, as it does every lost object.
        """
        key, observed, now = platform.key, self.cache.children(platform.key), self.now()
        failed = self._job_retries.due(key, observed, now)
        outdated = migrations_to_run(platform, observed, blocked_since(stored_blocked(platform)), now)
        for identity, seen in {one.id: one for one in (*failed, *outdated)}.items():
            if identity in inventory.objects:
                logger.info("%s runs again", identity, extra={"platform": str(key)})
                await delete_object(self.client, self.cache, key, seen)

    def _plan_from_inventory(
        self, platform: Platform, spec: Spec, inventory: Inventory, values: ChartValues, generated: _Generated
    ) -> Plan | None:
        """Makes the plan without rendering, from what was applied before.

        Returns None if the spec now asks for something else.
        """
        content = self.renderer.content_digest(platform.key, platform.uid, values)
        if inventory.content_digest != content:
            return None
        if not is_stored(platform, inventory, generated.key_ids, self.cache.children(platform.key)):
            return None
        databases = databases_id(platform.key)
        others = tuple(one for one in inventory.desired() if one.id.kind != "Secret" and one.id != databases)
        return self._plan(platform, spec, (*self._generated(platform, spec, generated), *others), inventory)

    async def _observe(
        self, platform: Platform, spec: Spec, inventory: Inventory, values: ChartValues, generated: _Generated
    ) -> PassResult:
        """Makes the plan that `_apply_waves` would carry out, and writes nothing."""
        rendered = await self.renderer.render(platform.key, platform.uid, values)
        desired = (*self._generated(platform, spec, generated), *rendered)
        return PassResult(self._plan(platform, spec, desired, inventory))

    async def _apply_waves(
        self,
        platform: Platform,
        spec: Spec,
        inventory: Inventory,
        values: ChartValues,
        generated: _Generated,
        stage: Stage | None = None,
    ) -> PassResult:
        """Applies wave after wave until one has to be waited for.

        Stores the inventory of what was applied in any case. In a `stage` of an upgrade, its objects are applied.
        """
        key, progress = platform.key, _PassProgress(inventory)
        content = "" if stage else self.renderer.content_digest(key, platform.uid, values)
        conflict = await find_conflict(self.client, self.cache, key, inventory_id(key))
        if conflict is not None:
            return PassResult(conflicts=(conflict,))
        rendered = await self.renderer.render(key, platform.uid, values)
        objects = stage.objects if stage else rendered
        await _yield_to_others()
        desired: Sequence[DesiredObject] = (*self._generated(platform, spec, generated), *objects)
        if not self._plan(platform, spec, desired, inventory).held_prune:
            release = release_of(key, values, self.renderer.chart_digest, rendered)
            conflict = await record_release(self.client, self.cache, platform, release)
            if conflict is not None:
                return PassResult(conflicts=(conflict,))
        try:
            while True:
                await _yield_to_others()
                desired = (*self._generated(platform, spec, generated), *objects)
                plan = self._plan(platform, spec, desired, progress.inventory, frozenset(progress.attempted))
                plan = plan.during_upgrade() if stage else plan
                progress.held = {one.id for one in plan.held_prune}
                changes = plan.pending(progress.attempted)
                if not changes:
                    break
                if stage:
                    progress.inventory = progress.inventory.with_announced([change.object.id for change in changes])
                    await write_inventory(self.client, self.cache, platform, progress.inventory, generated.key_ids)
                await self._apply(platform, changes, progress)
            await prune(self.client, self.cache, key, plan.prune)
        except ApiError:
            with contextlib.suppress(ApiError):  # then the next pass applies more than necessary
                stored = progress.inventory.for_content(content, desired, progress.held)
                await write_inventory(self.client, self.cache, platform, stored, generated.key_ids)
            raise
        if progress.held:
            self.renderer.forget(key, platform.uid, values)
        stored = progress.inventory.for_content(content, desired, progress.held)
        await write_inventory(self.client, self.cache, platform, stored, generated.key_ids)
        await _yield_to_others()
        plan = self._plan(platform, spec, desired, progress.inventory, frozenset(progress.attempted))
        if stage:
            await _yield_to_others()
            ahead = (*self._generated(platform, spec, generated), *stage.ahead)
            later = self._plan(platform, spec, ahead, progress.inventory, frozenset(progress.attempted))
            plan = replace(plan.during_upgrade(), due=later.due, waiting=later.waiting)
        return PassResult(plan, tuple(progress.refusals), tuple(progress.conflicts))

    async def _advance_rotations(
        self, platform: Platform, spec: Spec, generated: _Generated, result: PassResult
    ) -> RotationReport:
        """Records the next steps of rotations, if they may come. The next pass changes what follows from them."""
        key, rotations = platform.key, generated.rotations
        is_stopped = spec.hibernated or is_closed(platform)
        goes_on = result.converged and not result.holds and not spec.observes and not is_stopped
        observed = self.cache.children(key)
        own = self.installation.version
        older_than = "" if result.target is None or result.target.version == own else own
        before_it = self._rotated_before(key)
        report = advance_rotations(
            platform, spec, observed, rotations, self.now(), generated.keys,
            goes_on=goes_on, older_than=older_than, before_it=before_it,
        )  # fmt: skip
        waits = stored_condition(platform.status, "Rotating")
        if report.awaits_turn and (waits is None or waits["reason"] != ConditionReason.ROTATION_WAITS):
            others = ", ".join(sorted(map(str, before_it)))
            logger.info("the rotations of %s end first", others, extra={"platform": str(key)})
        if report.moves_base:
            await write_base(self.client, self.cache, key, generated.keys)
        if not report.is_record_due:
            return report
        if report.begins:
            self._beginning.add(key)
        if conflict := await find_conflict(self.client, self.cache, key, rotation_id(key)):
            self._beginning.discard(key)
            return report.refused(f"{conflict} has the name of the record of rotations: rename it.")
        ids = shop_key_ids(report.rotations, generated.keys)
        try:
            await write_rotations(self.client, self.cache, key, report.rotations, ids)
        except ApiError as error:
            if not error.transient:  # else it may have been recorded
                self._beginning.discard(key)
            raise
        return report

    def _rotated_before(self, key: PlatformKey) -> frozenset[PlatformKey]:
        """Returns the shops that are rotated now, if they are too many for this one to move to another master key."""
        rotating = {one.key for one in self.cache.fleet() if is_rotating(one, begins=one.key in self._beginning)}
        return frozenset() if key in rotating or len(rotating) < self.policy.concurrency else frozenset(rotating)

    async def _named_secrets(self, platform: Platform, spec: Spec, key: MasterKey) -> tuple[SecretState, ...]:
        stored = platform.status.get("secrets", ())
        return await read_named_secrets(self.client, platform.key.namespace, spec, key, stored)

    async def _release_secrets(self, platform: Platform, spec: Spec) -> Children:
        """Reads the Secrets of a release that is being adopted. The cache does not have them before the first pass."""
        if not adopts_release(platform):
            return {}
        return await read_url_secrets(self.client, platform.key, spec, self.cache.children(platform.key))

    def _store_tls(
        self,
        key: PlatformKey,
        spec: Spec,
        version: str,
        keys: KeyRing,
        inventory: Inventory,
        release: Children,
    ) -> StoreTls:
        observed = {**release, **self.cache.children(key)}

        def is_own(component: str) -> bool:
            return may_write(key, component, keys, observed)

        return store_tls(key, spec, version, observed, inventory, is_own, self.now())

    def _values(
        self, platform: Platform, spec: Spec, version: str, generated: _Generated, named: Sequence[SecretState]
    ) -> ChartValues:
        """Returns the values of the charts for a version of the services."""
        spec = spec.model_copy(update={"version": version})
        authentication = grpc_authentication(spec, generated.replaced_version)
        profile, annotations = store_profile(platform, spec), pod_annotations(named)
        observed = self.cache.children(platform.key)
        images = kept_images(platform, spec, observed, self.installation.store_images)
        for service, own in generation_annotations(spec, generated.rotations).items():
            annotations[service] = annotations.get(service, {}) | own
        roles = migration_rotation(generated.rotations)
        surge, hibernated = (
            surge_at(spec, self.now()),
            hibernation_of(platform, spec, observed, draining=generated.draining),
        )
        scale = Scale(surge.factor, greatest_factor(spec), hibernated.value)
        plain = [store for store in own_stores(spec) if store not in generated.tls.stores]
        return chart_values(
            platform.key, spec, self.installation, profile, authentication, annotations, images, roles, plain, scale
        )

    def _generated(self, platform: Platform, spec: Spec, generated: _Generated) -> tuple[DesiredObject, ...]:
        """Returns the objects that no chart has: the credentials, and what migrations know of their databases."""
        key, observed = platform.key, self.cache.children(platform.key)
        secrets = writable_secrets(key, generated.secrets, generated.keys, observed)
        return (*secrets, databases_object(platform, generated.migration_times))

    def _plan(
        self,
        platform: Platform,
        spec: Spec,
        desired: Sequence[DesiredObject],
        inventory: Inventory,
        attempted: frozenset[ObjectId] = frozenset(),
    ) -> Plan:
        observed = self.cache.children(platform.key)
        inventory = self.fights.tolerate(platform.key, inventory, observed, self.now())
        records = {inventory_id(platform.key), rotation_id(platform.key), salt_id(platform.key), *release_ids(observed)}
        clusters = {one for one in observed if one.kind in CLUSTER_KINDS}  # their volumes go with them
        protected = protected_secrets(platform.key, spec, observed) | records | clusters
        allowed = platform.annotations.get(ANNOTATION_ALLOW_PRUNE, "")
        closed = is_closed(platform)
        guard = PruneGuard(declared_removals(platform.key, spec, closed=closed), allowed)
        closes = closed and not has_stopped_store(observed, spec)
        stops = (spec.hibernated or closes) and not is_in_steps(platform.status)
        return make_plan(desired, inventory, observed, protected, guard, attempted, stops=stops)

    async def _apply(self, platform: Platform, changes: Sequence[Change], progress: _PassProgress) -> None:
        """Applies objects concurrently: their order within a wave does not matter.

        Raises the first ApiError after all have been answered.
        """
        key = platform.key
        free = await find_free_names(self.client, self.cache, key, [change.object.id for change in changes])
        answers = await asyncio.gather(
            *(self._apply_one(key, change, is_free=change.object.id in free) for change in changes),
            return_exceptions=True,
        )
        for change, answer in zip(changes, answers, strict=True):
            progress.record(change, answer)
        for change, answer in zip(changes, answers, strict=True):
            if isinstance(answer, ObservedObject):
                self._report_change(platform, change)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _apply_one(
        self, key: PlatformKey, change: Change, *, is_free: bool
    ) -> ObservedObject | Refusal | NameConflict | None:
        async with self._apply_slots:
            return await apply_object(self.client, self.cache, key, change.object, is_free=is_free)

    def _report_change(self, platform: Platform, change: Change) -> None:
        """Logs and counts an applied object with the reason, and emits an Event if it was repaired."""
        kind, reason = change.object.id.kind, change.reason.value
        details = {"platform": str(platform.key), "reason": reason, "manager": change.manager, "field": change.field}
        logger.info("%s", change, extra=details)
        metrics.APPLIES.labels(kind, reason).inc()
        if change.is_repair:
            metrics.REPAIRS.labels(kind, reason).inc()
            self.fights.record(platform.key, change, self.now())
            self.recorder.emit_repair(platform, change, self.now())

    async def _report(self, platform: Platform, spec: Spec | None, result: PassResult) -> None:
        """Writes the status and emits an Event for each transition. An unchanged status is not written again."""
        key, now = platform.key, self.now()
        result = replace(result, plan=await self._explain(platform, result.plan))
        if result.plan is not None:
            result = replace(result, plan=self._job_retries.with_failures(key, result.plan))
        result = replace(result, blocked_for=blocked_for(stored_blocked(platform), now))
        result = replace(result, fights=self.fights.opponents(key, now))
        result = replace(result, diagnosis=await self._diagnose(key, result))
        latest = self.cache.platforms.get(key, platform)
        platform = replace(platform, finalizers=latest.finalizers, status=latest.status)
        snapshot = Snapshot(
            platform,
            spec,
            self.cache.children(key),
            self.scrape_results(key),
            now,
            self.installation.store_images,
            self.backup_reports.get(key),
        )
        status = describe(snapshot, result)
        metrics.export_platform(key, status)
        if status == platform.status:
            return
        answer = await self.client.apply(PLATFORM, key.namespace, status_manifest(platform, status), "status")
        self.cache.store_platform(observe_platform(answer))
        if mode_changed(platform.status, status):
            self.recorder.emit_mode(platform, status["mode"], now)
        for condition in changed_conditions(platform, status):
            logger.info(condition["message"], extra={"platform": str(key), "reason": condition["reason"]})
            self.recorder.emit_transition(platform, condition, now)

    async def _explain(self, platform: Platform, plan: Plan | None) -> Plan | None:
        """Adds the causes that Events report to what the plan waits for. Events are not watched, but listed."""
        if plan is None or not plan.blockers:
            return plan
        namespace = platform.key.namespace
        try:
            events, _ = await self.client.list(EVENT, namespace, limit=MAX_EVENTS, fields=WARNINGS)
        except ApiError as error:
            logger.warning("cannot list Events: %s", error, extra={"platform": str(platform.key)})
            return plan
        return with_causes(plan, events, blocked_since(stored_blocked(platform)), self.now())

    async def _drains(self, key: PlatformKey, spec: Spec) -> bool:
        """Returns whether pods of services are being stopped. Raises ApiError: then no store is stopped."""
        if stores_are_stopped(self.cache.children(key), spec):
            return False  # they are stopped last
        selector = f"{LABEL_INSTANCE}={key.name},{LABEL_COMPONENT} in ({','.join(SERVICES)})"
        pods, _ = await self.client.list(POD, key.namespace, selector)
        return is_draining(pods, self.now())

    async def _diagnose(self, key: PlatformKey, result: PassResult) -> str:
        """Returns what the pods of the degraded part report. Pods are not watched: those of such a part are listed."""
        part = degraded_part(result)
        if part is None:
            return ""
        try:
            pods, _ = await self.client.list(POD, key.namespace, _pod_selector(key, part.id), MAX_DIAGNOSED_PODS)
        except ApiError as error:
            logger.warning("cannot list pods: %s", error, extra={"platform": str(key)})
            return ""
        return diagnose(pods)


async def _yield_to_others() -> None:
    """Lets the event loop run other tasks: rendering, planning and reporting each take tens of milliseconds, and the
    API server may answer all that is awaited in between at once."""
    await asyncio.sleep(0)


def _pod_selector(key: PlatformKey, part: ObjectId) -> str:
    if part.kind == "Job":
        return f"batch.kubernetes.io/job-name={part.name}"
    return f"{LABEL_INSTANCE}={key.name},{LABEL_COMPONENT}={part.name.removeprefix(f'{key.name}-')}"


_ENDS_WITHOUT_EVENT = (RenderTimeoutError, MasterKeyMissingError, MasterKeyChangedError, StoreLeftBehindError)


def _may_change_without_event(spec: Spec | None, result: PassResult) -> bool:
    if result.error is not None:
        return isinstance(result.error, _ENDS_WITHOUT_EVENT)
    if spec is not None and spec.observes:
        return bool(result.plan and result.plan.blockers)
    return not result.converged


@dataclass(frozen=True)
class _Choice:
    """The release that a shop is to run, and how it gets there."""

    target: Target
    upgrade: Upgrade | None = None
    stage: Stage | None = None
    """Set while the objects of the shop are of two releases."""


def _failed_pass(error: OperatorError, named: tuple[SecretState, ...] | None, choice: _Choice | None) -> PassResult:
    target, upgrade = (choice.target, choice.upgrade) if choice else (None, None)
    return PassResult(error=error, secrets=named, target=target, upgrade=upgrade)


@dataclass(frozen=True)
class _Generated:
    """What the objects that no chart has are made from. It stays the same during a pass."""

    key: PlatformKey
    spec: Spec
    keys: KeyRing
    replaced_version: str
    """The version whose services show no token, if it may still run."""
    tls: StoreTls
    rotations: Rotations
    migration_times: MigrationTimes
    draining: bool
    """True while pods of services that a hibernation stops complete requests."""

    @property
    def key_ids(self) -> str:
        """The ids of the master keys that the shop needs, as its records have them."""
        return shop_key_ids(self.rotations, self.keys)

    @cached_property
    def secrets(self) -> Mapping[str, DesiredObject]:
        """All Secrets of the shop, which a pass compares several times."""
        return derived_secrets(self.key, self.spec, self.keys, self.tls, self.replaced_version, self.rotations)


@dataclass
class _PassProgress:
    """The changes that a pass has made so far."""

    inventory: Inventory
    refusals: list[Refusal] = field(default_factory=list)
    conflicts: list[NameConflict] = field(default_factory=list)
    attempted: set[ObjectId] = field(default_factory=set)
    """Objects that were sent, or left alone since they are not the operator's: not sent again in the same pass, so that
    another writer who answers each write with one of its own cannot hold the worker."""
    held: set[ObjectId] = field(default_factory=set)
    """Objects whose deletion is held."""

    def record(self, change: Change, answer: ObservedObject | Refusal | NameConflict | BaseException | None) -> None:
        self.attempted.add(change.object.id)
        if isinstance(answer, ObservedObject):
            self.inventory = self.inventory.with_applied(change.object, answer.owned_digest)
        if isinstance(answer, Refusal):
            self.refusals.append(answer)
        elif isinstance(answer, NameConflict):
            self.conflicts.append(answer)
