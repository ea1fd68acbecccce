"""The ConfigMaps beside derived Secrets, which say how these were derived. As the Secrets, they have no owner."""

from __future__ import annotations

from collections.abc import Mapping

from platform_operator.api.kinds import (
    ANNOTATION_KEY_ID,
    CHILD_LABELS,
    LABEL_COMPONENT,
    LABEL_NAME,
    LABEL_PLATFORM,
    LABEL_PREFIX,
    Manifest,
    ObjectId,
    PlatformKey,
)
from platform_operator.cache.observed import Children, StoredData, state_of


def record_labels(key: PlatformKey, component: str) -> dict[str, str]:
    """Returns the labels of a record."""
    return {**CHILD_LABELS, LABEL_NAME: component, LABEL_PLATFORM: key.name, LABEL_COMPONENT: component}


def keeps_labels(key: PlatformKey, component: str, observed: Children) -> bool:
    """Returns whether a stored record has its labels still, as far as the cache has them."""
    state = state_of(ObjectId("ConfigMap", f"{key.name}-{component}"), observed)
    required = {name: value for name, value in record_labels(key, component).items() if name.startswith(LABEL_PREFIX)}
    return isinstance(state, StoredData) and required.items() <= state.labels.items()


def record_manifest(key: PlatformKey, component: str, data: Mapping[str, str], master_key_ids: str) -> Manifest:
    """Returns the ConfigMap of a record."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{key.name}-{component}",
            "namespace": key.namespace,
            "labels": record_labels(key, component),
            "annotations": {ANNOTATION_KEY_ID: master_key_ids},
        },
        "data": dict(data),
    }
