"""Adopts the Helm release that a shop was installed by, so that the platform of its name continues with its objects.

The charts render the same pods for the operator as for Helm, so applying them replaces no pod, and the Secrets of the
release are used as they are. When all objects are the platform's, the records of the release are deleted: `helm
upgrade` and `helm uninstall` no longer know it (docs/adr/0062-a-helm-release-is-adopted.md).
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import logging
from typing import Any

from platform_operator.api.kinds import ANNOTATION_ADOPT_RELEASE, CHILD_KINDS, Kind, Manifest, PlatformKey
from platform_operator.apply.ownership import ANNOTATION_RELEASE_NAME, ANNOTATION_RELEASE_NAMESPACE
from platform_operator.cache.observed import Platform
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError

logger = logging.getLogger(__name__)

CHART = "platform"
"""The chart of a whole shop. A release of another chart is not adopted."""
ATTEMPTS = 5
"""Attempts to write an object that other controllers write at the same time."""
RECORD_TYPE = "helm.sh/release.v1"
_HELM = "helm"
"""The prefix of Helm's field managers: `helm`, and Flux's `helm-controller`."""


def adopts_release(platform: Platform | None) -> bool:
    """Returns whether a platform takes over the release of its name. Another name in the annotation adopts nothing."""
    return platform is not None and platform.annotations.get(ANNOTATION_ADOPT_RELEASE) == platform.key.name


def secret_labels_manifest(secret: Manifest) -> Manifest:
    """Returns the manifest that is applied to a Secret of the release: its labels without the annotation of the key id.

    The key id would say that the values are derived from the master key.
    """
    metadata = {name: secret["metadata"][name] for name in ("name", "namespace", "labels")}
    return {"apiVersion": secret["apiVersion"], "kind": secret["kind"], "metadata": metadata}


async def remove_helm_ownership(client: KubernetesClient, kind: Kind, applied: Manifest) -> None:
    """Ends Helm's ownership of the fields of an object, and removes the annotations by which Helm recognizes it.

    Otherwise a field that the operator no longer applies would stay, since Helm would own it too. `managedFields` is
    replaced as a whole, so an object that was written in between is read again. Raises ApiError.
    """
    stored: Manifest | None = applied
    for attempt in range(ATTEMPTS):
        if stored is None or not (fields := _metadata_patch(stored["metadata"])):
            return
        namespace, name = stored["metadata"]["namespace"], stored["metadata"]["name"]
        try:
            await client.overwrite(kind, namespace, name, {"metadata": fields})
        except ApiError as error:
            if not error.conflict or attempt == ATTEMPTS - 1:
                raise
            stored = await client.get(kind, namespace, name)
        else:
            return


def _metadata_patch(metadata: Manifest) -> Manifest:
    """Returns the patch of an object's metadata; empty if Helm owns no field of the object."""
    entries = metadata.get("managedFields") or []
    others = [one for one in entries if one.get("subresource") or not str(one.get("manager", "")).startswith(_HELM)]
    if len(others) == len(entries):
        return {}
    return {
        "resourceVersion": metadata["resourceVersion"],
        "managedFields": others,
        "annotations": {ANNOTATION_RELEASE_NAME: None, ANNOTATION_RELEASE_NAMESPACE: None},
    }


async def delete_release_records(client: KubernetesClient, key: PlatformKey) -> None:
    """Deletes Helm's records of the adopted release, oldest revision first. Raises ApiError."""
    kind = CHILD_KINDS["Secret"]
    records, _ = await client.list(kind, key.namespace, f"owner=helm,name={key.name}")
    own = [record for record in records if _is_record(record)]
    for record in sorted(own, key=lambda one: int(one["metadata"]["labels"].get("version", 0))):
        metadata = record["metadata"]
        await client.delete(kind, key.namespace, metadata["name"], metadata["uid"])
        logger.info("deleted %s: the platform has adopted the release", metadata["name"], extra={"platform": str(key)})


def _is_record(secret: Manifest) -> bool:
    """Returns whether a Secret is the record of a release of a whole shop."""
    if secret.get("type") != RECORD_TYPE:
        return False
    try:
        return bool(_decoded(secret["data"]["release"])["chart"]["metadata"]["name"] == CHART)
    except (binascii.Error, OSError, EOFError, LookupError, TypeError, ValueError):
        return False


def _decoded(release: str) -> Any:
    """Returns a release as Helm stores it: JSON in gzip in base64, and that in the base64 of a Secret."""
    return json.loads(gzip.decompress(base64.b64decode(base64.b64decode(release))))
