"""The version of the services that ran before a Secret of a newer release was made, which a Secret remembers. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from platform_operator.api.kinds import ObjectId, PlatformKey
from platform_operator.api.spec import SERVICES
from platform_operator.cache.observed import Children, ObservedObject, StoredData, state_of
from platform_operator.plan.inventory import Inventory


def remembered_version(
    key: PlatformKey, secrets: Collection[ObjectId], annotation: str, observed: Children, inventory: Inventory
) -> str:
    """Returns the version that ran before the first of these Secrets; empty if none ran, or the annotation is gone.

    A Secret that is lost later is in the inventory, so its loss does not make the version that runs now the old one.
    """
    states = [state for one in secrets if isinstance(state := state_of(one, observed), StoredData)]
    if states or any(one in inventory.objects for one in secrets):
        return next((found for one in states if (found := one.annotations.get(annotation))), "")
    return next((one.image_version for one in deployments(key, observed)), "")


def deployments(key: PlatformKey, observed: Children) -> Iterable[ObservedObject]:
    """Returns the Deployments of the services that exist."""
    identities = (ObjectId("Deployment", f"{key.name}-{service}") for service in SERVICES)
    return (observed[one] for one in identities if one in observed)
