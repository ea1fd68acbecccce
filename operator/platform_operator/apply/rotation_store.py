"""Stores the steps of rotations in a ConfigMap, which outlives the platform as the Secrets do."""

from __future__ import annotations

from platform_operator.api.kinds import CHILD_KINDS, ROTATION_COMPONENT, PlatformKey
from platform_operator.cache.observed import ObservedObject, observe
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.errors import StaleReadError
from platform_operator.secrets.credential_records import record_manifest
from platform_operator.secrets.rotation import Rotations, dump_rotations, rotation_id


async def write_rotations(
    client: KubernetesClient,
    cache: Cache,
    key: PlatformKey,
    recorded: ObservedObject | None,
    rotations: Rotations,
    master_key_ids: str,
) -> None:
    """Writes the record, its labels included. Raises ApiError, StaleReadError if a newer one than `recorded` is known.

    `recorded` is the record by which the rotations were decided. The write requires that it is still the newest one, so
    an operator that has missed a step does not repeat it.
    """
    identity = rotation_id(key)
    newest = cache.children(key).get(identity)
    if newest is not None and (recorded is None or recorded.version != newest.version):
        raise StaleReadError(f"{identity} was changed after it was read")
    manifest = record_manifest(key, ROTATION_COMPONENT, dump_rotations(rotations), master_key_ids)
    if recorded is not None:
        manifest["metadata"]["resourceVersion"] = str(recorded.version)
    cache.store(key, observe(await client.apply(CHILD_KINDS["ConfigMap"], key.namespace, manifest)))
