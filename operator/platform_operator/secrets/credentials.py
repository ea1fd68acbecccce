"""The credentials of a platform's builtin parts, derived from the master key: a lost Secret comes back the same.

docs/adr/0004-derived-credentials.md says what happens to Secrets that the operator did not make.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping

from platform_operator.api.kinds import (
    ANNOTATION_WAVE,
    CHILD_LABELS,
    LABEL_COMPONENT,
    LABEL_NAME,
    LABEL_PLATFORM,
    Manifest,
    ObjectId,
    PlatformKey,
)
from platform_operator.api.pods import Objects
from platform_operator.api.spec import WITH_BROKER, WITH_DATABASE, Spec
from platform_operator.cache.observed import Children, StoredData, state_of
from platform_operator.digests import digest
from platform_operator.plan.inventory import DesiredObject
from platform_operator.plan.prune_guard import declared_removals
from platform_operator.secrets.caller_tokens import ANNOTATION_REPLACES, caller_tokens
from platform_operator.secrets.master_key import ANNOTATION_KEY_ID, MasterKey, key_id

_Password = Callable[[str], str]
_SecretData = dict[str, str]


def credentials(
    key: PlatformKey, spec: Spec, master_key: MasterKey, observed: Children, replaced_version: str = ""
) -> tuple[DesiredObject, ...]:
    """Returns the Secrets to apply: those that are absent, or that were derived from this master key.

    All others are left alone. They have no owner: `apply.deletion` deletes them. `replaced_version` is the version
    whose services show no token, if it may still run.
    """
    return tuple(
        _secret(key, component, data, spec.objects, _annotations(component, master_key, replaced_version))
        for component, data in _components(key, spec, master_key)
        if _may_write(state_of(ObjectId("Secret", f"{key.name}-{component}"), observed), master_key)
    )


def _annotations(component: str, master_key: MasterKey, replaced_version: str) -> dict[str, str]:
    replaces = {ANNOTATION_REPLACES: replaced_version} if replaced_version and component.endswith("-grpc") else {}
    return {ANNOTATION_WAVE: "0", ANNOTATION_KEY_ID: master_key.id, **replaces}


def protected_secrets(key: PlatformKey, spec: Spec, observed: Children) -> frozenset[ObjectId]:
    """Returns the Secrets that are not pruned: those that the operator did not derive, those of stores that became
    external, since their volumes stay, and under Retain all of them."""
    removals = declared_removals(key, spec)
    return frozenset(
        identity
        for identity, seen in observed.items()
        if identity.kind == "Secret"
        and (spec.deletion_policy == "Retain" or not key_id(seen) or removals.explain(identity))
    )


def _may_write(state: object, master_key: MasterKey) -> bool:
    return not isinstance(state, StoredData) or state.annotations.get(ANNOTATION_KEY_ID) == master_key.id


def _components(key: PlatformKey, spec: Spec, master_key: MasterKey) -> Iterable[tuple[str, _SecretData]]:
    def password(component: str) -> _Password:
        return lambda field: master_key.password(key, component, field)

    yield "jwt", {"JWT_SECRET": password("jwt")("secret")}
    yield "admin", {"ADMIN_EMAIL": "admin@example.com", "ADMIN_PASSWORD": password("admin")("password")}
    yield from caller_tokens(lambda caller, callee: password(f"{caller}-grpc")(callee))
    if spec.databases.provider == "builtin":
        for service in WITH_DATABASE:
            yield f"{service}-db", _database(key, service, password(f"{service}-db"))
            yield f"{service}-db-runtime", _runtime_role(key, service, password(f"{service}-db-runtime"))
    if spec.cache.provider == "builtin":
        yield "redis", _redis(key, password("redis"))
    if spec.broker.provider == "builtin":
        yield "rabbitmq", _rabbitmq(key, password("rabbitmq"))
        for service in WITH_BROKER:
            yield f"{service}-broker", _broker_user(key, service, password(f"{service}-broker"))


def _database(key: PlatformKey, service: str, password: _Password) -> _SecretData:
    """Returns the owner of the database, which its StatefulSet creates and its migration logs in as."""
    name = _DATABASES[service]
    return {
        "DB_HOST": f"{key.name}-{service}-db",
        "DB_PORT": "5432",
        "DB_USER": name,
        "DB_PASSWORD": password("password"),
        "DB_NAME": f"{name}_db",
    }


def _runtime_role(key: PlatformKey, service: str, password: _Password) -> _SecretData:
    """Returns the role that the service logs in as, which the migration creates with its privileges."""
    return {**_database(key, service, password), "DB_USER": f"{_DATABASES[service]}_runtime"}


_DATABASES: Mapping[str, str] = {
    "user": "users",
    "product": "products",
    "inventory": "inventory",
    "order": "orders",
    "payment": "payments",
    "notification": "notifications",
    "review": "reviews",
}


def _redis(key: PlatformKey, password: _Password) -> _SecretData:
    secret = password("password")
    return {"REDIS_PASSWORD": secret, "REDIS_URL": f"redis://:{secret}@{key.name}-redis:6379/0"}


def _rabbitmq(key: PlatformKey, password: _Password) -> _SecretData:
    user, secret = "shop", password("password")
    url = f"amqp://{user}:{secret}@{key.name}-rabbitmq:5672/"
    return {"RABBITMQ_USER": user, "RABBITMQ_PASSWORD": secret, "RABBITMQ_URL": url}


def _broker_user(key: PlatformKey, service: str, password: _Password) -> _SecretData:
    """Returns the service's own user, which charts/rabbitmq creates with the permissions of its definitions."""
    secret = password("password")
    url = f"amqp://{service}:{secret}@{key.name}-rabbitmq:5672/"
    return {"RABBITMQ_PASSWORD": secret, "RABBITMQ_URL": url}


def _secret(
    key: PlatformKey, component: str, data: _SecretData, shared: Objects, annotations: dict[str, str]
) -> DesiredObject:
    labels = {**CHILD_LABELS, LABEL_NAME: "credentials", LABEL_PLATFORM: key.name, LABEL_COMPONENT: component}
    metadata: Manifest = {
        "name": f"{key.name}-{component}",
        "namespace": key.namespace,
        "labels": {**shared.labels, **labels},
        "annotations": {**shared.annotations, **annotations},
    }
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in data.items()},
    }
    # The values follow from the key's id and the names. A digest of the values would only help to guess them.
    public = digest([metadata, sorted(data)])
    return DesiredObject(ObjectId("Secret", metadata["name"]), 0, public, json.dumps(manifest))
