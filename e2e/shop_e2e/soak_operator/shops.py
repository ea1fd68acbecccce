"""The shops of the soak, and the comparison of their objects with those of shops that no one disturbs."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from platform_operator.api.kinds import (
    CHILD_KINDS,
    LABEL_PART_OF,
    PLATFORM,
    RELEASE,
    VOLUME_CLAIM,
    Manifest,
    ObjectId,
)
from platform_operator.client import KubernetesClient

NAME = "shop"
SPECS: Sequence[Manifest] = (
    {},
    {"services": {"order": {"env": {"SOAK_NOTE": "1"}}}},
    {"settings": {"currencies": ["EUR", "USD"]}},
    {"services": {"review": {"replicas": 2}, "product": {"autoscaling": {"enabled": True, "max": 3}}}},
)
"""The specs that shops are edited to. Each belongs to one reference shop, which is created with it and left alone."""
KINDS = {kind.kind: kind for kind in (*CHILD_KINDS.values(), VOLUME_CLAIM) if not kind.optional}
_RECORDS = tuple(f"{NAME}-{record}" for record in ("applied", "databases", "rotation", "salt"))
"""ConfigMaps whose content belongs to one shop: they have checksums, times, uids and random numbers."""
_ASSIGNED = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "ownerReferences")
"""Metadata that the API server assigns, or that contains such."""
_ASSIGNED_SPEC = {
    "Service": ("clusterIP", "clusterIPs"),
    "PersistentVolumeClaim": ("volumeName",),
    "Job": ("selector",),
}
_GENERATED_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid")
_OWN_ANNOTATIONS = re.compile(
    r"(deployment|pv|volume|volume\.beta)\.kubernetes\.io/|.*checksum|.*/(salt|certificate-expires)$"
)
"""Annotations that other controllers write, and those that a shop's own Secrets differ by, and their digests."""

Objects = Mapping[ObjectId, Manifest]


@dataclass(frozen=True)
class Shop:
    """One shop, in a namespace of its own, whose spec is one of SPECS."""

    namespace: str
    spec: int


def reference(spec: int) -> str:
    """Returns the namespace of the shop that is never disturbed."""
    return f"reference-{spec}"


def platform(spec: int) -> Manifest:
    return {
        "apiVersion": PLATFORM.api_version,
        "kind": PLATFORM.kind,
        "metadata": {"name": NAME},
        "spec": SPECS[spec],
    }


async def find_differences(client: KubernetesClient, shops: Sequence[Shop]) -> list[str]:
    """Returns what distinguishes the shops from what their specs say, one line each: none if all have converged.

    Raises ApiError.
    """
    late = [text for text in map(unsettled, await _all(client, PLATFORM.kind)) if text]
    if late:
        return late
    objects = await read_objects(client)
    return [line for shop in shops for line in compare(shop.namespace, objects, reference(shop.spec))]


def unsettled(stored: Manifest) -> str:
    """Returns why a platform has not converged by its own account; empty if it has."""
    status, where = stored.get("status", {}), stored["metadata"]["namespace"]
    if status.get("observedGeneration") != stored["metadata"]["generation"]:
        return f"{where}: the newest spec is not observed"
    conditions = {one["type"]: one for one in status.get("conditions", ())}
    ready = conditions.get("Ready", {})
    return "" if ready.get("status") == "True" else f"{where}: not Ready: {ready.get('message', 'no condition')}"


async def read_objects(client: KubernetesClient) -> dict[str, dict[ObjectId, Manifest]]:
    """Returns all objects of the kinds that shops have, with or without labels, by namespace. Raises ApiError."""
    found: dict[str, dict[ObjectId, Manifest]] = defaultdict(dict)
    for kind in KINDS:
        for one in await _all(client, kind):
            found[one["metadata"]["namespace"]][ObjectId(kind, one["metadata"]["name"])] = one
    return found


async def _all(client: KubernetesClient, kind: str) -> Sequence[Manifest]:
    objects, _ = await client.list(PLATFORM if kind == PLATFORM.kind else KINDS[kind], None)
    return objects


def compare(namespace: str, objects: Mapping[str, Objects], expected: str) -> list[str]:
    """Returns the differences between the objects of a namespace and those of the reference shop."""
    found, wanted = _comparable(objects.get(namespace, {})), _comparable(objects.get(expected, {}))
    lines = [f"{namespace}: {one} is missing" for one in wanted.keys() - found.keys()]
    lines += [f"{namespace}: {one} is left over" for one in found.keys() - wanted.keys()]
    for one in wanted.keys() & found.keys():
        if found[one] != wanted[one]:
            field = first_difference(wanted[one], found[one])
            lines.append(f"{namespace}: {one} differs: {field}")
    return sorted(lines)


def _comparable(objects: Objects) -> dict[ObjectId, Manifest]:
    """Returns the objects without what is one shop's own. Releases are left out: they are a history of edits."""
    return {key: _stripped(key, one) for key, one in objects.items() if key.kind != RELEASE}


def _stripped(key: ObjectId, stored: Manifest) -> Manifest:
    text = json.dumps(stored).replace(stored["metadata"]["namespace"], "NAMESPACE")
    one: Manifest = json.loads(text)
    one.pop("status", None)
    metadata = one["metadata"]
    for name in _ASSIGNED:
        metadata.pop(name, None)
    _drop_generated(metadata)
    spec = one.get("spec", {})
    for name in _ASSIGNED_SPEC.get(key.kind, ()):
        spec.pop(name, None)
    _drop_generated(spec.get("template", {}).get("metadata", {}))
    if key.kind == "Secret":
        one["data"] = sorted(one.get("data", {}))
    if key.kind == "ConfigMap" and (key.name in _RECORDS or key.name == "kube-root-ca.crt"):
        one.pop("data")
    return one


def _drop_generated(metadata: Manifest) -> None:
    annotations: dict[str, str] = metadata.get("annotations") or {}
    metadata["annotations"] = {name: value for name, value in annotations.items() if not _OWN_ANNOTATIONS.match(name)}
    for name in _GENERATED_LABELS:
        metadata.get("labels", {}).pop(name, None)


def first_difference(wanted: object, found: object, path: str = "") -> str:
    """Returns the path of the first field that differs, with both values."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        names = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        return first_difference(wanted.get(names[0]), found.get(names[0]), f"{path}.{names[0]}")
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        number = next(number for number, pair in enumerate(zip(wanted, found, strict=True)) if pair[0] != pair[1])
        return first_difference(wanted[number], found[number], f"{path}[{number}]")
    return f"{path.lstrip('.')} is {found!r:.200}, not {wanted!r:.200}"


def secret_data(objects: Mapping[str, Objects]) -> dict[tuple[str, str], Manifest]:
    """Returns the content of every Secret of the operator, by namespace and name."""
    return {
        (namespace, key.name): one.get("data", {})
        for namespace, all_of_it in objects.items()
        for key, one in all_of_it.items()
        if key.kind == "Secret"
    }


def count_objects(objects: Mapping[str, Objects], namespaces: Iterable[str]) -> int:
    """Returns how many objects the namespaces have, without releases, of which there is one for each spec."""
    kinds = Counter(key.kind for namespace in namespaces for key in objects.get(namespace, {}))
    return kinds.total() - kinds[RELEASE]


def is_child(one: Manifest) -> bool:
    """Returns whether an object belongs to a shop."""
    labels: Mapping[str, str] = one["metadata"].get("labels", {})
    return labels.get(LABEL_PART_OF) == "ecommerce"
