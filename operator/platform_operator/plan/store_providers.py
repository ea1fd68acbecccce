"""Decides which stores a shop would leave behind, since they belong to a provider that its spec does not name. Pure.

A Cluster or a volume outlives its shop under the policy Retain. A shop of the same name with another provider would
begin with an empty store beside the data: docs/adr/0065.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from platform_operator.api.kinds import BROKER_CLUSTER, CLUSTER_KINDS, DATABASE_CLUSTER, ObjectId, PlatformKey
from platform_operator.api.spec import WITH_DATABASE, Spec
from platform_operator.cache.observed import Children
from platform_operator.errors import StoreLeftBehindError

_BUILTIN = "builtin"
_KINDS: Mapping[str, str] = MappingProxyType(
    {_BUILTIN: "StatefulSet", "cnpg": DATABASE_CLUSTER, "rabbitmq-operator": BROKER_CLUSTER}
)


def is_used(kind: str, spec: Spec) -> bool:
    """Returns whether a store of this kind is the shop's, and not left from a shop with another provider."""
    return kind not in CLUSTER_KINDS or kind in (_KINDS.get(spec.databases.provider), _KINDS.get(spec.broker.provider))


def check_clusters(key: PlatformKey, spec: Spec, observed: Children) -> None:
    """Raises StoreLeftBehindError if a builtin store is to be made beside a Cluster of the same name."""
    for store, provider in _providers(key, spec).items():
        left = next((one for one in observed if one.name == store and one.kind in CLUSTER_KINDS), None)
        if provider == _BUILTIN and left is not None:
            raise _left_behind(key, left, store, provider)


def new_clusters(key: PlatformKey, spec: Spec, observed: Children) -> Collection[str]:
    """Returns the names of the Clusters that the spec asks for and that do not exist yet."""
    clusters = {name: kind for name, one in _providers(key, spec).items() if (kind := _KINDS[one]) in CLUSTER_KINDS}
    return [name for name, kind in clusters.items() if ObjectId(kind, name) not in observed]


def check_volumes(key: PlatformKey, spec: Spec, observed: Children, volumes: Collection[str]) -> None:
    """Raises StoreLeftBehindError if a Cluster is to be made beside the volume of a builtin store. `volumes` are names
    of PersistentVolumeClaims."""
    for store in new_clusters(key, spec, observed):
        volume = f"data-{store}-0"
        if volume in volumes:
            left = ObjectId("PersistentVolumeClaim", volume)
            raise _left_behind(key, left, store, _providers(key, spec)[store])


def _providers(key: PlatformKey, spec: Spec) -> Mapping[str, str]:
    """Returns the provider of each store that the operator makes, by its name."""
    databases = {f"{key.name}-{service}-db": spec.databases.provider for service in WITH_DATABASE}
    stores = databases | {f"{key.name}-rabbitmq": spec.broker.provider}
    return {store: provider for store, provider in stores.items() if provider in _KINDS}


def _left_behind(key: PlatformKey, left: ObjectId, store: str, provider: str) -> StoreLeftBehindError:
    return StoreLeftBehindError(
        f"{left} has data of an earlier shop, and {store} with provider {provider} would begin empty beside it: "
        "nothing is applied. The provider of a shop cannot change. To keep the data, set deletionPolicy to Retain, "
        f"delete EcommercePlatform {key.name}, and create it with the provider that it had. Else back the data up and "
        f"delete {left} in namespace {key.namespace}"
    )
