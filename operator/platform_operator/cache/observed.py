"""What the operator knows of the cluster: every object of ours, cut down to what decisions need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from platform_operator.api.kinds import (
    FIELD_MANAGER,
    LABEL_INSTANCE,
    LABEL_VERSION,
    PLATFORM,
    Key,
    Manifest,
    ObjectId,
)


@dataclass(frozen=True, slots=True)
class Workload:
    """How far a Deployment or StatefulSet has come. Counts are pods."""

    wanted: int
    total: int
    updated: int
    ready: int
    current: bool
    """Whether its controller has seen the newest generation: until then the counts speak of the one before."""
    owns_replicas: bool = False
    """Whether the operator's last apply set the number of pods."""
    failure: str = ""


@dataclass(frozen=True, slots=True)
class JobRun:
    complete: bool
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Scaler:
    floor: int


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Service is reached; a headless one has no address of its own."""

    ip: str
    ports: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a ConfigMap, with the metadata that says whose content it is. Of a Secret the metadata alone: nobody
    decides by its values, so the cache holds no passwords."""

    data: Mapping[str, str]
    annotations: Mapping[str, str]
    labels: Mapping[str, str]
    owners: tuple[str, ...]


State = Workload | JobRun | Scaler | Address | Document | None


@dataclass(frozen=True, slots=True)
class Observed:
    """One object of ours as last seen."""

    id: ObjectId
    uid: str
    version: int
    owned: str
    """Digest of the set of fields that the operator's last apply still owns. Whoever changes or removes one of those
    fields takes it out of the set (structured-merge-diff), so an unequal digest is drift and an equal one is not."""
    image_version: str
    deleting: bool
    state: State


@dataclass(frozen=True, slots=True)
class Platform:
    """The custom resource, as stored."""

    key: Key
    uid: str
    version: int
    generation: int
    deleting: bool
    spec: Mapping[str, Any]
    status: Mapping[str, Any]


def observe(manifest: Manifest) -> Observed:
    """Cuts a child down to what is decided on. Memory is the reason: a Deployment is 6 KiB, this is a tenth of one."""
    metadata = manifest["metadata"]
    labels = metadata.get("labels") or {}
    kind = manifest["kind"]
    return Observed(
        id=identify(manifest),
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        owned=owned_digest(manifest),
        image_version=labels.get(LABEL_VERSION, ""),
        deleting="deletionTimestamp" in metadata,
        state=_STATES[kind](manifest) if kind in _STATES else None,
    )


def identify(manifest: Manifest) -> ObjectId:
    return ObjectId(manifest["kind"], manifest["metadata"]["name"])


def observe_platform(manifest: Manifest) -> Platform:
    metadata = manifest["metadata"]
    return Platform(
        key=Key(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        generation=metadata["generation"],
        deleting="deletionTimestamp" in metadata,
        spec=manifest.get("spec") or {},
        status=manifest.get("status") or {},
    )


def owned_digest(manifest: Manifest) -> str:
    fields = _owned_fields(manifest)
    return digest(fields) if fields else ""


def _owned_fields(manifest: Manifest) -> Manifest:
    for entry in manifest["metadata"].get("managedFields") or ():
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource"):
            fields: Manifest = entry.get("fieldsV1") or {}
            return fields
    return {}


def digest(value: object) -> str:
    """Sixteen hex digits that stand for a JSON value. Order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def platform_of(manifest: Manifest) -> Key:
    """The platform that a child belongs to: its owner, whoever else the label names. What outlives its platform has only
    the label."""
    metadata = manifest["metadata"]
    owners = [owner["name"] for owner in metadata.get("ownerReferences") or () if owner["kind"] == PLATFORM.kind]
    return Key(metadata["namespace"], owners[0] if owners else (metadata.get("labels") or {}).get(LABEL_INSTANCE, ""))


def _deployment(manifest: Manifest) -> Workload:
    spec, status = manifest["spec"], manifest.get("status") or {}
    return Workload(
        wanted=spec.get("replicas", 1),
        total=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("availableReplicas", 0),
        current=status.get("observedGeneration", 0) >= manifest["metadata"]["generation"],
        owns_replicas="f:replicas" in _owned_fields(manifest).get("f:spec", {}),
        failure=_failure(status, "Progressing", "False") or _failure(status, "ReplicaFailure", "True"),
    )


def _stateful_set(manifest: Manifest) -> Workload:
    spec, status = manifest["spec"], manifest.get("status") or {}
    return Workload(
        wanted=spec.get("replicas", 1),
        total=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        current=status.get("observedGeneration", 0) >= manifest["metadata"]["generation"],
    )


def _job(manifest: Manifest) -> JobRun:
    status = manifest.get("status") or {}
    complete = any(c["type"] == "Complete" and c["status"] == "True" for c in status.get("conditions") or ())
    return JobRun(complete, _failure(status, "Failed", "True"))


def _failure(status: Mapping[str, Any], condition: str, bad: str) -> str:
    for found in status.get("conditions") or ():
        if found["type"] == condition and found["status"] == bad:
            return str(found.get("message") or found.get("reason") or condition)
    return ""


def _scaler(manifest: Manifest) -> Scaler:
    return Scaler(floor=manifest["spec"].get("minReplicas", 1))


def _address(manifest: Manifest) -> Address | None:
    spec = manifest["spec"]
    ip = spec.get("clusterIP", "None")
    return (
        None
        if ip in ("", "None")
        else Address(ip, {port.get("name", ""): port["port"] for port in spec.get("ports") or ()})
    )


def _document(manifest: Manifest, data: Mapping[str, str]) -> Document:
    metadata = manifest["metadata"]
    return Document(
        data=data,
        annotations=metadata.get("annotations") or {},
        labels=metadata.get("labels") or {},
        owners=tuple(owner["uid"] for owner in metadata.get("ownerReferences") or ()),
    )


def _secret(manifest: Manifest) -> Document:
    return _document(manifest, {})


def _config_map(manifest: Manifest) -> Document:
    return _document(manifest, manifest.get("data") or {})


_STATES: Mapping[str, Callable[[Manifest], State]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "Job": _job,
    "HorizontalPodAutoscaler": _scaler,
    "Service": _address,
    "Secret": _secret,
    "ConfigMap": _config_map,
}


@dataclass
class Cache:
    """The platforms and their children as last seen, from the watches and from the operator's own writes."""

    platforms: dict[Key, Platform] = field(default_factory=dict)
    _children: dict[Key, dict[ObjectId, Observed]] = field(default_factory=dict)
    _gone: dict[tuple[Key, ObjectId | None], int] = field(default_factory=dict)
    """Versions at which objects went while a list was under way, so that an older list does not bring them back. A deletion
    has a version of its own: what is read at the very version has only lost the label that the watches select by."""

    def children(self, key: Key) -> dict[ObjectId, Observed]:
        return dict(self._children.get(key, {}))

    def keep_platform(self, platform: Platform) -> None:
        known = self.platforms.get(platform.key)
        if (known is None or known.version < platform.version) and not self._is_gone(
            platform.key, None, platform.version
        ):
            self.platforms[platform.key] = platform

    def drop_platform(self, key: Key, version: int) -> None:
        self._gone[key, None] = version
        known = self.platforms.get(key)
        if known is not None and known.version <= version:
            del self.platforms[key]

    def keep(self, key: Key, seen: Observed) -> None:
        """An event may be older than the answer to our own write: the newer version stays."""
        children = self._children.setdefault(key, {})
        known = children.get(seen.id)
        if (known is None or known.version < seen.version) and not self._is_gone(key, seen.id, seen.version):
            children[seen.id] = seen

    def drop(self, key: Key, identity: ObjectId, version: int) -> None:
        self._gone[key, identity] = version
        children = self._children.get(key, {})
        known = children.get(identity)
        if known is not None and known.version <= version:
            del children[identity]
        if not children:
            self._children.pop(key, None)

    def _is_gone(self, key: Key, identity: ObjectId | None, version: int) -> bool:
        return self._gone.get((key, identity), -1) > version

    def retain_platforms(self, listed: Iterable[Key], version: int, namespace: str | None) -> None:
        """Drops what a list of that version and namespace (None: all) does not show."""
        for key in {key for key, known in self.platforms.items() if known.version <= version} - set(listed):
            if namespace in (None, key.namespace):
                self.drop_platform(key, version)

    def retain(self, kind: str, listed: Collection[tuple[Key, ObjectId]], version: int, namespace: str | None) -> None:
        lost = [
            (key, identity)
            for key, children in self._children.items()
            if namespace in (None, key.namespace)
            for identity, known in children.items()
            if identity.kind == kind and known.version <= version and (key, identity) not in listed
        ]
        for key, identity in lost:
            self.drop(key, identity, version)

    def forget_deletions(self) -> None:
        """After a full round of lists no list older than these deletions can arrive."""
        self._gone.clear()
