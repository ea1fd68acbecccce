"""Upgrades of one shop: they go in steps, each measured before the next one begins, and go back by themselves. Pure.

docs/adr/0048-upgrades-go-in-gated-steps.md says why the steps and gates are these, and
docs/adr/0049-a-failed-upgrade-goes-back-by-itself.md what going back is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from platform_operator.api.conditions import TIME_FORMAT, InvariantState, UpgradePhase
from platform_operator.api.kinds import GROUP, STORE_KINDS, ObjectId, PlatformKey
from platform_operator.api.spec import UpgradeGates
from platform_operator.cache.observed import Children, Platform, Workload
from platform_operator.plan.dependencies import component_of
from platform_operator.plan.inventory import DesiredObject, Inventory
from platform_operator.plan.readiness import blocker, is_ready, required_pods
from platform_operator.plan.rollout_steps import COMPLETE, STEPS, Releases, step_of, unfinished

ANNOTATION_RETRY_UPGRADE = f"{GROUP}/retry-upgrade"
"""Asks for one more try of the release that has failed. Each new value is one request."""

MAX_INVARIANTS = 200
"""Invariants that an upgrade is measured by. Their names come from the shop, and are stored in its status."""
MAX_CAUSE = 500
"""Characters."""

Release = tuple[str, str]
"""The version of the services and the digest of the charts."""


@dataclass(frozen=True)
class Upgrade:
    """An upgrade that is not complete, as `status.upgrade` has it: stored before anything is done because of it."""

    release: Release
    phase: UpgradePhase
    step: int
    """The number of the step, COMPLETE when all gates are passed."""
    since: datetime
    """Since when it is in this step."""
    ready_since: datetime | None = None
    """Since when the objects of this step are ready."""
    unready: tuple[str, ...] = ()
    """Components that were not ready before the upgrade, and do not count."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Percentages of requests that failed before the upgrade, of services that failed too many."""
    invariants: tuple[str, ...] = ()
    """The invariants that held before the upgrade, as `<service>/<name>`."""
    generation: int = 0
    """The generation of the spec with which the release failed."""
    request: str = ""
    """The value that ANNOTATION_RETRY_UPGRADE had then."""
    cause: str = ""
    """Why it failed."""

    @property
    def goes_back(self) -> bool:
        return self.phase in (UpgradePhase.ROLLING_BACK, UpgradePhase.ROLLBACK_FAILED)

    @property
    def in_steps(self) -> bool:
        """Tells whether the objects of the shop are of two releases."""
        return self.goes_back or (self.phase is UpgradePhase.ROLLING_OUT and self.step < COMPLETE)

    @property
    def has_failed(self) -> bool:
        return self.phase is not UpgradePhase.ROLLING_OUT

    @property
    def step_name(self) -> str:
        return _STEP_NAMES[self.step]

    def dump(self) -> dict[str, Any]:
        times = {"since": self.since, "readySince": self.ready_since}
        known = {
            "unready": list(self.unready),
            "errors": dict(self.errors),
            "invariants": list(self.invariants),
            "generation": self.generation,
            "request": self.request,
            "cause": self.cause,
        }
        return {
            "version": self.release[0],
            "charts": self.release[1],
            "phase": str(self.phase),
            "step": self.step_name,
            **{name: time.strftime(TIME_FORMAT) for name, time in times.items() if time},
            **{name: value for name, value in known.items() if value},
        }


_STEP_NAMES = (*STEPS, "complete")


def read_upgrade(status: Mapping[str, Any]) -> Upgrade | None:
    """Returns the upgrade that a status has. One in a step that this operator does not know begins again."""
    row = status.get("upgrade")
    if not row or row["phase"] not in set(UpgradePhase):
        return None
    ready_since = row.get("readySince")
    return Upgrade(
        release=(row["version"], row["charts"]),
        phase=UpgradePhase(row["phase"]),
        step=_STEP_NAMES.index(row["step"]) if row["step"] in _STEP_NAMES else 0,
        since=datetime.fromisoformat(row["since"]),
        ready_since=datetime.fromisoformat(ready_since) if ready_since else None,
        unready=tuple(row.get("unready", ())),
        errors=dict(row.get("errors", {})),
        invariants=tuple(row.get("invariants", ())),
        generation=row.get("generation", 0),
        request=row.get("request", ""),
        cause=row.get("cause", ""),
    )


def failed_release(status: Mapping[str, Any]) -> Release | None:
    """Returns the release that has failed on a shop, and that it does not run."""
    upgrade = read_upgrade(status)
    return upgrade.release if upgrade is not None and upgrade.has_failed else None


def is_retried(upgrade: Upgrade, platform: Platform) -> bool:
    """Returns whether a release that has failed is tried again: its user has changed the spec, or asks for it."""
    if platform.annotations.get(ANNOTATION_RETRY_UPGRADE, "") not in ("", upgrade.request):
        return True
    return not upgrade.goes_back and platform.generation != upgrade.generation


@dataclass(frozen=True)
class Known:
    """What is known of a shop before its upgrade. Only what was well then counts during the upgrade."""

    unready: tuple[str, ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)
    invariants: tuple[str, ...] = ()


def begin(release: Release, before: Upgrade | None, known: Known, step: int, now: datetime) -> Upgrade:
    """Returns a new upgrade. One that replaces an unfinished one goes on with what was known before that began."""
    if before is not None and before.in_steps:
        known = Known(before.unready, before.errors, before.invariants)
    return Upgrade(release, UpgradePhase.ROLLING_OUT, step, now, None, known.unready, known.errors, known.invariants)


def unready_components(key: PlatformKey, observed: Children) -> tuple[str, ...]:
    """Returns the components of which a workload is not ready: `order` also stands for its database."""
    found = {
        component_of(identity).removeprefix(f"{key.name}-")
        for identity, seen in observed.items()
        if isinstance(seen.state, Workload) and not is_ready(seen.state, required_pods(identity, seen.state, observed))
    }
    return tuple(sorted(found))


def holding_invariants(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Returns the names of the invariants that hold. `rows` are those of `status.invariants`."""
    names = (_invariant(row) for row in rows if row["state"] == InvariantState.HOLDS)
    return tuple(sorted(names)[:MAX_INVARIANTS])


def _invariant(row: Mapping[str, Any]) -> str:
    return f"{row['service']}/{row['name']}"


@dataclass(frozen=True)
class Progress:
    """How far the objects of a shop are, in the direction in which its upgrade goes."""

    due: frozenset[int]
    """Steps with objects that are not applied yet."""
    waits_for: Mapping[int, str] = field(default_factory=dict)
    """Why a step is not ready: its first object that is not."""
    failed: str = ""
    """The migration of this upgrade that has failed."""

    def next_step(self, step: int) -> int:
        """Returns the first step from `step` on that changes anything."""
        return next((number for number in range(step, COMPLETE) if number in self.due), COMPLETE)


def progress(
    releases: Releases, upgrade: Upgrade | None, inventory: Inventory, observed: Children, unready: Collection[str] = ()
) -> Progress:
    """Returns the progress of an upgrade; None stands for one that has not begun."""
    key = releases.key
    goes_back = upgrade is not None and upgrade.goes_back
    desired = releases.going_back(0, inventory, observed) if goes_back else releases.new
    due = [*unfinished(desired, key, inventory)]
    due_ids = {one.id for _, one in due}
    measured = [one for one in desired if _is_measured(key, one, due_ids, unready)]
    waits_for: dict[int, str] = {}
    for one in measured:
        if message := _not_ready(one, due_ids, observed):
            waits_for.setdefault(step_of(key, one), message)
    return Progress(frozenset(step for step, _ in due), waits_for, next(_failed(measured, due_ids, observed), ""))


def _is_measured(key: PlatformKey, one: DesiredObject, due: Collection[ObjectId], unready: Collection[str]) -> bool:
    """Returns whether an object has to be ready. A store whose change is refused is used as it is."""
    if one.id.kind not in ("Job", "Deployment", *STORE_KINDS) or (one.id.kind in STORE_KINDS and one.id in due):
        return False
    return component_of(one.id).removeprefix(f"{key.name}-") not in unready


def _not_ready(one: DesiredObject, due: Collection[ObjectId], observed: Children) -> str:
    if one.id in due:
        return f"{one.id} is not changed yet"
    if one.id not in observed:
        return f"{one.id} is gone"
    found = blocker(one, observed)
    return f"{one.id} {found.message}" if found else ""


def _failed(measured: Iterable[DesiredObject], due: Collection[ObjectId], observed: Children) -> Iterator[str]:
    """Yields failed migrations. A Deployment that reports a failure may still become ready: it has its deadline."""
    for one in measured:
        if one.id.kind == "Job" and one.id not in due and one.id in observed:
            found = blocker(one, observed)
            if found is not None and found.failed:
                yield f"{one.id} failed: {found.message}"


@dataclass(frozen=True)
class Stage:
    """The objects of a shop in a step of its upgrade, and those that it leads to."""

    objects: tuple[DesiredObject, ...]
    ahead: tuple[DesiredObject, ...]


def stage_of(releases: Releases, upgrade: Upgrade, inventory: Inventory, observed: Children) -> Stage | None:
    """Returns None for an upgrade that has passed its steps, or that has failed and does not go back any more."""
    if not upgrade.in_steps:
        return None
    if upgrade.goes_back:
        objects = releases.going_back(upgrade.step, inventory, observed)
        return Stage(objects, releases.going_back(0, inventory, observed))
    return Stage(releases.during(upgrade.step, inventory), releases.new)


@dataclass(frozen=True)
class Measurement:
    """What a step is measured by, besides the progress of its objects."""

    rows: Sequence[Mapping[str, Any]] = ()
    """The newest state of the invariants."""
    failing: Mapping[str, int] = field(default_factory=dict)
    """Services that fail too many requests, with the percentages."""
    since: datetime | None = None
    """Since when requests are counted; None for a process that has just started."""


def advance(
    upgrade: Upgrade,
    platform: Platform,
    running: Release,
    gates: UpgradeGates,
    state: Progress,
    measured: Measurement,
    now: datetime,
) -> Upgrade:
    """Returns the upgrade after one look at it: the same, further, or going back."""
    if upgrade.goes_back:
        return _go_back(upgrade, gates, state, now)
    if not upgrade.in_steps:
        return upgrade
    waits_for = state.waits_for.get(upgrade.step, "")
    if measured.since is None and upgrade.step in state.due:
        return replace(upgrade, since=now, ready_since=None)  # the operator stopped before it had applied the step
    cause = state.failed or _broken(upgrade, measured) or _overdue(upgrade, gates, waits_for, now)
    if cause:
        return _fail(upgrade, platform, running, cause, now)
    if waits_for:
        return replace(upgrade, ready_since=None)
    ready_since = upgrade.ready_since or now
    observed_since = max(ready_since, measured.since or now)
    if now - observed_since < timedelta(seconds=gates.observe_seconds):
        return replace(upgrade, ready_since=ready_since)
    return replace(upgrade, step=state.next_step(upgrade.step + 1), since=now, ready_since=None)


def _broken(upgrade: Upgrade, measured: Measurement) -> str:
    broken = [row for row in measured.rows if row["state"] == InvariantState.BROKEN]
    names = [name for row in broken if (name := _invariant(row)) in upgrade.invariants]
    if names:
        return f"invariants that held before are broken: {', '.join(names)}"
    shares = [f"{service} fails {percent} % of its requests" for service, percent in measured.failing.items()]
    return ", ".join(shares)


def _overdue(upgrade: Upgrade, gates: UpgradeGates, waits_for: str, now: datetime) -> str:
    if not waits_for or now - upgrade.since < timedelta(seconds=gates.timeout_seconds):
        return ""
    return f"{waits_for} after {gates.timeout_seconds} s"


def _fail(upgrade: Upgrade, platform: Platform, running: Release, cause: str, now: datetime) -> Upgrade:
    has_way_back = upgrade.release[0] != running[0]
    return replace(
        upgrade,
        phase=UpgradePhase.ROLLING_BACK if has_way_back else UpgradePhase.STOPPED,
        step=COMPLETE - 1 if has_way_back else upgrade.step,
        since=now,
        ready_since=None,
        generation=platform.generation,
        request=platform.annotations.get(ANNOTATION_RETRY_UPGRADE, ""),
        cause=f"in step {upgrade.step_name}, {cause}"[:MAX_CAUSE],
    )


def _go_back(upgrade: Upgrade, gates: UpgradeGates, state: Progress, now: datetime) -> Upgrade:
    """A step goes back when the services that call it have gone back. The migrations do so first and are seen last."""
    step = next((number for number in range(upgrade.step, -1, -1) if number in state.waits_for), None)
    if step is None:
        return replace(upgrade, phase=UpgradePhase.ROLLED_BACK, since=now)
    if step != upgrade.step:
        return replace(upgrade, phase=UpgradePhase.ROLLING_BACK, step=step, since=now)
    is_overdue = now - upgrade.since >= timedelta(seconds=gates.timeout_seconds)
    return replace(upgrade, phase=UpgradePhase.ROLLBACK_FAILED) if is_overdue or state.failed else upgrade
