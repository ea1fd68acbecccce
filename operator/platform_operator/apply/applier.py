"""Applies and prunes the objects of a plan."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import TypeGuard

from platform_operator import metrics
from platform_operator.api.kinds import (
    CHILD_KINDS,
    CHILD_LABELS,
    HANDOVER_MANAGER,
    Kind,
    Manifest,
    ObjectId,
    PlatformKey,
)
from platform_operator.apply.helm_release import (
    ATTEMPTS,
    adopts_release,
    remove_helm_ownership,
    secret_labels_manifest,
)
from platform_operator.apply.ownership import holder, is_of_release, is_ours
from platform_operator.cache.observed import ObservedObject, ObservedState, Workload, observe
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError
from platform_operator.plan.inventory import DesiredObject
from platform_operator.plan.readiness import NameConflict, Refusal

MIN_LOOKUPS = 3
"""The number of new objects of a kind from which on one list takes the place of a look at each of their names."""


async def find_free_names(
    client: KubernetesClient, cache: Cache, key: PlatformKey, identities: Iterable[ObjectId]
) -> frozenset[ObjectId]:
    """Returns those of the objects whose names one list for all of their kind shows to be free.

    A new shop has a hundred objects of ten kinds. A kind that cannot be listed has no free names here: each is looked
    at when its object is applied.
    """
    known, by_kind = cache.children(key), defaultdict[str, list[ObjectId]](list)
    for identity in identities:
        if _needs_lookup(known.get(identity), identity):
            by_kind[identity.kind].append(identity)
    kinds = [kind for kind, new in by_kind.items() if len(new) >= MIN_LOOKUPS]
    lists = await asyncio.gather(*(_names(client, kind, key.namespace) for kind in kinds))
    return frozenset(
        identity
        for kind, names in zip(kinds, lists, strict=True)
        for identity in by_kind[kind]
        if names is not None and identity.name not in names
    )


async def _names(client: KubernetesClient, kind: str, namespace: str) -> frozenset[str] | None:
    try:
        return await client.names(CHILD_KINDS[kind], namespace)
    except ApiError:
        return None


def _needs_lookup(known: ObservedObject | None, identity: ObjectId) -> bool:
    """Returns whether the API server has to be asked what is under a name.

    The cache has only objects with the operator's labels. One that the operator has applied is its own.
    """
    return known is None or (identity.kind != "Secret" and not known.owned_digest)


async def apply_object(
    client: KubernetesClient, cache: Cache, key: PlatformKey, desired: DesiredObject, *, is_free: bool = False
) -> ObservedObject | Refusal | NameConflict | None:
    """Applies one object and stores the answer in the cache. With `is_free`, its name is known to be free.

    An object that is not the operator's is left alone: None stands for a Secret, which is used as it is. Raises
    ApiError if a retry may succeed, or if nothing can be created in the namespace.
    """
    kind = CHILD_KINDS[desired.id.kind]
    try:
        known = cache.children(key).get(desired.id)
        if not is_free and desired.id.kind == "Secret":
            if _needs_lookup(known, desired.id) and await _is_foreign_secret(client, cache, key, desired):
                return None
        elif not is_free and (conflict := await find_name_conflict(client, cache, key, desired.id)):
            return conflict
        known, manifest = cache.children(key).get(desired.id), desired.manifest
        if known is not None and gives_up_replicas(known.state, manifest):
            await _hand_over_replicas(client, key, manifest, known)
        answer = await _apply(client, kind, key, manifest, exists=known is not None)
    except ApiError as error:
        is_broken_add_on = kind.optional and error.status >= 500
        if (error.transient and not is_broken_add_on) or error.namespace_terminating:
            raise
        return Refusal(desired.id, error)
    if adopts_release(cache.platforms.get(key)):
        await remove_helm_ownership(client, kind, answer)
    seen = observe(answer)
    cache.store(key, seen)
    return seen


async def _apply(
    client: KubernetesClient, kind: Kind, key: PlatformKey, manifest: Manifest, *, exists: bool
) -> Manifest:
    """Applies a manifest; if it is refused as invalid, overwrites the spec first.

    Apply merges lists by key: if another writer changed the number of a Service's port, that port would stay beside the
    operator's port of the same name, which is invalid.
    """
    try:
        return await client.apply(kind, key.namespace, manifest)
    except ApiError as error:
        if not (error.invalid and exists and "spec" in manifest):
            raise
    await client.overwrite(kind, key.namespace, manifest["metadata"]["name"], {"spec": manifest["spec"]})
    return await client.apply(kind, key.namespace, manifest)


async def find_name_conflict(
    client: KubernetesClient, cache: Cache, key: PlatformKey, identity: ObjectId
) -> NameConflict | None:
    """Returns the name conflict with an object that is not the operator's; None if there is none. Raises ApiError.

    An object that the operator has applied before, and that the cache does not have, is stored in the cache.
    """
    if not _needs_lookup(cache.children(key).get(identity), identity):
        return None
    stored = await client.get(CHILD_KINDS[identity.kind], key.namespace, identity.name)
    adopts = adopts_release(cache.platforms.get(key))
    if stored is None:
        return None
    if is_ours(stored, key, adopts_release=adopts):
        if (seen := observe(stored)).owned_digest:
            cache.store(key, seen)
        return None
    return NameConflict(identity, holder(stored))


async def _is_foreign_secret(client: KubernetesClient, cache: Cache, key: PlatformKey, desired: DesiredObject) -> bool:
    """Returns whether a Secret of that name exists without the operator's labels, so that no watch shows it.

    One of an adopted release gets them, so that it is seen after a restart too, and keeps its values.
    """
    kind = CHILD_KINDS["Secret"]
    stored = await client.get(kind, key.namespace, desired.id.name)
    if stored is None or _has_child_labels(stored):
        return False
    if adopts_release(cache.platforms.get(key)) and is_of_release(stored, key):
        stored = await client.apply(kind, key.namespace, secret_labels_manifest(desired.manifest))
        await remove_helm_ownership(client, kind, stored)
    cache.store(key, observe(stored))
    return True


def _has_child_labels(manifest: Manifest) -> bool:
    labels = manifest["metadata"].get("labels") or {}
    return all(labels.get(name) == value for name, value in CHILD_LABELS.items())


def gives_up_replicas(state: ObservedState, manifest: Manifest) -> TypeGuard[Workload]:
    """Returns whether applying the manifest would remove the number of pods.

    A field is removed when its only owner no longer applies it: a Deployment handed over to its autoscaler would fall
    back to one pod. So another field manager takes the number first, until the autoscaler changes it (as Kubernetes
    advises: https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership).
    """
    return isinstance(state, Workload) and state.owns_replicas and "replicas" not in manifest["spec"]


async def _hand_over_replicas(
    client: KubernetesClient, key: PlatformKey, manifest: Manifest, known: ObservedObject
) -> None:
    """Gives the number of pods to the other field manager. Raises ApiError.

    The version that was read makes the write fail if another writer has changed the number since. Each new status of
    the Deployment is another version too, so it is read again.
    """
    kind, seen = CHILD_KINDS[known.id.kind], known
    for attempt in range(ATTEMPTS):
        if not gives_up_replicas(seen.state, manifest):
            return
        handover = _replicas_only(manifest, seen.state, seen.version)
        try:
            await client.apply(kind, key.namespace, handover, manager=HANDOVER_MANAGER)
        except ApiError as error:
            stored = await client.get(kind, key.namespace, known.id.name) if error.conflict else None
            if stored is None or attempt == ATTEMPTS - 1:
                raise
            seen = observe(stored)
        else:
            return


def _replicas_only(manifest: Manifest, workload: Workload, version: int) -> Manifest:
    """Returns the number of pods alone; one for a hibernated Deployment, since an autoscaler starts from none never.

    The version that was read makes the write fail if another writer has changed the number since.
    """
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": {"name": manifest["metadata"]["name"], "resourceVersion": str(version)},
        "spec": {"replicas": max(1, workload.desired)},
    }


async def prune(client: KubernetesClient, cache: Cache, key: PlatformKey, leftovers: Iterable[ObservedObject]) -> None:
    """Deletes objects that the spec no longer needs. Raises ApiError."""
    for seen in leftovers:
        metrics.PRUNES.labels(seen.id.kind).inc()
        await delete_object(client, cache, key, seen)


async def delete_object(client: KubernetesClient, cache: Cache, key: PlatformKey, seen: ObservedObject) -> bool:
    """Deletes one object, and not a later one of its name. Raises ApiError.

    Returns False if the API server answers that it is gone. It stays in the cache until the watch confirms that: if the
    answer was wrong, the next pass deletes it.
    """
    if not await client.delete(CHILD_KINDS[seen.id.kind], key.namespace, seen.id.name, seen.uid):
        return False
    cache.remove(key, seen.id, seen.version + 1)  # the deletion's own version is not known, only that it is higher
    return True
