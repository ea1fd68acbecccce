"""Lists the volumes of a platform's stores. They are not watched."""

from __future__ import annotations

from platform_operator.api.kinds import LABEL_INSTANCE, LABEL_PART_OF, VOLUME_CLAIM, Manifest, PlatformKey
from platform_operator.client import KubernetesClient


async def list_volumes(client: KubernetesClient, key: PlatformKey) -> list[Manifest]:
    """Returns the PersistentVolumeClaims of a platform, also of an earlier one of its name. Raises ApiError."""
    selector = f"{LABEL_INSTANCE}={key.name},{LABEL_PART_OF}=ecommerce"
    volumes, _ = await client.list(VOLUME_CLAIM, key.namespace, selector)
    return volumes
