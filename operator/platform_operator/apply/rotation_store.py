"""Stores the steps of rotations in a ConfigMap, which outlives the platform as the Secrets do."""

from __future__ import annotations

from platform_operator.api.kinds import CHILD_KINDS, ROTATION_COMPONENT, PlatformKey
from platform_operator.cache.observed import observe
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.secrets.credential_records import record_manifest
from platform_operator.secrets.rotation import Rotations, dump_rotations, is_recorded, rotation_id


async def write_rotations(
    client: KubernetesClient, cache: Cache, key: PlatformKey, rotations: Rotations, master_key_ids: str
) -> bool:
    """Writes the record if the stored one differs, its labels included, and returns whether it did. Raises ApiError.

    The version that was read is a precondition of the write: an operator that has missed a step does not repeat it.
    """
    observed = cache.children(key)
    if is_recorded(key, observed, rotations, master_key_ids):
        return False
    manifest = record_manifest(key, ROTATION_COMPONENT, dump_rotations(rotations), master_key_ids)
    known = observed.get(rotation_id(key))
    if known is not None:
        manifest["metadata"]["resourceVersion"] = str(known.version)
    cache.store(key, observe(await client.apply(CHILD_KINDS["ConfigMap"], key.namespace, manifest)))
    return True
