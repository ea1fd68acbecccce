"""Deletes the data of a platform with the platform, if its deletionPolicy says so at that moment.

While a platform exists, nothing deletes its volumes and credentials: StatefulSets retain their volumes, and Secrets
and Clusters, with which volumes go, have no owner. Only a platform whose policy is Delete has the operator's finalizer,
so no other deletion waits for the operator. docs/adr/0039-the-deletion-policy-counts-at-deletion.md says why.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from platform_operator.api.kinds import (
    CHILD_KINDS,
    FIELD_MANAGER,
    PLATFORM,
    STORE_KINDS,
    VOLUME_CLAIM,
    Manifest,
)
from platform_operator.apply.volumes import list_volumes
from platform_operator.cache.observed import FINALIZER, ObservedObject, Platform, observe_platform
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


async def finish_deletion(client: KubernetesClient, cache: Cache, platform: Platform, now: datetime) -> None:
    """Deletes the data if the policy is Delete, and lets the platform go. Raises ApiError if it has to be retried."""
    if FINALIZER not in platform.finalizers:
        return
    if platform.spec.get("deletionPolicy") == "Delete":
        try:
            await _delete_data(client, cache, platform)
        except ApiError:
            if now < platform.deletion_time + DELETION_DEADLINE:
                raise
            logger.exception("volumes or credentials may be left", extra={"platform": str(platform.key)})
    try:
        await _apply_finalizers(client, platform, [])
    except ApiError as error:
        if error.status not in (404, 409):  # it is gone already
            raise


async def _delete_data(client: KubernetesClient, cache: Cache, platform: Platform) -> None:
    """Deletes stores first, since they would create their volumes again, then the derived Secrets, and last the records
    of their generations and of their salt."""
    key = platform.key
    volumes = await list_volumes(client, key)
    children = list(cache.children(key).values())
    for seen in children:
        if seen.id.kind in STORE_KINDS and seen.owned_digest:
            await _delete(client, platform, seen)
    for volume in volumes:
        metadata = volume["metadata"]
        await client.delete(VOLUME_CLAIM, key.namespace, metadata["name"], metadata["uid"])
    derived = [seen for seen in children if seen.id.kind == "Secret" and key_ids(seen)]
    records = [seen for seen in children if seen.id in (rotation_id(key), salt_id(key))]
    for seen in (*derived, *records):
        await _delete(client, platform, seen)


async def _delete(client: KubernetesClient, platform: Platform, seen: ObservedObject) -> None:
    await client.delete(CHILD_KINDS[seen.id.kind], platform.key.namespace, seen.id.name, seen.uid)


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
