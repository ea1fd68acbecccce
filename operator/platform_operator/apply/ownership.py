"""Decides whether a stored object is the operator's to write, or belongs to another and is left alone. Pure.

An object is the operator's if this platform owns it; or if it has the operator's labels, no other owner, and was
applied by the operator's field manager. A record needs no labels for that: its name says whose it is. Every other
object under a name that the platform needs is a name conflict, until its user gives it to the platform by an
annotation, or the whole Helm release by one of the platform.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from platform_operator.api.kinds import (
    ANNOTATION_ADOPT,
    CHILD_LABELS,
    GROUP,
    LABEL_INSTANCE,
    LABEL_MANAGED_BY,
    LABEL_PLATFORM,
    PLATFORM,
    ROTATION_COMPONENT,
    SALT_COMPONENT,
    Manifest,
    PlatformKey,
)
from platform_operator.cache.managed_fields import owned_fields


def is_ours(stored: Manifest, key: PlatformKey, *, adopts_release: bool = False) -> bool:
    """Returns whether the operator may write an object for a platform, which may adopt the Helm release of its name."""
    metadata = stored["metadata"]
    owners = metadata.get("ownerReferences") or ()
    if any(_is_platform(owner, key) for owner in owners):
        return True
    if (metadata.get("annotations") or {}).get(ANNOTATION_ADOPT) == key.name:
        return True
    if adopts_release and is_of_release(stored, key):
        return True
    labels = metadata.get("labels") or {}
    is_labelled = CHILD_LABELS.items() <= labels.items() and key.name in map(labels.get, _PLATFORM_LABELS)
    is_applied = bool(owned_fields(stored)) and not any(owner.get("controller") for owner in owners)
    return is_applied and (is_labelled or _is_record(stored, key))


def _is_record(stored: Manifest, key: PlatformKey) -> bool:
    """Returns whether an object has the name of a record that outlives its platform, and so has no owner, and data that
    the operator applied: another writer may have changed its labels."""
    names = [f"{key.name}-{component}" for component in (ROTATION_COMPONENT, SALT_COMPONENT)]
    is_named = stored.get("kind") == "ConfigMap" and stored["metadata"]["name"] in names
    return is_named and "f:data" in owned_fields(stored)


def is_of_release(stored: Manifest, key: PlatformKey) -> bool:
    """Returns whether an object is of the Helm release with the platform's name and namespace, and has no owner."""
    metadata = stored["metadata"]
    is_helms = (metadata.get("labels") or {}).get(LABEL_MANAGED_BY) == "Helm"
    release = {ANNOTATION_RELEASE_NAME: key.name, ANNOTATION_RELEASE_NAMESPACE: key.namespace}
    is_named = release.items() <= (metadata.get("annotations") or {}).items()
    return is_helms and is_named and not any(one.get("controller") for one in metadata.get("ownerReferences") or ())


ANNOTATION_RELEASE_NAME = "meta.helm.sh/release-name"
ANNOTATION_RELEASE_NAMESPACE = "meta.helm.sh/release-namespace"
"""What Helm writes to each object of a release, besides the label."""

_PLATFORM_LABELS = (LABEL_PLATFORM, LABEL_INSTANCE)


def _is_platform(owner: Mapping[str, Any], key: PlatformKey) -> bool:
    """An owner of an earlier platform of the same name counts: the platform continues with what that one left."""
    is_platform = owner["kind"] == PLATFORM.kind and str(owner["apiVersion"]).startswith(f"{GROUP}/")
    return is_platform and bool(owner["name"] == key.name)


def holder(stored: Manifest) -> str:
    """Names who an object belongs to, as well as the object itself says."""
    metadata = stored["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return f"{owner['kind']} {owner['name']}"
    writes = sorted(metadata.get("managedFields") or (), key=lambda entry: str(entry.get("time", "")))
    return str(writes[-1].get("manager", "")) if writes else ""
