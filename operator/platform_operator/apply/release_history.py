"""Stores the releases of a platform as ControllerRevisions."""

from __future__ import annotations

from dataclasses import asdict

from platform_operator.api.kinds import CHILD_KINDS, RELEASE
from platform_operator.apply.applier import delete_object, find_name_conflict
from platform_operator.cache.observed import Platform, observe
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.plan.readiness import NameConflict
from platform_operator.plan.releases import (
    Release,
    next_revision,
    outdated,
    release_id,
    release_manifest,
    unlabelled,
)


async def record_release(
    client: KubernetesClient, cache: Cache, platform: Platform, release: Release
) -> NameConflict | None:
    """Stores a release as the newest one unless it is, and deletes those beyond the limit.

    Returns the name conflict if the name of the release is that of another's object, which is left alone. Raises
    ApiError.
    """
    key, identity = platform.key, release_id(platform.key, release)
    if next_revision(key, release, cache.children(key)) is not None:
        conflict = await find_name_conflict(client, cache, key, identity)
        if conflict is not None:
            return conflict
    revision = next_revision(key, release, cache.children(key))  # the look may have found a newer one
    if revision is not None:
        manifest = release_manifest(key, platform.uid, identity.name, asdict(release), revision)
        cache.store(key, observe(await client.apply(CHILD_KINDS[RELEASE], key.namespace, manifest)))
    await restore_labels(client, cache, platform)
    for seen in outdated(key, cache.children(key)):
        await delete_object(client, cache, key, seen)
    return None


async def restore_labels(client: KubernetesClient, cache: Cache, platform: Platform) -> None:
    """Restores the labels of releases that another writer has changed. Raises ApiError.

    The content of a release is read for that, since the cache does not have it.
    """
    key, kind = platform.key, CHILD_KINDS[RELEASE]
    for seen in unlabelled(key, cache.children(key)):
        stored = await client.get(kind, key.namespace, seen.id.name)
        if stored is not None:
            manifest = release_manifest(key, platform.uid, seen.id.name, stored["data"], stored["revision"])
            cache.store(key, observe(await client.apply(kind, key.namespace, manifest)))
