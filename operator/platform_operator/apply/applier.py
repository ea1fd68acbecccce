"""Carries a plan out: server-side apply, prune, and the inventory that remembers it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeGuard

from platform_operator import metrics
from platform_operator.api.kinds import (
    CHILDREN,
    FIELD_MANAGER,
    LABEL_COMPONENT,
    LABEL_INSTANCE,
    LABEL_NAME,
    OURS,
    Key,
    Kind,
    Manifest,
    ObjectId,
)
from platform_operator.cache.observed import Cache, Document, Observed, Platform, State, Workload, observe
from platform_operator.client import Api
from platform_operator.errors import ApiError
from platform_operator.plan.planner import Children, Inventory, Refusal, state_of
from platform_operator.render.renderer import Rendered, owner_reference

HANDOVER = f"{FIELD_MANAGER}-handover"


async def apply(api: Api, cache: Cache, key: Key, rendered: Rendered) -> Observed | Refusal | None:
    """Applies one object. None: it is somebody else's and was left alone. Raises ApiError where trying again may help."""
    kind = CHILDREN[rendered.id.kind]
    try:
        known = cache.children(key).get(rendered.id)
        if known is None and rendered.id.kind == "Secret" and await _is_taken(api, cache, key, rendered.id):
            return None
        manifest = rendered.manifest
        if known is not None and gives_up_replicas(known.state, manifest):
            await api.apply(kind, key.namespace, _replicas_only(manifest, known.state), manager=HANDOVER)
        answer = await _apply(api, kind, key, manifest, exists=known is not None)
    except ApiError as error:
        if error.transient:
            raise
        return Refusal(rendered.id, error)
    seen = observe(answer)
    cache.keep(key, seen)
    return seen


async def _apply(api: Api, kind: Kind, key: Key, manifest: Manifest, *, exists: bool) -> Manifest:
    """Applying merges lists by key, so a Service's port that somebody renumbered would stand beside ours under the same
    name, and is refused as invalid. Then our spec takes the place of theirs first."""
    try:
        return await api.apply(kind, key.namespace, manifest)
    except ApiError as error:
        if not (error.invalid and exists and "spec" in manifest):
            raise
    await api.overwrite(kind, key.namespace, manifest["metadata"]["name"], {"spec": manifest["spec"]})
    return await api.apply(kind, key.namespace, manifest)


async def _is_taken(api: Api, cache: Cache, key: Key, identity: ObjectId) -> bool:
    """Whether somebody else's Secret bears the name. The watches do not show it, for want of our labels."""
    stored = await api.get(CHILDREN["Secret"], key.namespace, identity.name)
    if stored is None or _is_ours(stored):
        return False
    cache.keep(key, observe(stored))
    return True


def gives_up_replicas(state: State, manifest: Manifest) -> TypeGuard[Workload]:
    """A field that its only owner no longer applies is removed: a Deployment handed over to its autoscaler would fall
    back to one pod. So another manager takes the number first, until the autoscaler changes it (as Kubernetes advises:
    https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership)."""
    return isinstance(state, Workload) and state.owns_replicas and "replicas" not in manifest["spec"]


def _replicas_only(manifest: Manifest, workload: Workload) -> Manifest:
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": {"name": manifest["metadata"]["name"]},
        "spec": {"replicas": workload.wanted},
    }


def _is_ours(manifest: Manifest) -> bool:
    labels = manifest["metadata"].get("labels") or {}
    return all(labels.get(name) == value for name, value in OURS.items())


async def prune(api: Api, cache: Cache, key: Key, unwanted: Iterable[Observed]) -> None:
    for seen in unwanted:
        metrics.PRUNES.labels(seen.id.kind).inc()
        await api.delete(CHILDREN[seen.id.kind], key.namespace, seen.id.name, seen.uid)
        cache.drop(key, seen.id, seen.version + 1)  # the deletion's version is not told: it is above what was seen


def inventory_id(key: Key) -> ObjectId:
    """Not `<platform>-inventory`: that is a service."""
    return ObjectId("ConfigMap", f"{key.name}-applied")


def read_inventory(key: Key, observed: Children) -> Inventory:
    state = state_of(inventory_id(key), observed)
    return Inventory.load(state.data) if isinstance(state, Document) else Inventory()


async def write_inventory(api: Api, cache: Cache, platform: Platform, inventory: Inventory) -> None:
    """Writes only where what is stored differs."""
    key = platform.key
    if is_stored(platform, inventory, cache.children(key)):
        return
    manifest = inventory_manifest(platform, inventory)
    cache.keep(key, observe(await api.apply(CHILDREN["ConfigMap"], key.namespace, manifest)))


def inventory_manifest(platform: Platform, inventory: Inventory) -> Manifest:
    key = platform.key
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": inventory_id(key).name,
            "namespace": key.namespace,
            "labels": {**OURS, LABEL_NAME: "applied", LABEL_INSTANCE: key.name, LABEL_COMPONENT: "applied"},
            "ownerReferences": [owner_reference(key, platform.uid)],
        },
        "data": inventory.dump(),
    }


def is_stored(platform: Platform, inventory: Inventory, observed: Children) -> bool:
    """Whether the inventory's object is whole: its fields are compared, since it cannot hold its own digest."""
    state = state_of(inventory_id(platform.key), observed)
    manifest = inventory_manifest(platform, inventory)
    return (
        isinstance(state, Document)
        and state.data == manifest["data"]
        and _includes(state.labels, manifest["metadata"]["labels"])
        and platform.uid in state.owners
    )


def _includes(whole: Mapping[str, str], part: Mapping[str, str]) -> bool:
    return all(whole.get(name) == value for name, value in part.items())
