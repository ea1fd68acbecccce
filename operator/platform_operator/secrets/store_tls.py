"""Decides which builtin stores have TLS: all, but for those whose clients could not connect any more. Pure.

docs/adr/0042-tls-to-the-stores.md describes the upgrade of a running shop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from platform_operator.api.kinds import GROUP, ObjectId, PlatformKey
from platform_operator.api.spec import WITH_BROKER, WITH_DATABASE, Spec
from platform_operator.cache.observed import Children
from platform_operator.plan.inventory import Inventory
from platform_operator.secrets.remembered_version import remembered_version

AUTHORITY = "ca"
"""The component whose Secret has the authority. Every platform has it, also one whose stores are all external."""
ANNOTATION_REPLACES = f"{GROUP}/replaces-version-without-tls"
"""The version of the services that ran before the authority was made: they cannot verify a certificate."""


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
    way back to it. A database has it with each version: the driver of that one, too, uses TLS where it is offered. A
    store has none while one of its Secrets is the user's own, whose URL the operator cannot change. `version` is the
    one that the spec asks for, and `may_write` tells whether a component's Secret is the operator's.
    """
    identity = ObjectId("Secret", f"{key.name}-{AUTHORITY}")
    replaced = remembered_version(key, [identity], ANNOTATION_REPLACES, observed, inventory)
    is_replaced = bool(replaced) and _label(version) == replaced
    encrypted = (
        store
        for store in builtin_stores(spec)
        if (store.endswith("-db") or not is_replaced) and all(map(may_write, _secrets(store)))
    )
    return StoreTls(frozenset(encrypted), replaced, now)


def builtin_stores(spec: Spec) -> tuple[str, ...]:
    """Returns the components of the stores that the platform runs itself."""
    return tuple(_builtin(spec))


def _builtin(spec: Spec) -> Iterable[str]:
    if spec.databases.provider == "builtin":
        yield from (f"{service}-db" for service in WITH_DATABASE)
    if spec.cache.provider == "builtin":
        yield "redis"
    if spec.broker.provider == "builtin":
        yield "rabbitmq"


def _secrets(store: str) -> tuple[str, ...]:
    """Returns the components whose Secrets a store and its clients read."""
    if store == "rabbitmq":
        return (store, f"{store}-tls", *(f"{service}-broker" for service in WITH_BROKER))
    return (store, f"{store}-tls", *((f"{store}-runtime",) if store.endswith("-db") else ()))


def _label(version: str) -> str:
    """Returns a version as the label of a Deployment has it: see `common.version` in charts/common."""
    return version[:63].strip("._-")
