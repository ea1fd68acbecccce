"""Stores the steps of rotations in a ConfigMap. It has no owner, as the Secrets: it outlives the platform."""

from __future__ import annotations

from platform_operator.api.kinds import (
    ANNOTATION_KEY_ID,
    CHILD_KINDS,
    CHILD_LABELS,
    LABEL_COMPONENT,
    LABEL_NAME,
    LABEL_PLATFORM,
    ROTATION_COMPONENT,
    Manifest,
    PlatformKey,
)
from platform_operator.cache.observed import observe
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.secrets.rotation import Rotations, dump_rotations, recorded_rotations, rotation_id


async def write_rotations(
    client: KubernetesClient, cache: Cache, key: PlatformKey, rotations: Rotations, master_key_id: str
) -> bool:
    """Writes the record if the stored one differs, and returns whether it did. Raises ApiError.

    The version that was read is a precondition of the write: an operator that has missed a step does not repeat it.
    """
    observed = cache.children(key)
    if rotations == recorded_rotations(key, observed):
        return False
    manifest = _manifest(key, rotations, master_key_id)
    known = observed.get(rotation_id(key))
    if known is not None:
        manifest["metadata"]["resourceVersion"] = str(known.version)
    cache.store(key, observe(await client.apply(CHILD_KINDS["ConfigMap"], key.namespace, manifest)))
    return True


def _manifest(key: PlatformKey, rotations: Rotations, master_key_id: str) -> Manifest:
    labels = {LABEL_NAME: "rotation", LABEL_PLATFORM: key.name, LABEL_COMPONENT: ROTATION_COMPONENT}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": rotation_id(key).name,
            "namespace": key.namespace,
            "labels": {**CHILD_LABELS, **labels},
            "annotations": {ANNOTATION_KEY_ID: master_key_id},
        },
        "data": dump_rotations(rotations),
    }
