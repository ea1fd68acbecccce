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
from platform_operator.api.kinds import (
    CLUSTER_KINDS,
    RELEASE,
    ObjectId,
    PlatformKey,
)
from platform_operator.api.spec import Spec, parse
from platform_operator.apply.applier import apply_object, delete_object, find_free_names, find_name_conflict, prune
from platform_operator.apply.conflicts import reading_again
from platform_operator.apply.deletion import finish_deletion, set_finalizer
from platform_operator.apply.helm_release import adopts_release, delete_release_records
from platform_operator.apply.inventory_store import inventory_id, is_stored, read_inventory, write_inventory
from platform_operator.apply.release_history import record_release, restore_labels
from platform_operator.apply.salt_store import recorded_or_new_salt
from platform_operator.apply.service_pods import pods_of_services
from platform_operator.apply.volumes import list_volumes
from platform_operator.cache.observed import Children, ObservedObject, Platform
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
from platform_operator.plan.comparison import Change
from platform_operator.plan.data_loss import (
    MigrationTimes,
    databases_id,
    databases_object,
    migration_times,
    migrations_to_run,
)
from platform_operator.plan.field_fights import FieldFights
from platform_operator.plan.fleet import held_release
from platform_operator.plan.hibernation import (
    Hibernation,
    hibernation_of,
    is_in_steps,
    is_to_be_stopped,
    must_wait_for_pods,
    services_have_pods,
    stops_now,
    stores_are_stopped,
)
from platform_operator.plan.inventory import DesiredObject, Inventory
from platform_operator.plan.job_retries import JobRetries
from platform_operator.plan.planner import Plan, make_plan
from platform_operator.plan.prune_guard import ANNOTATION_ALLOW_PRUNE, PruneGuard, declared_removals
from platform_operator.plan.readiness import NameConflict, Refusal
from platform_operator.plan.releases import release_id, release_ids, release_of
from platform_operator.plan.store_providers import check_clusters, check_volumes, new_clusters
from platform_operator.plan.surge import greatest_factor, surge_at
from platform_operator.plan.upgrades import Stage
from platform_operator.release_chooser import Choice, ReleaseChooser
from platform_operator.render.renderer import Renderer
from platform_operator.render.store_images import kept_images
from platform_operator.render.values import ChartValues, Installation, Scale, chart_values
from platform_operator.reporter import Reporter
from platform_operator.rotator import Rotator
from platform_operator.secrets.caller_tokens import grpc_authentication, replaced_version
from platform_operator.secrets.credentials import derived_secrets, may_write, protected_secrets, writable_secrets
from platform_operator.secrets.master_key import KeyRing, MasterKey
from platform_operator.secrets.master_key_store import MasterKeyStore
from platform_operator.secrets.named_secrets import SecretState, pod_annotations
from platform_operator.secrets.rotation import (
    Rotations,
    generation_annotations,
    migration_rotation,
    read_rotations,
    rotation_id,
    shop_key_ids,
)
from platform_operator.secrets.salt import read_salt, salt_id
from platform_operator.secrets.secret_reader import read_named_secrets, read_url_secrets
from platform_operator.secrets.store_tls import StoreTls, own_stores, store_tls
from platform_operator.status.blocked import blocked_for, blocked_since
from platform_operator.status.conditions import PassResult
from platform_operator.status.platform_status import store_profile, stored_blocked
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
    releases: ReleaseChooser
    rotator: Rotator
    reporter: Reporter
    now: Callable[[], datetime]
    new_salt: Callable[[], str]
    """Returns a random salt, for the credentials of a new platform."""
    fights: FieldFights
    job_retries: JobRetries
    tolerates: Callable[[PlatformKey, Exception | None], bool]
    """Returns whether the status says nothing of a pass that ends at an error: at a conflict, but for many in a row."""
    _apply_slots: asyncio.Semaphore = field(
        init=False, default_factory=lambda: asyncio.Semaphore(MAX_CONCURRENT_APPLIES)
    )

    async def reconcile(self, key: PlatformKey) -> Requeue:
        """Makes one pass over one platform: observe, plan, apply, report. Safe to stop anywhere and to repeat.

        Raises ApiError or UnexpectedError if the pass has to be retried. If the API server refused a write as out of
        date, the platform and its records are read again first, and the status says nothing of it if that is tolerated.
        """
        async with reading_again(self.client, self.cache, key):
            return await self._make_pass(key)

    async def _make_pass(self, key: PlatformKey) -> Requeue:
        platform = self.cache.platforms.get(key)
        if platform is None:
            self._forget(key)
            return Requeue.never()
        if platform.deleting:
            is_finished = await finish_deletion(self.client, self.cache, platform, self.now())
            return Requeue.never() if is_finished else Requeue.after(EARLY_RECHECK)  # the rest is garbage-collected
        spec, result = await self._converge(platform)
        if result.error is not None and self.tolerates(key, result.error):
            raise result.error  # the next pass is decided by what is read again
        await _yield_to_others()
        await self.reporter.report(platform, spec, result)
        if result.rotation is not None:
            self.rotator.forget_beginning(key)
        if isinstance(result.error, ApiError | UnexpectedError):
            raise result.error
        if result.converged and adopts_release(platform) and not (spec and spec.observes):
            await delete_release_records(self.client, platform.key)
        if not self._is_current(platform):
            return Requeue.after(0)
        return self._next_pass(platform, spec, result)

    def _next_pass(self, platform: Platform, spec: Spec | None, result: PassResult) -> Requeue:
        """Returns when the platform is reconciled again, if nothing changes before."""
        key = platform.key
        recheck = self._recheck(key, spec, result)
        secrets = SECRETS_INTERVAL if result.secrets else None
        rotation = result.rotation.seconds_until_next_step(self.now()) if result.rotation else None
        waits = (result.target and result.target.wait) or (result.rotation and result.rotation.awaits_turn)
        turn = TURN_INTERVAL if waits else None
        in_steps = result.upgrade is not None and result.upgrade.in_steps and not (spec and spec.observes)
        step = STEP_INTERVAL if in_steps else None
        next_change = surge_at(spec, self.now()).next_change if spec else None
        surge = max(0.0, (next_change - self.now()).total_seconds()) if next_change else None
        stops = 0.0 if self._begins_to_hibernate(key, spec, result) else None
        drain = EARLY_RECHECK if _awaits_pods(spec, result) else None
        fights = self.fights.next_look(key, self.now())
        return Requeue.earliest(recheck, secrets, rotation, turn, step, surge, stops, drain, fights)

    def _begins_to_hibernate(self, key: PlatformKey, spec: Spec | None, result: PassResult) -> bool:
        """Returns whether the upgrade that a shop had to complete before it is stopped ended in this pass."""
        known = self.cache.platforms.get(key)
        if spec is None or spec.observes or result.error is not None or known is None:
            return False
        return is_to_be_stopped(known) and result.hibernation is Hibernation.NONE and not is_in_steps(known.status)

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
        self.rotator.forget_beginning(key)
        self.releases.forget(key)
        self.fights.forget(key)
        self.job_retries.forget(key)

    async def _converge(self, platform: Platform) -> tuple[Spec | None, PassResult]:
        spec, named, choice = None, None, None
        try:
            spec = parse(platform.spec)
            if not spec.observes:
                needed = spec.deletion_policy == "Delete"
                await set_finalizer(self.client, self.cache, platform, needed=needed)
            await self._check_stores(platform.key, spec)
            observed = self.cache.children(platform.key)
            inventory = read_inventory(platform.key, observed)
            replaced = replaced_version(platform.key, observed, inventory)
            rotations, recorded = read_rotations(platform.key, observed), observed.get(rotation_id(platform.key))
            times = migration_times(platform, observed)
            keys = await self._master_keys(platform, spec)
            if isinstance(keys, NameConflict):
                return spec, PassResult(name_conflicts=(keys,))
            named = await self._named_secrets(platform, spec, keys.base)
            release = await self._release_secrets(platform, spec)
            is_scaled_down = not services_have_pods(self.cache.children(platform.key))  # before the pods are listed
            stopped = spec.stops_services and not await self._waits_for_pods(platform.key, spec) and is_scaled_down

            def pass_for(version: str) -> _Pass:
                tls = self._store_tls(platform.key, spec, version, keys, inventory, release)
                generated = _Generated(platform.key, spec, keys, replaced, tls, rotations, times, stopped)
                values = self._values(platform, spec, version, generated, named)
                return _Pass(platform, spec, inventory, values, generated)

            choice = await self.releases.choose(platform, spec, inventory, lambda version: pass_for(version).values)
            this = pass_for(choice.target.version)
            result = await self._carry_out(this, choice)
            result = replace(result, secrets=named, target=choice.target, upgrade=choice.upgrade, migration_times=times)
            hibernation = Hibernation(this.values["global"].get("hibernated", ""))
            result = replace(result, hibernation=hibernation, services_stopped=stopped)
            rotation = await self.rotator.advance(platform, spec, rotations, recorded, keys, result)
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

    async def _carry_out(self, this: _Pass, choice: Choice) -> PassResult:
        if not this.spec.observes:
            await restore_labels(self.client, self.cache, this.platform)
        if choice.stage is not None:
            await self._run_jobs_again(this)
            return await self._apply_waves(this, choice.stage)
        if choice.target.holds(self.renderer.chart_digest):
            return await self._hold(this)
        if not this.spec.observes:
            await self._run_jobs_again(this)
        plan = self._plan_from_inventory(this)
        if plan is not None and plan.idle:
            return PassResult(plan)
        return await (self._observe(this) if this.spec.observes else self._apply_waves(this))

    async def _hold(self, this: _Pass) -> PassResult:
        """Repairs what was applied, and changes nothing else: the operator's release is not the shop's yet."""
        plan = self._plan(this, this.inventory.desired(), this.inventory).without_deletions()
        if plan.idle:
            return PassResult(plan, holds=True)
        rendered = await self._rendered(this)
        desired = held_release((*self._generated(this), *rendered), this.inventory)
        progress = _PassProgress(this.inventory)
        plan = self._plan(this, desired, this.inventory)
        try:
            await self._apply(this.platform, plan.apply, progress)
        finally:
            with contextlib.suppress(ApiError):  # then the next pass repairs more than necessary
                await self._store_inventory(this, progress.inventory)
        plan = self._plan(this, desired, progress.inventory, frozenset(progress.attempted))
        return PassResult(
            plan.without_deletions(), tuple(progress.refusals), tuple(progress.name_conflicts), holds=True
        )

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

    async def _run_jobs_again(self, this: _Pass) -> None:
        """Deletes the failed Jobs whose retry is due, and migrations whose answer is out of date.

        This pass creates them again, as it does every lost object.
        """
        platform, now = this.platform, self.now()
        key, observed = platform.key, self.cache.children(platform.key)
        failed = self.job_retries.due(key, observed, now)
        outdated = migrations_to_run(platform, observed, blocked_since(stored_blocked(platform)), now)
        for identity, seen in {one.id: one for one in (*failed, *outdated)}.items():
            if identity in this.inventory.objects:
                logger.info("%s runs again", identity, extra={"platform": str(key)})
                await delete_object(self.client, self.cache, key, seen)

    def _plan_from_inventory(self, this: _Pass) -> Plan | None:
        """Makes the plan without rendering, from what was applied before.

        Returns None if the spec now asks for something else.
        """
        key, inventory = this.platform.key, this.inventory
        if inventory.content_digest != self._content_digest(this):
            return None
        observed = self.cache.children(key)
        if not is_stored(this.platform, inventory, this.generated.key_ids, observed):
            return None
        if inventory.release and ObjectId(RELEASE, inventory.release) not in observed:
            return None
        databases = databases_id(key)
        others = tuple(one for one in inventory.desired() if one.id.kind != "Secret" and one.id != databases)
        return self._plan(this, (*self._generated(this), *others), inventory)

    async def _observe(self, this: _Pass) -> PassResult:
        """Makes the plan that `_apply_waves` would carry out, and writes nothing."""
        rendered = await self._rendered(this)
        return PassResult(self._plan(this, (*self._generated(this), *rendered), this.inventory))

    async def _apply_waves(self, this: _Pass, stage: Stage | None = None) -> PassResult:
        """Applies wave after wave until one has to be waited for.

        Stores the inventory of what was applied in any case. In a `stage` of an upgrade, its objects are applied.
        """
        key, progress = this.platform.key, _PassProgress(this.inventory)
        content = "" if stage else self._content_digest(this)
        conflict = await find_name_conflict(self.client, self.cache, key, inventory_id(key))
        if conflict is not None:
            return PassResult(name_conflicts=(conflict,))
        rendered = await self._rendered(this)
        objects = stage.objects if stage else rendered
        await _yield_to_others()
        desired: Sequence[DesiredObject] = (*self._generated(this), *objects)
        if not self._plan(this, desired, this.inventory).held_prune:
            release = release_of(key, this.values, self.renderer.chart_digest, rendered)
            conflict = await record_release(self.client, self.cache, this.platform, release)
            if conflict is not None:
                return PassResult(name_conflicts=(conflict,))
            progress.inventory = replace(progress.inventory, release=release_id(key, release).name)
        try:
            while True:
                await _yield_to_others()
                desired = (*self._generated(this), *objects)
                plan = self._plan(this, desired, progress.inventory, frozenset(progress.attempted))
                plan = plan.during_upgrade() if stage else plan
                progress.held = {one.id for one in plan.held_prune}
                changes = plan.pending(progress.attempted)
                if not changes:
                    break
                if stage:
                    progress.inventory = progress.inventory.with_announced([change.object.id for change in changes])
                    await self._store_inventory(this, progress.inventory)
                await self._apply(this.platform, changes, progress)
            await prune(self.client, self.cache, key, plan.prune)
        except ApiError:
            with contextlib.suppress(ApiError):  # then the next pass applies more than necessary
                await self._store_inventory(this, progress.inventory.for_content(content, desired, progress.held))
            raise
        if progress.held:
            self.renderer.forget(key, this.platform.uid, this.values)
        await self._store_inventory(this, progress.inventory.for_content(content, desired, progress.held))
        await _yield_to_others()
        plan = self._plan(this, desired, progress.inventory, frozenset(progress.attempted))
        if stage:
            await _yield_to_others()
            ahead = (*self._generated(this), *stage.ahead)
            later = self._plan(this, ahead, progress.inventory, frozenset(progress.attempted))
            plan = replace(plan.during_upgrade(), due=later.due, waiting=later.waiting)
        return PassResult(plan, tuple(progress.refusals), tuple(progress.name_conflicts))

    def _content_digest(self, this: _Pass) -> str:
        return self.renderer.content_digest(this.platform.key, this.platform.uid, this.values)

    async def _rendered(self, this: _Pass) -> Sequence[DesiredObject]:
        """Returns the objects of the charts. Raises RenderError."""
        return await self.renderer.render(this.platform.key, this.platform.uid, this.values)

    async def _store_inventory(self, this: _Pass, inventory: Inventory) -> None:
        await write_inventory(self.client, self.cache, this.platform, inventory, this.generated.key_ids)

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
            hibernation_of(platform, spec, observed, services_stopped=generated.services_stopped),
        )
        scale = Scale(surge.factor, greatest_factor(spec), hibernated.value)
        plain = [store for store in own_stores(spec) if store not in generated.tls.stores]
        return chart_values(
            platform.key, spec, self.installation, profile, authentication, annotations, images, roles, plain, scale
        )

    def _generated(self, this: _Pass) -> tuple[DesiredObject, ...]:
        """Returns the objects that no chart has: the credentials, and what migrations know of their databases."""
        key, generated = this.platform.key, this.generated
        secrets = writable_secrets(key, generated.secrets, generated.keys, self.cache.children(key))
        return (*secrets, databases_object(this.platform, generated.migration_times))

    def _plan(
        self,
        this: _Pass,
        desired: Sequence[DesiredObject],
        inventory: Inventory,
        attempted: frozenset[ObjectId] = frozenset(),
    ) -> Plan:
        platform, spec, key = this.platform, this.spec, this.platform.key
        observed = self.cache.children(key)
        inventory = self.fights.tolerate(key, inventory, observed, self.now())
        records = {inventory_id(key), rotation_id(key), salt_id(key), *release_ids(observed)}
        clusters = {one for one in observed if one.kind in CLUSTER_KINDS}  # their volumes go with them
        protected = protected_secrets(key, spec, observed) | records | clusters
        allowed = platform.annotations.get(ANNOTATION_ALLOW_PRUNE, "")
        guard = PruneGuard(declared_removals(key, spec, stopped=is_to_be_stopped(platform)), allowed)
        stops = stops_now(platform, spec, observed, services_stopped=this.generated.services_stopped)
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
                self.reporter.report_change(platform, change)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _apply_one(
        self, key: PlatformKey, change: Change, *, is_free: bool
    ) -> ObservedObject | Refusal | NameConflict | None:
        async with self._apply_slots:
            return await apply_object(self.client, self.cache, key, change.object, is_free=is_free)

    async def _waits_for_pods(self, key: PlatformKey, spec: Spec) -> bool:
        """Returns whether pods of services or migrations have still to end.

        Raises ApiError: then no store is stopped.
        """
        if stores_are_stopped(self.cache.children(key), spec):
            return False  # they are stopped last
        return must_wait_for_pods(await pods_of_services(self.client, key, self.now()), spec)


async def _yield_to_others() -> None:
    """Lets the event loop run other tasks: rendering, planning and reporting each take tens of milliseconds, and the
    API server may answer all that is awaited in between at once."""
    await asyncio.sleep(0)


def _awaits_pods(spec: Spec | None, result: PassResult) -> bool:
    """Returns whether pods of services that the spec stops have still to end, which no event announces."""
    if spec is None or spec.observes or not spec.stops_services:
        return False
    return result.hibernation is Hibernation.SERVICES and not result.services_stopped


_ENDS_WITHOUT_EVENT = (RenderTimeoutError, MasterKeyMissingError, MasterKeyChangedError, StoreLeftBehindError)


def _may_change_without_event(spec: Spec | None, result: PassResult) -> bool:
    if result.error is not None:
        return isinstance(result.error, _ENDS_WITHOUT_EVENT)
    if spec is not None and spec.observes:
        return bool(result.plan and result.plan.blockers)
    return not result.converged


def _failed_pass(error: OperatorError, named: tuple[SecretState, ...] | None, choice: Choice | None) -> PassResult:
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
    services_stopped: bool
    """True if the spec stops the services, and none had pods when the pass began."""

    @property
    def key_ids(self) -> str:
        """The ids of the master keys that the shop needs, as its records have them."""
        return shop_key_ids(self.rotations, self.keys)

    @cached_property
    def secrets(self) -> Mapping[str, DesiredObject]:
        """All Secrets of the shop, which a pass compares several times."""
        return derived_secrets(self.key, self.spec, self.keys, self.tls, self.replaced_version, self.rotations)


@dataclass(frozen=True)
class _Pass:
    """The inputs of a pass, which stay the same during it. What is observed may change."""

    platform: Platform
    spec: Spec
    inventory: Inventory
    """What was applied when the pass began."""
    values: ChartValues
    generated: _Generated


@dataclass
class _PassProgress:
    """The changes that a pass has made so far."""

    inventory: Inventory
    refusals: list[Refusal] = field(default_factory=list)
    name_conflicts: list[NameConflict] = field(default_factory=list)
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
            self.name_conflicts.append(answer)
