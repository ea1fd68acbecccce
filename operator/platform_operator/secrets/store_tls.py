"""Decides which stores of a shop's own have TLS: all, but for those whose clients could not connect any more. Pure.

docs/adr/0042-tls-to-the-stores.md describes the upgrade of a running shop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from platform_operator.api.kinds import ANNOTATION_REPLACES_WITHOUT_TLS, ObjectId, PlatformKey
from platform_operator.api.spec import WITH_BROKER, WITH_DATABASE, Spec
from platform_operator.cache.observed import Children, StoredData, state_of
from platform_operator.plan.inventory import Inventory
from platform_operator.secrets.remembered_version import remembered_version

AUTHORITY = "ca"
"""The component whose Secret has the authority. Every platform has it, also one whose stores are all external."""


@dataclass(frozen=True, slots=True)
class StoreTls:
    """The stores with TLS, as components, and what their Secrets follow from."""

    stores: frozenset[str]
    replaced_version: str
    now: datetime


def store_tls(
    key: PlatformKey,
    spec: Spec,
    version: str,
    observed: Children,
    inventory: Inventory,
    may_write: Callable[[str], bool],
    now: datetime,
) -> StoreTls:
    """Decides which stores have TLS in this pass.

    Redis and RabbitMQ have none as long as the services are to run the version that ran before TLS, which also is the
    way back to it. They have none either while a Secret of theirs is the user's own and names no authority, since the
    operator cannot change the URL in it. A database has TLS with each version and Secret: clients that do not verify
    it use TLS where it is offered. `version` is the one that the spec asks for, and `may_write` tells whether a
    component's Secret is the operator's.
    """
    identity = ObjectId("Secret", f"{key.name}-{AUTHORITY}")
    replaced = remembered_version(key, [identity], ANNOTATION_REPLACES_WITHOUT_TLS, observed, inventory)
    is_replaced = bool(replaced) and _label(version) == replaced

    def leads_to_tls(component: str) -> bool:
        state = state_of(ObjectId("Secret", f"{key.name}-{component}"), observed)
        return may_write(component) or (isinstance(state, StoredData) and bool(state.data))

    encrypted = (
        store
        for store in own_stores(spec)
        if store.endswith("-db") or (not is_replaced and all(map(leads_to_tls, _url_secrets(store))))
    )
    return StoreTls(frozenset(encrypted), replaced, now)


def own_stores(spec: Spec) -> tuple[str, ...]:
    """Returns the components of the stores that the platform has itself, all but external ones."""
    return tuple(_own(spec))


def _own(spec: Spec) -> Iterable[str]:
    if spec.databases.provider != "external":
        yield from (f"{service}-db" for service in WITH_DATABASE)
    if spec.cache.provider == "builtin":
        yield "redis"
    if spec.broker.provider != "external":
        yield "rabbitmq"


def url_secrets(spec: Spec) -> tuple[str, ...]:
    """Returns the components whose Secrets have the URL of a builtin Redis or RabbitMQ."""
    return tuple(one for store in own_stores(spec) if not store.endswith("-db") for one in _url_secrets(store))


def _url_secrets(store: str) -> tuple[str, ...]:
    """Returns the components whose Secrets have the URL of Redis or RabbitMQ."""
    return (store, *(f"{service}-broker" for service in WITH_BROKER if store == "rabbitmq"))


def _label(version: str) -> str:
    """Returns a version as the label of a Deployment has it: see `common.version` in charts/common."""
    return version[:63].strip("._-")
