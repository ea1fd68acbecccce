"""Releases: what a shop was made of at one time, kept as a history of ControllerRevisions. Pure.

A release has no values of Secrets: chart values name Secrets, and contain none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from platform_operator.api.kinds import (
    CLUSTER_KINDS,
    DATABASE_CLUSTER,
    PLATFORM,
    RELEASE,
    RELEASE_COMPONENT,
    Manifest,
    ObjectId,
    PlatformKey,
    owner_reference,
    release_labels,
)
from platform_operator.cache.observed import Children, ObservedObject, RevisionNumber
from platform_operator.digests import digest
from platform_operator.plan.inventory import DesiredObject

HISTORY_LIMIT = 10
"""Releases of a shop that are kept."""


@dataclass(frozen=True)
class Release:
    """What a shop is made of."""

    version: str
    """The image tag of the services."""
    charts: str
    """The digest of the charts."""
    values: str
    """The digest of the chart values."""
    images: Mapping[str, str]
    """The image of each component; of further containers, by `<component>/<container>`."""
    migrations: Mapping[str, str]
    """The migration Job of each service. Its name contains a digest of the migration: the operator reads no database,
    so it does not know the revision of the schema itself."""


def release_of(key: PlatformKey, values: Mapping[str, Any], charts: str, rendered: Iterable[DesiredObject]) -> Release:
    """Returns the release that rendered objects belong to. `values` are those of the charts."""
    images: dict[str, str] = {}
    migrations: dict[str, str] = {}
    for one in rendered:
        component = one.id.name.removeprefix(f"{key.name}-")
        if one.id.kind == "Job":
            migrations[component.rpartition("-migrate-")[0] or component] = one.id.name
        elif one.id.kind in CLUSTER_KINDS:
            spec = one.manifest["spec"]
            images[component] = spec["imageName" if one.id.kind == DATABASE_CLUSTER else "image"]
        elif one.id.kind in ("Deployment", "StatefulSet"):
            images |= _images(component, one.manifest)
    return Release(values["global"]["image"]["tag"], charts, digest(values), images, migrations)


def _images(component: str, manifest: Manifest) -> Mapping[str, str]:
    containers = manifest["spec"].get("template", {}).get("spec", {}).get("containers", ())
    names = [component, *(f"{component}/{one['name']}" for one in containers[1:])]
    return {name: one.get("image", "") for name, one in zip(names, containers, strict=False)}


def release_id(key: PlatformKey, release: Release) -> ObjectId:
    """Returns the id of a release's object. Equal releases have one object, as those of a StatefulSet have."""
    return ObjectId(RELEASE, f"{key.name}-{RELEASE_COMPONENT}-{digest(asdict(release))[:10]}")


def next_revision(key: PlatformKey, release: Release, observed: Children) -> int | None:
    """Returns the revision number that a release has to be stored with; None if it is stored as the newest one."""
    numbers = {seen.id: place.number for seen, place in _stored(key, observed)}
    newest = max(numbers.values(), default=0)
    known = numbers.get(release_id(key, release))
    return None if known is not None and known == newest else newest + 1


def outdated(key: PlatformKey, observed: Children) -> list[ObservedObject]:
    """Returns the releases beyond the limit, the oldest first."""
    by_age = sorted(_stored(key, observed), key=lambda one: one[1].number)
    return [seen for seen, _ in by_age[:-HISTORY_LIMIT]]


def unlabelled(key: PlatformKey, observed: Children) -> list[ObservedObject]:
    """Returns the releases whose labels another writer has changed."""
    return [seen for seen, place in _stored(key, observed) if not place.is_labelled]


def release_ids(observed: Children) -> frozenset[ObjectId]:
    """Returns the ids of all ControllerRevisions, which no plan deletes."""
    return frozenset(identity for identity in observed if identity.kind == RELEASE)


def _stored(key: PlatformKey, observed: Children) -> Iterator[tuple[ObservedObject, RevisionNumber]]:
    for identity, seen in observed.items():
        is_release = identity.kind == RELEASE and identity.name.startswith(f"{key.name}-{RELEASE_COMPONENT}-")
        if is_release and seen.owned_digest and isinstance(seen.state, RevisionNumber):
            yield seen, seen.state


def release_manifest(key: PlatformKey, uid: str, name: str, content: Mapping[str, Any], revision: int) -> Manifest:
    """Returns the object of a release, whose content is that of a Release."""
    return {
        "apiVersion": "apps/v1",
        "kind": RELEASE,
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "labels": release_labels(key.name),
            "ownerReferences": [owner_reference(PLATFORM, key.name, uid)],
        },
        "revision": revision,
        "data": content,
    }
