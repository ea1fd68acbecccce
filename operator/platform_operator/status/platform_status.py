"""Builds the status of a platform. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from platform_operator.api.conditions import Condition, ConditionReason, dated, is_met, stored_condition
from platform_operator.api.kinds import DATABASE_CLUSTER, PLATFORM, STORE_KINDS, Manifest, ObjectId
from platform_operator.api.restore_marks import restore_mark
from platform_operator.api.spec import SERVICES, WITH_DATABASE, Spec
from platform_operator.cache.observed import FINALIZER, Children, Platform, Workload, state_of
from platform_operator.errors import ApiError
from platform_operator.invariants.conditions import invariant_conditions
from platform_operator.invariants.rows import Row, invariant_rows, known_sources
from platform_operator.invariants.scrape_results import ScrapeResult
from platform_operator.plan.data_loss import recorded_times
from platform_operator.plan.fleet import running_release
from platform_operator.plan.hibernation import (
    has_pods,
    is_closed_by_restore,
    is_to_be_stopped,
    running_clusters,
    services_have_pods,
)
from platform_operator.plan.readiness import is_ready, required_pods
from platform_operator.plan.surge import surge_at
from platform_operator.render.profiles import PROFILES
from platform_operator.render.store_images import StoreImages, kept_images
from platform_operator.render.values import platform_url
from platform_operator.secrets.named_secrets import secret_rows
from platform_operator.secrets.rotation import RotationReport
from platform_operator.secrets.salt import read_record, recorded_key_id, reported_key_id, reported_salt
from platform_operator.status.backups import BackupReport
from platform_operator.status.blocked import Row as BlockedRow
from platform_operator.status.blocked import blocked_rows
from platform_operator.status.conditions import (
    PassResult,
    closed_condition,
    degraded_condition,
    fight_condition,
    hibernated_condition,
    is_same_failure,
    mail_condition,
    progressing_condition,
    ready_condition,
    restoring_condition,
    stops,
    upgraded_condition,
)
from platform_operator.status.pending import pending_changes
from platform_operator.status.rotation import rotation_condition, rotation_rows

Status = dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """Everything that the status of one platform is made from, besides the result of the pass."""

    platform: Platform
    spec: Spec | None
    """None if it is invalid."""
    children: Children
    scrape_results: Mapping[str, ScrapeResult]
    now: datetime
    release_images: StoreImages = StoreImages()
    """The images that the stores of a new shop get."""
    backup: BackupReport | None = None
    """What is known of its backups. None if that is not known yet: what is stored stands."""


def describe(snapshot: Snapshot, result: PassResult) -> Status:
    """Returns the whole status.

    It equals the stored one if nothing has changed: a time changes only with what it dates.
    """
    platform, spec = snapshot.platform, snapshot.spec
    observes = spec is not None and spec.observes
    rows = _invariant_rows(snapshot)
    services = [_service(platform.key.name, name, snapshot.children) for name in SERVICES]
    ready = sum(service["ready"] for service in services)
    degraded = degraded_condition(platform.key, result, spec.databases.provider if spec else "builtin")
    hibernated, closed = _hibernated(snapshot, result), _closed(snapshot, result)
    restoring = _restoring(platform)
    candidates = [restoring] if is_closed_by_restore(platform) else [hibernated, closed]
    stop = next((one for one in candidates if one and stops(one)), None)
    backup = snapshot.backup or _stored_backup(snapshot)
    conditions = (
        ready_condition(result, degraded, ready, stop, observes=observes),
        progressing_condition(result, degraded, stop, observes=observes),
        degraded,
        *invariant_conditions(rows, platform.key),
        mail_condition(spec),
        *([hibernated] if hibernated else []),
        *([closed] if closed else []),
        *([restoring] if restoring else []),
        *_upgraded(platform, result),
        *_fight(platform, result),
        *_rotating(platform, result),
        *([backup.condition] if backup.condition else []),
    )
    return {
        "observedGeneration": platform.generation,
        "effectiveDeletionPolicy": _effective_deletion_policy(snapshot),
        **_from_spec(snapshot, result),
        "servicesReady": f"{ready}/{len(services)}",
        "conditions": _stored_conditions(platform, result, conditions, snapshot.now),
        "services": services,
        "blocked": blocked_rows(stored_blocked(platform), result, snapshot.now),
        **_pending(platform, result),
        "invariants": rows,
        **_salt(snapshot),
        **_secrets(platform, result),
        **_rotations(platform, result),
        **({"backup": dict(backup.row)} if backup.row else {}),
    }


def _pending(platform: Platform, result: PassResult) -> Status:
    changes = pending_changes(platform.status.get("pending", {}), result.plan)
    return {"pending": changes} if changes else {}


def _secrets(platform: Platform, result: PassResult) -> Status:
    rows = platform.status.get("secrets", []) if result.secrets is None else secret_rows(result.secrets)
    return {"secrets": rows} if rows else {}


def _rotations(platform: Platform, result: PassResult) -> Status:
    rows = platform.status.get("rotation", []) if result.rotation is None else rotation_rows(result.rotation)
    return {"rotation": rows} if rows else {}


def _rotating(platform: Platform, result: PassResult) -> Iterable[Condition]:
    stored = stored_condition(platform.status, "Rotating") is not None
    condition = rotation_condition(result.rotation or RotationReport(), reported_before=stored)
    return (condition,) if condition else ()


def _hibernated(snapshot: Snapshot, result: PassResult) -> Condition | None:
    status, spec, children = snapshot.platform.status, snapshot.spec, snapshot.children
    if spec is None:
        return _as_stored(status, "Hibernated")
    runs = has_pods(children, spec)
    if result.error is not None and is_met(status, "Hibernated") and spec.hibernated and not runs:
        return _as_stored(status, "Hibernated")
    return hibernated_condition(result, spec, status, has_pods=runs, running=running_clusters(children, spec))


def _closed(snapshot: Snapshot, result: PassResult) -> Condition | None:
    status, spec, restores = snapshot.platform.status, snapshot.spec, is_closed_by_restore(snapshot.platform)
    stays = result.error is not None and is_met(status, "Closed") and not restores
    if spec is None or (stays and spec.closed and not services_have_pods(snapshot.children)):
        return _as_stored(status, "Closed")
    return closed_condition(result, spec, status, restores=restores)


def _as_stored(status: Mapping[str, Any], type_: str) -> Condition | None:
    """Returns a condition that stands: while the spec is invalid, while passes fail, or until more is known."""
    stored = stored_condition(status, type_)
    if stored is None:
        return None
    met = {"True": True, "False": False}.get(stored["status"])
    return Condition(type_, met, ConditionReason(stored["reason"]), stored["message"])


def _restoring(platform: Platform) -> Condition | None:
    reported_before = stored_condition(platform.status, "Restoring") is not None
    mark = restore_mark(platform.annotations, platform.status)
    return restoring_condition(platform.key, mark, reported_before=reported_before)


def _salt(snapshot: Snapshot) -> Status:
    """Returns the salt of the credentials and the id of the master key that they derive from.

    Both are read from here if their record and all Secrets are lost.
    """
    platform, children = snapshot.platform, snapshot.children
    record = read_record(platform.key, children)
    salt, id_ = reported_salt(platform), reported_key_id(platform)
    if record is not None:
        salt, id_ = record.salt, recorded_key_id(platform.key, children)
    return {**({"salt": salt} if salt else {}), **({"masterKeyId": id_} if id_ else {})}


def _stored_backup(snapshot: Snapshot) -> BackupReport:
    """Returns what the status says about backups. A shop without spec.backup has none."""
    status, spec = snapshot.platform.status, snapshot.spec
    stored = _as_stored(status, "BackedUp")
    if stored is None or (spec is not None and spec.backup is None):
        return BackupReport()
    return BackupReport(status.get("backup", {}), stored)


def _fight(platform: Platform, result: PassResult) -> Iterable[Condition]:
    stored = stored_condition(platform.status, "FieldFight") is not None
    condition = fight_condition(result, reported_before=stored)
    return (condition,) if condition else ()


def stored_blocked(platform: Platform) -> Sequence[BlockedRow]:
    """Returns the objects that were not ready at the pass before."""
    rows: Sequence[BlockedRow] = platform.status.get("blocked", ())
    return rows


def _effective_deletion_policy(snapshot: Snapshot) -> str:
    """Returns what would happen to the data if the platform were deleted now, which may differ from the spec: while it
    is observed, while the operator cannot write, and before a StatefulSet of an older operator was changed."""
    platform = snapshot.platform
    is_held = FINALIZER in platform.finalizers
    deletes = is_held and platform.spec.get("deletionPolicy") == "Delete"
    workloads = (seen.state for seen in snapshot.children.values() if isinstance(seen.state, Workload))
    return "Delete" if deletes or any(workload.deletes_volumes for workload in workloads) else "Retain"


def _invariant_rows(snapshot: Snapshot) -> list[Row]:
    stored = snapshot.platform.status.get("invariants", ())
    if is_to_be_stopped(snapshot.platform):
        return [*stored]  # no service checks them, and none changes what they are about
    names = known_sources(snapshot.spec, stored)
    return invariant_rows(stored, snapshot.scrape_results, names, snapshot.now.timestamp())


def _from_spec(snapshot: Snapshot, result: PassResult) -> Status:
    """Returns what follows from the spec. While the spec is invalid, what is stored stays."""
    platform, spec, children = snapshot.platform, snapshot.spec, snapshot.children
    if spec is None:
        kept_by_stores = ("storeProfile", "storeImages")
        releases = ("version", "charts", "targetVersion", "targetCharts", "upgrade")
        names = ("mode", "surge", *releases, *kept_by_stores, "url", "databases")
        return {name: platform.status[name] for name in names if name in platform.status}
    has_stores = "storeProfile" in platform.status or any(identity.kind in STORE_KINDS for identity in children)
    migration_times = recorded_times(platform) if result.migration_times is None else result.migration_times
    return {
        "mode": "Observe" if spec.observes else "Manage",
        **_versions(snapshot, result),
        **_upgrade(snapshot, result),
        **_surge(spec, snapshot.now),
        "url": platform_url(platform.key, spec.ingress),
        "databases": [
            _database(platform.key.name, name, spec, children, migration_times.get(name)) for name in WITH_DATABASE
        ],
        **(_kept_by_stores(snapshot, spec) if has_stores else {}),
    }


def _surge(spec: Spec, now: datetime) -> Status:
    surge = surge_at(spec, now).dump()
    return {"surge": surge} if surge else {}


def _kept_by_stores(snapshot: Snapshot, spec: Spec) -> Status:
    images = kept_images(snapshot.platform, spec, snapshot.children, snapshot.release_images)
    named = {field: image for field, image in images._asdict().items() if image}
    return {"storeProfile": store_profile(snapshot.platform, spec), **({"storeImages": named} if named else {})}


def _versions(snapshot: Snapshot, result: PassResult) -> Status:
    """Returns the version that runs and the one that is wanted. A version runs when all parts are rolled out at it."""
    names = ("version", "charts", "targetVersion", "targetCharts")
    stored = {name: snapshot.platform.status[name] for name in names if name in snapshot.platform.status}
    target = result.target
    if target is None:
        return stored
    running = {"version": target.version, "charts": target.charts} if _is_rolled_out(result) else {}
    wanted = {"targetVersion": target.version} | ({"targetCharts": target.charts} if target.charts else {})
    return stored | wanted | running


def _upgrade(snapshot: Snapshot, result: PassResult) -> Status:
    """Returns the upgrade that is not complete, or has failed. Without a chosen release the stored one stands."""
    if result.target is None:
        stored = snapshot.platform.status.get("upgrade")
        return {"upgrade": stored} if stored else {}
    upgrade, target = result.upgrade, result.target
    is_complete = _is_rolled_out(result) and upgrade and upgrade.release == (target.version, target.charts)
    return {"upgrade": upgrade.dump()} if upgrade and not is_complete else {}


def _is_rolled_out(result: PassResult) -> bool:
    return result.converged and not result.holds


def _upgraded(platform: Platform, result: PassResult) -> Iterable[Condition]:
    """A release that was rolled out stays so, also while a part of the shop is not ready."""
    target, running = result.target, running_release(platform.status)
    rolled_out = _is_rolled_out(result) or (target is not None and running == (target.version, target.charts))
    condition = upgraded_condition(result, rolled_out=rolled_out)
    return (condition,) if condition else ()


def store_profile(platform: Platform, spec: Spec) -> str:
    """Returns the profile that the builtin stores were created with, or the spec's if there are none yet."""
    known = platform.status.get("storeProfile")
    return known if known in PROFILES else spec.profile


def _service(platform: str, name: str, observed: Children) -> Status:
    identity = ObjectId("Deployment", f"{platform}-{name}")
    seen, workload = observed.get(identity), state_of(identity, observed)
    if seen is None or not isinstance(workload, Workload):
        return {"name": name, "ready": False, "replicas": 0, "readyReplicas": 0, "version": ""}
    return {
        "name": name,
        "ready": not seen.deleting and _serves(workload, required_pods(identity, workload, observed)),
        "replicas": workload.desired,
        "readyReplicas": workload.ready,
        "version": seen.image_version,
    }


def _serves(workload: Workload, required: int) -> bool:
    """Returns whether a workload is ready and has pods. One that is hibernated is as specified, and serves nothing."""
    return required > 0 and is_ready(workload, required)


def _database(platform: str, name: str, spec: Spec, observed: Children, migrated_at: str | None) -> Status:
    provider = spec.databases.provider
    kind = DATABASE_CLUSTER if provider == "cnpg" else "StatefulSet"
    workload = state_of(ObjectId(kind, f"{platform}-{name}-db"), observed)
    ready = _serves(workload, workload.desired) if isinstance(workload, Workload) else provider == "external"
    migrated = {"migratedAt": migrated_at} if migrated_at else {}
    return {"name": f"{name}-db", "provider": provider, "ready": ready, **migrated}


_KEPT_WHEN_A_REQUEST_FAILED = ("Ready", "Degraded")


def _stored_conditions(
    platform: Platform, result: PassResult, conditions: Iterable[Condition], now: datetime
) -> list[Status]:
    """Returns the conditions as they are stored.

    A pass that the API server interrupted shows neither that a shop is unready nor that it has recovered: Ready and
    Degraded stay as they are stored for this generation.
    """
    interrupted = isinstance(result.error, ApiError) and result.error.transient
    known = {c["type"]: c for c in platform.status.get("conditions", ())}
    kept = {
        type_: known[type_]
        for type_ in _KEPT_WHEN_A_REQUEST_FAILED
        if interrupted and type_ in known and known[type_]["observedGeneration"] == platform.generation
    }
    if result.fights is None and "FieldFight" in known:
        kept["FieldFight"] = known["FieldFight"]
    if result.rotation is None and "Rotating" in known:
        kept["Rotating"] = known["Rotating"]
    return [kept.get(one.type) or _dated(one, known.get(one.type), platform, now) for one in conditions]


MAX_MESSAGE_LENGTH = 2048
"""Characters of a condition's message. Parts of it come from pods and webhooks, which write what they like."""


def _dated(condition: Condition, known: Mapping[str, Any] | None, platform: Platform, now: datetime) -> Status:
    """Adds times. Two attempts at a failed request are one failure, whose message stays as it is stored."""
    message = condition.message
    if known and known["reason"] == condition.reason and is_same_failure(condition, known["message"]):
        message = known["message"]
    short = replace(condition, message=message[:MAX_MESSAGE_LENGTH])
    return dated(short, known, platform.generation, now)


def status_manifest(platform: Platform, status: Status) -> Manifest:
    return {
        "apiVersion": PLATFORM.api_version,
        "kind": PLATFORM.kind,
        # the uid makes the write fail if another platform was created under the same name
        "metadata": {"name": platform.key.name, "uid": platform.uid},
        "status": status,
    }
