"""Stores the releases of a platform as ControllerRevisions."""

from __future__ import annotations

from platform_operator.api.kinds import CHILD_KINDS, RELEASE
from platform_operator.apply.applier import delete_object, find_conflict
from platform_operator.cache.observed import Platform, observe
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.plan.readiness import NameConflict
from platform_operator.plan.releases import Release, next_revision, outdated, release_id, release_manifest


async def record_release(
    client: KubernetesClient, cache: Cache, platform: Platform, release: Release
) -> NameConflict | None:
    """Stores a release as the newest one unless it is, and deletes those beyond the limit.

    Returns the object of another that has its name, if there is one, and leaves it alone. Raises ApiError.
    """
    key = platform.key
    revision = next_revision(key, release, cache.children(key))
    if revision is not None:
        conflict = await find_conflict(client, cache, key, release_id(key, release))
        if conflict is not None:
            return conflict
        manifest = release_manifest(key, platform.uid, release, revision)
        cache.store(key, observe(await client.apply(CHILD_KINDS[RELEASE], key.namespace, manifest)))
    for seen in outdated(key, cache.children(key)):
        await delete_object(client, cache, key, seen)
    return None
