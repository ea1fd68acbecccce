"""Observed objects: platforms and children, cut down to what the cache holds. Pure.

Memory is the reason for cutting objects down: a Deployment is 6 KiB as JSON and a tenth of that here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from platform_operator.api.conditions import RotationKind, is_met
from platform_operator.api.kinds import (
    BROKER_CLUSTER,
    DATABASE_CLUSTER,
    GROUP,
    INVENTORY_COMPONENT,
    INVENTORY_KEYS,
    LABEL_INSTANCE,
    LABEL_PLATFORM,
    LABEL_PREFIX,
    LABEL_VERSION,
    PLATFORM,
    READ_ANNOTATIONS,
    ROTATION_COMPONENT,
    SALT_COMPONENT,
    SALT_KEYS,
    Manifest,
    ObjectId,
    PlatformKey,
    release_labels,
)
from platform_operator.cache.managed_fields import ForeignField, foreign_fields, owned_digest, owned_fields

MAX_TEXT = 512
"""Characters that are kept of a text from a shop's namespace."""
MAX_OWNERS = 4
MAX_INVENTORY = 1 << 17
"""Bytes of an inventory. That of a shop with all add-ons has a tenth of it."""
METRICS_PORT = "metrics"
"""The name of a Service's port for metrics, the only port that is read."""
UNKNOWN_TIME = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Workload:
    """The rollout of a Deployment or a store. Counts are pods."""

    desired: int
    total: int
    updated: int
    ready: int
    current: bool
    """True if its controller has seen the newest generation. Otherwise the counts are those of the generation before.
    """
    deletes_volumes: bool = False
    """True if the volumes go with the StatefulSet."""
    owns_replicas: bool = False
    """True if the operator's last apply set the number of pods."""
    failure: str = ""
    phase: str = ""
    """What its controller says that it does; empty if it says nothing, or that all is well."""
    serves: bool = False
    """True if it is a Cluster that serves with the pods that are ready, even if these are not all."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """The progress of a Job. A failure is the message of the condition Failed."""

    complete: bool
    failure: str = ""
    failed_at: datetime = UNKNOWN_TIME
    completed_at: datetime = UNKNOWN_TIME
    data_lost: bool = False
    """True if it failed since its database had a schema and is empty."""


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """The lower bound of a HorizontalPodAutoscaler, in pods."""

    min_replicas: int


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """The cluster IP of a Service and its metrics port, by name. A headless Service has no address."""

    ip: str
    ports: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StoredData:
    """The data and metadata of a ConfigMap that the operator reads, or the metadata of a Secret or another ConfigMap.

    Annotations are those that the operator reads, labels those that Kubernetes recommends, owners platforms.
    A Secret has no data here: no decision needs its values, so the cache holds no passwords.
    """

    data: Mapping[str, str]
    annotations: Mapping[str, str]
    labels: Mapping[str, str]
    owners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RevisionNumber:
    """The place of a release in its platform's history."""

    number: int
    is_labelled: bool = True
    """False if another writer has changed its labels."""


ObservedState = Workload | JobProgress | Autoscaler | ServiceAddress | StoredData | RevisionNumber | None


@dataclass(frozen=True, slots=True)
class ObservedObject:
    """One child as last seen."""

    id: ObjectId
    uid: str
    version: int
    owned_digest: str
    """Digest of the fields that the operator's last apply still owns; see `managed_fields`."""
    image_version: str
    deleting: bool
    state: ObservedState
    foreign_fields: tuple[ForeignField, ...] = ()
    """Fields that only other managers own: usually none, since a child is the operator's."""


AUTHORITY_KEYS = ("REDIS_CA", "RABBITMQ_CA")

Children = Mapping[ObjectId, ObservedObject]
"""The children of one platform."""


@dataclass(frozen=True, slots=True)
class Platform:
    """The custom resource, as stored."""

    key: PlatformKey
    uid: str
    version: int
    generation: int
    deleting: bool
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Those of the operator's own group, by which users answer it."""
    finalizers: tuple[str, ...] = ()
    deletion_time: datetime = datetime.max.replace(tzinfo=UTC)
    """The time since when it is being deleted."""
    created: datetime = UNKNOWN_TIME


FINALIZER = f"{GROUP}/deletion-policy"
"""Makes the deletion of a platform wait until the operator has done what its policy says."""


def observe(manifest: Manifest) -> ObservedObject:
    """Cuts a child down to what is decided on."""
    metadata = manifest["metadata"]
    labels = metadata.get("labels") or {}
    kind = manifest["kind"]
    return ObservedObject(
        id=object_id(manifest),
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        owned_digest=owned_digest(manifest),
        image_version=labels.get(LABEL_VERSION, ""),
        deleting="deletionTimestamp" in metadata,
        state=_STATES[kind](manifest) if kind in _STATES else None,
        foreign_fields=foreign_fields(manifest),
    )


def object_id(manifest: Manifest) -> ObjectId:
    return ObjectId(manifest["kind"], manifest["metadata"]["name"])


def observe_platform(manifest: Manifest) -> Platform:
    metadata = manifest["metadata"]
    deleted_at, created = metadata.get("deletionTimestamp"), metadata.get("creationTimestamp")
    return Platform(
        key=PlatformKey(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        generation=metadata["generation"],
        deleting="deletionTimestamp" in metadata,
        spec=manifest.get("spec") or {},
        status=manifest.get("status") or {},
        annotations={
            name: value for name, value in (metadata.get("annotations") or {}).items() if name.startswith(f"{GROUP}/")
        },
        finalizers=tuple(metadata.get("finalizers") or ()),
        **({"deletion_time": datetime.fromisoformat(deleted_at)} if deleted_at else {}),
        **({"created": datetime.fromisoformat(created)} if created else {}),
    )


def state_of(identity: ObjectId, observed: Children) -> ObservedState:
    seen = observed.get(identity)
    return seen.state if seen else None


def platform_of(manifest: Manifest) -> PlatformKey:
    """Returns the platform that a child belongs to: its owner, even if the label names another.

    A child that outlives its platform has only a label: that of earlier releases is LABEL_INSTANCE.
    """
    metadata = manifest["metadata"]
    owners = [owner["name"] for owner in metadata.get("ownerReferences") or () if owner["kind"] == PLATFORM.kind]
    labels = metadata.get("labels") or {}
    name = owners[0] if owners else labels.get(LABEL_PLATFORM) or labels.get(LABEL_INSTANCE, "")
    return PlatformKey(metadata["namespace"], name)


def _deployment(manifest: Manifest) -> Workload:
    spec, status = manifest["spec"], manifest.get("status") or {}
    return Workload(
        desired=spec.get("replicas", 1),
        total=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("availableReplicas", 0),
        current=status.get("observedGeneration", 0) >= manifest["metadata"]["generation"],
        owns_replicas="f:replicas" in owned_fields(manifest).get("f:spec", {}),
        failure=_failure(status, "Progressing", "False") or _failure(status, "ReplicaFailure", "True"),
    )


def _stateful_set(manifest: Manifest) -> Workload:
    spec, status = manifest["spec"], manifest.get("status") or {}
    return Workload(
        desired=spec.get("replicas", 1),
        total=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        current=status.get("observedGeneration", 0) >= manifest["metadata"]["generation"],
        deletes_volumes=(spec.get("persistentVolumeClaimRetentionPolicy") or {}).get("whenDeleted") == "Delete",
    )


def _database_cluster(manifest: Manifest) -> Workload:
    """Reads a Cluster of CloudNativePG. Its status has no observedGeneration: the counts are taken as current.

    A hibernated one is to have no pods, and has them until its condition says that they are gone. It serves with a
    primary and as many standbys as its commits wait for: of three instances one may be away, and of two.
    """
    status, annotations = manifest.get("status") or {}, manifest["metadata"].get("annotations") or {}
    hibernated = annotations.get(HIBERNATION) == "on"
    pods = 0 if hibernated and is_met(status, HIBERNATION) else status.get("instances", 0)
    phase, reason = str(status.get("phase") or ""), str(status.get("phaseReason") or "")
    text = (f"{phase}: {reason}" if reason else phase)[:MAX_TEXT] or _NO_PHASE
    instances, ready, primary = manifest["spec"].get("instances", 1), status.get("readyInstances", 0), "currentPrimary"
    has_primary = bool(status.get(primary)) and status.get("targetPrimary") == status[primary]
    return Workload(
        desired=0 if hibernated else instances,
        total=pods,
        updated=pods,
        ready=ready,
        current=True,
        failure=text if phase in _FAILED_PHASES else "",
        phase="" if phase == _HEALTHY_PHASE else text,
        serves=has_primary and not hibernated and ready >= (instances + 1) // 2,
    )


HIBERNATION = "cnpg.io/hibernation"
"""The annotation that asks for it, and the condition that reports it."""
_HEALTHY_PHASE = "Cluster in healthy state"
_NO_PHASE = "CloudNativePG has not reported about it: see whether it runs"
_FAILED_PHASES = (
    "Waiting for user action",
    "Cluster is unrecoverable and needs manual intervention",
    "Cluster has incomplete or invalid image catalog",
    "Cluster cannot proceed to reconciliation due to an unknown plugin being required",
    "Cluster cannot execute instance online upgrade due to missing architecture binary",
)
"""The phases that waiting does not end. CloudNativePG retries in all others."""


def _broker_cluster(manifest: Manifest) -> Workload:
    """Reads a RabbitmqCluster. Its observedGeneration is the last one whose changes are all made.

    Its status tells how many pods are ready, and not how many there are. So while it is made only those are counted,
    and afterwards all, until the status says that there are to be none.
    """
    status, desired = manifest.get("status") or {}, manifest["spec"].get("replicas", 1)
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    ready, reconciled = conditions.get("AllReplicasReady") or {}, conditions.get("ReconcileSuccess") or {}
    observed, ready_pods = status.get("observedGeneration", 0), _ready_nodes(ready, desired)
    pods = 0 if ready.get("reason") == "ScaledToZero" else (desired or 1) if observed else ready_pods
    text = f"{reconciled.get('reason', '')}: {reconciled.get('message', '')}"[:MAX_TEXT]
    phase = text if reconciled.get("status") == "False" else ""
    return Workload(
        desired=desired,
        total=pods,
        updated=pods,
        ready=ready_pods,
        current=observed >= manifest["metadata"]["generation"],
        failure=phase if reconciled.get("reason") in _FAILED_OPERATIONS else "",
        phase=phase if conditions else "the RabbitMQ cluster operator has not reported about it: see whether it runs",
    )


def _ready_nodes(condition: Mapping[str, Any], desired: int) -> int:
    """Returns the number of ready nodes, of which the condition says `2/3 Pods ready`."""
    if condition.get("status") == "True":
        return desired
    number = str(condition.get("message") or "").partition("/")[0]
    return min(int(number), desired) if number.isdecimal() else 0


_FAILED_OPERATIONS = ("UnsupportedOperation", "TransformErrorOperation")
"""The reasons of a RabbitmqCluster that waiting does not end."""


def _job(manifest: Manifest) -> JobProgress:
    """Reads a Job. Its only rule that fails it at once (`podFailurePolicy`) is that of lost data."""
    status = manifest.get("status") or {}
    complete = any(c["type"] == "Complete" and c["status"] == "True" for c in status.get("conditions") or ())
    failure = _failure(status, "Failed", "True")
    if not failure:
        return JobProgress(complete, completed_at=_transition(status, "Complete"))
    data_lost = any(c["type"] == "Failed" and c.get("reason") == _FAILED_AT_ONCE for c in status["conditions"])
    text = "found an empty database that had a schema" if data_lost else failure
    return JobProgress(complete, text, _transition(status, "Failed"), data_lost=data_lost)


_FAILED_AT_ONCE = "PodFailurePolicy"
"""The reason of the condition Failed of a Job that a rule of its podFailurePolicy has failed."""


def _transition(status: Mapping[str, Any], type_: str) -> datetime:
    """Returns the time since which a condition holds; the earliest of all if it has none."""
    times = (one.get("lastTransitionTime") for one in status.get("conditions") or () if one["type"] == type_)
    return next((datetime.fromisoformat(time) for time in times if time), UNKNOWN_TIME)


def _failure(status: Mapping[str, Any], type_: str, failed: str) -> str:
    for condition in status.get("conditions") or ():
        if condition["type"] == type_ and condition["status"] == failed:
            return str(condition.get("message") or condition.get("reason") or type_)[:MAX_TEXT]
    return ""


def _autoscaler(manifest: Manifest) -> Autoscaler:
    return Autoscaler(min_replicas=manifest["spec"].get("minReplicas", 1))


def _release(manifest: Manifest) -> RevisionNumber:
    labels = release_labels(platform_of(manifest).name).items()
    return RevisionNumber(manifest["revision"], labels <= (manifest["metadata"].get("labels") or {}).items())


def _service(manifest: Manifest) -> ServiceAddress | None:
    spec = manifest["spec"]
    ip = spec.get("clusterIP", "None")
    if ip in ("", "None"):
        return None
    ports = {port.get("name", ""): port["port"] for port in spec.get("ports") or ()}
    return ServiceAddress(ip, {name: port for name, port in ports.items() if name == METRICS_PORT})


def _stored_data(manifest: Manifest, data: Mapping[str, str]) -> StoredData:
    metadata = manifest["metadata"]
    owners = [one["uid"] for one in metadata.get("ownerReferences") or () if one["kind"] == PLATFORM.kind]
    return StoredData(
        data=data,
        annotations=_short(metadata.get("annotations"), READ_ANNOTATIONS.__contains__),
        labels=_short(metadata.get("labels"), lambda name: name.startswith(LABEL_PREFIX)),
        owners=tuple(owners[:MAX_OWNERS]),
    )


def _short(names: Mapping[str, str] | None, is_read: Callable[[str], bool]) -> Mapping[str, str]:
    """Returns the labels or annotations that are read, without values that the operator does not write."""
    return {name: value for name, value in (names or {}).items() if is_read(name) and len(value) <= MAX_TEXT}


def _secret(manifest: Manifest) -> StoredData:
    """Keeps no value, but whether a Secret names an authority: then the URL in it leads to a store with TLS."""
    names = manifest.get("data") or {}
    return _stored_data(manifest, {name: "" for name in AUTHORITY_KEYS if name in names})


def _config_map(manifest: Manifest) -> StoredData:
    """Keeps the data of the inventory and of the records of rotations and of the salt alone: no other is read, and
    anyone who may write in a namespace can make ConfigMaps of a megabyte with the labels of a shop."""
    component = manifest["metadata"]["name"].removeprefix(f"{platform_of(manifest).name}-")
    data = manifest.get("data") or {}
    known = {name: data[name] for name in _READ_KEYS.get(component, ()) if name in data}
    return _stored_data(manifest, known if sum(map(len, known.values())) <= MAX_INVENTORY else {})


_READ_KEYS: Mapping[str, Collection[str]] = {
    INVENTORY_COMPONENT: INVENTORY_KEYS,
    ROTATION_COMPONENT: tuple(RotationKind),
    SALT_COMPONENT: SALT_KEYS,
}
"""The keys of ConfigMaps that are read, by component."""


_STATES: Mapping[str, Callable[[Manifest], ObservedState]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    DATABASE_CLUSTER: _database_cluster,
    BROKER_CLUSTER: _broker_cluster,
    "ControllerRevision": _release,
    "Job": _job,
    "HorizontalPodAutoscaler": _autoscaler,
    "Service": _service,
    "Secret": _secret,
    "ConfigMap": _config_map,
}
