"""Stores the inventory of a platform in a ConfigMap."""

from __future__ import annotations

from collections.abc import Mapping

from platform_operator.api.kinds import (
    ANNOTATION_KEY_ID,
    CHILD_KINDS,
    CHILD_LABELS,
    INVENTORY_COMPONENT,
    LABEL_COMPONENT,
    LABEL_INSTANCE,
    LABEL_NAME,
    PLATFORM,
    Manifest,
    ObjectId,
    PlatformKey,
    owner_reference,
)
from platform_operator.cache.observed import Children, Platform, StoredData, observe, state_of
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.plan.inventory import Inventory


def inventory_id(key: PlatformKey) -> ObjectId:
    return ObjectId("ConfigMap", f"{key.name}-{INVENTORY_COMPONENT}")


def read_inventory(key: PlatformKey, observed: Children) -> Inventory:
    state = state_of(inventory_id(key), observed)
    return Inventory.load(state.data) if isinstance(state, StoredData) else Inventory()


async def write_inventory(
    client: KubernetesClient, cache: Cache, platform: Platform, inventory: Inventory, key_ids: str
) -> None:
    """Writes the inventory if the stored one differs. `key_ids` are those of its master keys. Raises ApiError."""
    key = platform.key
    if is_stored(platform, inventory, key_ids, cache.children(key)):
        return
    manifest = _manifest(platform, inventory, key_ids)
    cache.store(key, observe(await client.apply(CHILD_KINDS["ConfigMap"], key.namespace, manifest)))


def is_stored(platform: Platform, inventory: Inventory, key_ids: str, observed: Children) -> bool:
    """Returns whether the stored ConfigMap is as it should be.

    Its fields are compared, since it cannot hold its own digest.
    """
    state = state_of(inventory_id(platform.key), observed)
    return (
        isinstance(state, StoredData)
        and state.data == inventory.dump()
        and _includes(state.labels, _labels(platform.key))
        and state.annotations.get(ANNOTATION_KEY_ID) == key_ids
        and platform.uid in state.owners
    )


def _includes(stored: Mapping[str, str], required: Mapping[str, str]) -> bool:
    return all(stored.get(name) == value for name, value in required.items())


def _labels(key: PlatformKey) -> Mapping[str, str]:
    return {**CHILD_LABELS, LABEL_NAME: "applied", LABEL_INSTANCE: key.name, LABEL_COMPONENT: "applied"}


def _manifest(platform: Platform, inventory: Inventory, key_ids: str) -> Manifest:
    """Returns the ConfigMap. It outlives Secrets that are deleted, so it has the master keys' ids too."""
    key, shared = platform.key, platform.spec.get("objects") or {}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": inventory_id(key).name,
            "namespace": key.namespace,
            "labels": {**shared.get("labels", {}), **_labels(key)},
            "annotations": {**shared.get("annotations", {}), ANNOTATION_KEY_ID: key_ids},
            "ownerReferences": [owner_reference(PLATFORM, key.name, platform.uid)],
        },
        "data": inventory.dump(),
    }
