"""Decides which release each shop is to run, so that an upgrade of the operator is no upgrade of all at once. Pure.

docs/adr/0045-a-fleet-is-upgraded-shop-by-shop.md says why. All that is decided on is in the status of the shops: a
restart of the operator forgets nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from platform_operator.api.conditions import ConditionReason, UpgradePhase, is_met
from platform_operator.api.kinds import PlatformKey
from platform_operator.api.restore_marks import restore_mark
from platform_operator.api.spec import DAYS, Maintenance, Spec
from platform_operator.cache.observed import Platform
from platform_operator.plan.hibernation import keeps_release, was_stopped, was_stopped_by
from platform_operator.plan.inventory import DesiredObject, Inventory
from platform_operator.plan.upgrades import (
    ANNOTATION_RETRY_UPGRADE,
    Release,
    Upgrade,
    failed_release,
    is_retried,
    read_upgrade,
)


@dataclass(frozen=True)
class UpgradePolicy:
    """How the shops of an operator get its release. `concurrency` counts shops that are upgraded at the same time."""

    canary: str = ""
    """The shop that is upgraded first, as `<namespace>/<name>`; empty: any."""
    concurrency: int = 5


@dataclass(frozen=True)
class Wait:
    """Why a shop does not get the operator's release yet."""

    reason: ConditionReason
    message: str


@dataclass(frozen=True)
class Target:
    """The release that a shop is to run now: the version of the services, and the digest of the charts."""

    version: str
    charts: str
    wait: Wait | None = None
    """Set while the shop runs another release than the operator's."""

    def holds(self, charts: str) -> bool:
        """Tells whether the objects stay as they were applied: the operator's charts are not the shop's yet."""
        return self.charts != charts


@dataclass(frozen=True)
class _Member:
    """A shop as its status describes it."""

    key: PlatformKey
    target: tuple[str, str]
    running: tuple[str, str]
    degraded: bool
    follows: bool
    """True if its version is the operator's."""
    failed: tuple[str, str] | None = None
    """The release that has failed on it, and that it went back from."""

    @property
    def is_rolled_out(self) -> bool:
        return self.running == self.target


def stored_target(status: Mapping[str, Any]) -> tuple[str, str] | None:
    """Returns the version and the charts that a shop was to run; None for a new one.

    An older operator has written neither the charts nor the target: its `version` was the target.
    """
    version = status.get("targetVersion") or status.get("version")
    return (version, status.get("targetCharts", "")) if version else None


def running_release(status: Mapping[str, Any]) -> tuple[str, str] | None:
    """Returns the version and the charts that are rolled out; None before the first rollout."""
    version = status.get("version")
    return (version, status.get("charts", "")) if version else None


def choose_target(
    platform: Platform,
    spec: Spec,
    release: Target,
    fleet: Iterable[Platform],
    policy: UpgradePolicy,
    now: datetime,
    *,
    edited: bool,
) -> Target:
    """Returns the release that a shop is to run. `release` is the operator's.

    `edited` says whether the user has changed what the shop is made of since the last pass: such a change is made at
    once, with the operator's charts.
    """
    wanted = replace(release, version=spec.version or release.version)
    stored, running = stored_target(platform.status), running_release(platform.status)
    if spec.observes or stored is None or running is None:
        return wanted
    if keeps_release(spec, platform.status, platform.annotations):
        return _target_of_kept_release(platform, running, release, wanted)
    upgrade = read_upgrade(platform.status)
    if upgrade is not None and upgrade.has_failed and upgrade.release == (wanted.version, wanted.charts):
        return wanted if is_retried(upgrade, platform) else failed_target(platform.key, upgrade, running)
    if stored == (wanted.version, wanted.charts) or spec.version not in (None, stored[0]):
        return wanted
    wait = _wait(platform, spec, release, [*_members(fleet)], policy, now)
    if wait is None:
        return wanted
    if upgrade is not None and upgrade.goes_back:
        return failed_target(platform.key, upgrade, running)
    takes_charts = edited or running != stored
    target = Target(stored[0], release.charts if takes_charts else stored[1])
    return target if target == wanted else replace(target, wait=wait)


def _target_of_kept_release(platform: Platform, running: Release, release: Target, wanted: Target) -> Target:
    """Returns the target of a shop that keeps its release: its version, with the operator's charts."""
    target = Target(running[0], release.charts)
    return target if target == wanted else replace(target, wait=_wait_for_services(platform))


def _wait_for_services(platform: Platform) -> Wait:
    """Returns why a shop keeps its release. Of several reasons it names the one that has to end first."""
    if restore_mark(platform.annotations, platform.status) is not None:
        return Wait(ConditionReason.RESTORING, "The shop is being restored: it is upgraded when it serves again.")
    if platform.spec.get("hibernated") or was_stopped_by(platform.status, "Hibernated"):
        return Wait(ConditionReason.HIBERNATED, "The shop is hibernated: it is upgraded when it is awake again.")
    return Wait(ConditionReason.CLOSED, "The shop is closed: it is upgraded when it is open again.")


def failed_target(key: PlatformKey, upgrade: Upgrade, running: Release) -> Target:
    """Returns the release that a shop is to run after an upgrade has failed: the one that was rolled out before."""
    return Target(*running, Wait(_FAILED[upgrade.phase], _failure(key, upgrade, running)))


_FAILED = {
    UpgradePhase.ROLLING_BACK: ConditionReason.ROLLING_BACK,
    UpgradePhase.ROLLBACK_FAILED: ConditionReason.ROLLBACK_FAILED,
    UpgradePhase.ROLLED_BACK: ConditionReason.ROLLED_BACK,
    UpgradePhase.STOPPED: ConditionReason.UPGRADE_STOPPED,
}


def _failure(key: PlatformKey, upgrade: Upgrade, running: Release) -> str:
    failure = f"{upgrade.release[0]} has failed: {upgrade.cause}."
    request = f"kubectl -n {key.namespace} annotate --overwrite ecp {key.name} {ANNOTATION_RETRY_UPGRADE}=$(date +%s)"
    retry = f"It is tried again when the spec changes, or with {request}"
    match upgrade.phase:
        case UpgradePhase.ROLLING_BACK:
            return f"{failure} The shop goes back to {running[0]}."
        case UpgradePhase.ROLLBACK_FAILED:
            return (
                f"{failure} Going back to {running[0]} has not succeeded in time; it goes on, and nothing else is "
                f"tried. To try {upgrade.release[0]} again instead: {request}"
            )
        case UpgradePhase.STOPPED:
            return (
                f"{failure} The version is the same as before, so there is none to go back to: what the step has "
                f"changed stays, and what comes after it is as it was. {retry}"
            )
        case _:
            return f"{failure} The shop runs {running[0]} again. {retry}"


def _wait(
    platform: Platform, spec: Spec, release: Target, members: Sequence[_Member], policy: UpgradePolicy, now: datetime
) -> Wait | None:
    if spec.maintenance is not None and not is_open(spec.maintenance, now):
        return Wait(ConditionReason.OUTSIDE_MAINTENANCE, "Waiting for the hours of spec.maintenance.")
    if is_met(platform.status, "Degraded"):
        return Wait(ConditionReason.SHOP_DEGRADED, "The shop is degraded: it is upgraded when that is resolved.")
    if failed := failed_shops(members, release):
        return Wait(
            ConditionReason.UPGRADES_HALTED,
            f"The upgrade of {', '.join(map(str, failed[:3]))} has failed: no other shop is upgraded until that is "
            "resolved.",
        )
    others = [one for one in members if one.key != platform.key and _is_started(one, release)]
    canary = next((one for one in members if str(one.key) == policy.canary and one.follows), None)
    if canary is not None and canary.key != platform.key and not (canary in others and canary.is_rolled_out):
        return Wait(ConditionReason.WAITING_FOR_CANARY, f"Waiting until {canary.key} runs {release.version}.")
    limit = policy.concurrency if any(one.is_rolled_out for one in others) else 1
    running = [one for one in others if not one.is_rolled_out and not one.degraded]
    if len(running) >= limit:
        return Wait(ConditionReason.WAITING_FOR_TURN, f"Waiting for other shops: at most {limit} upgrade at once.")
    return None


def failed_shops(members: Iterable[_Member], release: Target) -> list[PlatformKey]:
    """Returns the shops on which the operator's release has failed. Those with a version of their own do not count."""
    return [one.key for one in members if one.follows and _has_failed(one, release)]


def _has_failed(member: _Member, release: Target) -> bool:
    if member.failed == (release.version, release.charts):
        return True
    return _is_started(member, release) and member.degraded and not member.is_rolled_out


def is_halted(fleet: Iterable[Platform], release: Target) -> bool:
    """Returns whether no shop gets the operator's release, since it has failed on one."""
    return bool(failed_shops(_members(fleet), release))


def _members(fleet: Iterable[Platform]) -> Iterable[_Member]:
    """Yields the shops that an upgrade of the fleet counts: those that have run a release, that the operator may
    change, and that are not stopped, restored or deleted."""
    for one in fleet:
        target, running = stored_target(one.status), running_release(one.status)
        is_excluded = one.deleting or one.status.get("mode") == "Observe" or was_stopped(one.status)
        if target and running and not is_excluded and restore_mark(one.annotations, one.status) is None:
            follows, failed = not one.spec.get("version"), failed_release(one.status)
            yield _Member(one.key, target, running, is_met(one.status, "Degraded"), follows, failed)


def _is_started(member: _Member, release: Target) -> bool:
    version, charts = member.target
    return charts == release.charts and (version == release.version or not member.follows)


def is_open(maintenance: Maintenance, now: datetime) -> bool:
    """Returns whether `now` is in a window. A window that ends before it begins goes on into the next day."""
    local = now.astimezone(ZoneInfo(maintenance.time_zone))
    clock, begins, ends = local.strftime("%H:%M"), maintenance.from_, maintenance.to
    today, yesterday = DAYS[local.weekday()], DAYS[(local - timedelta(days=1)).weekday()]
    if begins < ends:
        return today in maintenance.days and begins <= clock < ends
    return (today in maintenance.days and clock >= begins) or (yesterday in maintenance.days and clock < ends)


def held_release(rendered: Iterable[DesiredObject], inventory: Inventory) -> tuple[DesiredObject, ...]:
    """Returns the objects of a shop as they were applied, with the manifests by which a lost one is restored.

    These come from the operator's charts: those of the shop's own release are not there any more.
    """
    applied = inventory.objects
    return tuple(replace(one, digest=applied[one.id].digest) for one in rendered if one.id in applied)


def with_targets(fleet: Iterable[Platform], chosen: Mapping[PlatformKey, Target]) -> Iterator[Platform]:
    """Yields the shops with the targets that were chosen for them and are not in their stored status yet."""
    for one in fleet:
        target = chosen.get(one.key)
        yield replace(one, status=with_target(one.status, target)) if target else one


def with_target(status: Mapping[str, Any], target: Target, upgrade: Upgrade | None = None) -> dict[str, Any]:
    """Returns a stored status with another target, and the upgrade that leads to it."""
    others = {name: value for name, value in status.items() if name != "upgrade"}
    row = {"upgrade": upgrade.dump()} if upgrade else {}
    return {**others, "targetVersion": target.version, "targetCharts": target.charts, **row}


def current_upgrade(stored: Upgrade | None, target: Target, running: Release | None) -> Upgrade | None:
    """Returns the stored upgrade if it is still the one of a shop's target, or explains why the shop does not run it.

    None for a shop that runs its target, and for one whose upgrade to it has yet to begin.
    """
    if stored is None or running is None:
        return None
    release = (target.version, target.charts)
    if stored.has_failed:
        return stored if release == running and target.wait is not None else None
    return stored if release == stored.release != running else None


def needs_upgrade(target: Target, running: Release | None, charts: str) -> bool:
    """Returns whether a shop that runs is to be changed to another release. `charts` are the operator's."""
    return running not in (None, (target.version, target.charts)) and not target.holds(charts)
