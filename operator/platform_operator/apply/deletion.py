"""Deletes the data of a platform with the platform, if its deletionPolicy says so at that moment.

While a platform exists, nothing deletes its volumes and credentials: StatefulSets retain their volumes, and Secrets
and Clusters, with which volumes go, have no owner. Only a platform whose policy is Delete has the operator's finalizer,
so no other deletion waits for the operator. docs/adr/0039-the-deletion-policy-counts-at-deletion.md says why.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from platform_operator.api.kinds import (
    FIELD_MANAGER,
    PLATFORM,
    STORE_KINDS,
    VOLUME_CLAIM,
    Manifest,
)
from platform_operator.apply.applier import delete_object
from platform_operator.apply.volumes import list_volumes
from platform_operator.cache.observed import FINALIZER, Platform, observe_platform
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError
from platform_operator.secrets.key_ids import key_ids
from platform_operator.secrets.rotation import rotation_id
from platform_operator.secrets.salt import salt_id

logger = logging.getLogger(__name__)

FINALIZER_MANAGER = f"{FIELD_MANAGER}-finalizer"
"""The field manager of the finalizer alone, so that setting or removing it changes no other field."""
DELETION_DEADLINE = timedelta(minutes=5)
"""The time for which a deletion is retried. After it the platform goes and data may stay: no error of one namespace
keeps that namespace from being deleted."""


async def set_finalizer(client: KubernetesClient, cache: Cache, platform: Platform, *, needed: bool) -> None:
    """Gives a platform the operator's finalizer, or takes it away. Writes only if that changes it. Raises ApiError."""
    if needed != (FINALIZER in platform.finalizers):
        answer = await _apply_finalizers(client, platform, [FINALIZER] if needed else [])
        cache.store_platform(observe_platform(answer))


async def finish_deletion(client: KubernetesClient, cache: Cache, platform: Platform, now: datetime) -> bool:
    """Deletes the data if the policy is Delete, and lets the platform go.

    Returns False if another pass has to do that, since the API server has not found what was to be deleted: if that
    answer was wrong, the next one is right, and otherwise the watch has confirmed it by then. Raises ApiError if it has
    to be retried.
    """
    if FINALIZER not in platform.finalizers:
        return True
    if platform.spec.get("deletionPolicy") == "Delete":
        is_overdue = now >= platform.deletion_time + DELETION_DEADLINE
        try:
            if not await _delete_data(client, cache, platform):
                if not is_overdue:
                    return False
                logger.warning("volumes or credentials may be left", extra={"platform": str(platform.key)})
        except ApiError:
            if not is_overdue:
                raise
            logger.exception("volumes or credentials may be left", extra={"platform": str(platform.key)})
    try:
        await _apply_finalizers(client, platform, [])
    except ApiError as error:
        if error.status not in (404, 409):  # it is gone already
            raise
    return True


async def _delete_data(client: KubernetesClient, cache: Cache, platform: Platform) -> bool:
    """Deletes stores first, since they would create their volumes again, then the derived Secrets, and last the records
    of their generations and of their salt. Returns whether the API server has found all of them. Raises ApiError."""
    key = platform.key
    volumes = await list_volumes(client, key)
    children = list(cache.children(key).values())
    stores = [seen for seen in children if seen.id.kind in STORE_KINDS and seen.owned_digest]
    derived = [seen for seen in children if seen.id.kind == "Secret" and key_ids(seen)]
    records = [seen for seen in children if seen.id in (rotation_id(key), salt_id(key))]
    found = [await delete_object(client, cache, key, seen) for seen in stores]
    for volume in volumes:
        metadata = volume["metadata"]
        found.append(await client.delete(VOLUME_CLAIM, key.namespace, metadata["name"], metadata["uid"]))
    found += [await delete_object(client, cache, key, seen) for seen in (*derived, *records)]
    return all(found)


async def _apply_finalizers(client: KubernetesClient, platform: Platform, finalizers: list[str]) -> Manifest:
    """Applies the operator's part of the list: other managers keep their finalizers.

    The uid makes the write fail if the platform is gone, rather than create it again.
    """
    manifest = {
        "apiVersion": PLATFORM.api_version,
        "kind": PLATFORM.kind,
        "metadata": {"name": platform.key.name, "uid": platform.uid, "finalizers": finalizers},
    }
    return await client.apply(PLATFORM, platform.key.namespace, manifest, manager=FINALIZER_MANAGER)
