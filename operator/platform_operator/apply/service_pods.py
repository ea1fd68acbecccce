"""Lists the pods by which a shop may still use its databases. Pods are not watched."""

from __future__ import annotations

from datetime import datetime

from platform_operator.api.kinds import LABEL_COMPONENT, LABEL_INSTANCE, POD, Manifest, PlatformKey
from platform_operator.api.spec import SERVICES
from platform_operator.client import KubernetesClient


async def pods_of_services(client: KubernetesClient, key: PlatformKey, now: datetime) -> list[Manifest]:
    """Lists the pods of the services and of their migrations that have not ended. Raises ApiError.

    The pod of a deleted Job runs on until it is deleted too.
    """
    parts = ",".join([*SERVICES, *(f"{name}-migrate" for name in SERVICES)])
    return await unfinished_pods(client, key, f"{LABEL_INSTANCE}={key.name},{LABEL_COMPONENT} in ({parts})", now)


async def unfinished_pods(client: KubernetesClient, key: PlatformKey, selector: str, now: datetime) -> list[Manifest]:
    """Lists the selected pods that have not ended. Raises ApiError.

    One on a node that does not answer is past its grace period, at whose end its deletionTimestamp is, and counts no
    longer.
    """
    pods, _ = await client.list(POD, key.namespace, selector)
    return [one for one in pods if _runs(one, now)]


def _runs(pod: Manifest, now: datetime) -> bool:
    end = pod["metadata"].get("deletionTimestamp")
    is_over = end is not None and datetime.fromisoformat(end) <= now
    return not is_over and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
