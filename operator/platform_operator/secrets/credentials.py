"""The credentials of a platform's builtin parts, derived from the master key: a lost Secret comes back the same.

docs/adr/0004-derived-credentials.md says what happens to Secrets that the operator did not make.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from platform_operator.api.conditions import RotationKind, RotationStep
from platform_operator.api.kinds import (
    ANNOTATION_AUTHORITIES,
    ANNOTATION_GENERATION,
    ANNOTATION_KEY_ID,
    ANNOTATION_REPLACES_WITHOUT_TLS,
    ANNOTATION_REPLACES_WITHOUT_TOKENS,
    ANNOTATION_SALT,
    ANNOTATION_WAVE,
    CHILD_LABELS,
    GROUP,
    LABEL_COMPONENT,
    LABEL_NAME,
    LABEL_PLATFORM,
    Manifest,
    ObjectId,
    PlatformKey,
)
from platform_operator.api.pods import Objects
from platform_operator.api.spec import WITH_BROKER, WITH_DATABASE, Spec
from platform_operator.cache.observed import Children
from platform_operator.digests import digest
from platform_operator.plan.inventory import DesiredObject
from platform_operator.plan.prune_guard import declared_removals
from platform_operator.secrets.caller_tokens import caller_tokens
from platform_operator.secrets.certificates import authority_certificate, period_at, store_certificate
from platform_operator.secrets.key_ids import key_ids
from platform_operator.secrets.master_key import KeyRing
from platform_operator.secrets.rotation import (
    NO_ROTATIONS,
    Rotation,
    Rotations,
    kind_key_ids,
    kind_of,
    trusted_generations,
)
from platform_operator.secrets.store_tls import AUTHORITY, StoreTls, own_stores


class _Password(Protocol):
    """Derives the value of a field of one Secret."""

    def __call__(self, field: str, generation: int = 0, /) -> str: ...


_SecretData = Mapping[str, str]
ANNOTATION_EXPIRES = f"{GROUP}/certificate-expires"
"""The end of a certificate, on its Secret: when it changes, the Secret is applied again."""


def derived_secrets(
    key: PlatformKey,
    spec: Spec,
    keys: KeyRing,
    tls: StoreTls,
    replaced_version: str = "",
    rotations: Rotations = NO_ROTATIONS,
) -> Mapping[str, DesiredObject]:
    """Returns the Secret of each component, whether it may be written or not.

    They have no owner: `apply.deletion` deletes them. `replaced_version` is the version whose services show no token,
    if it may still run.
    """
    return {
        component: _secret(
            key,
            component,
            data,
            spec.objects,
            _labels(key, component, spec),
            _annotations(key, component, data, keys, tls, replaced_version, rotations),
        )
        for component, data in _components(key, spec, keys, tls, rotations)
    }


def writable_secrets(
    key: PlatformKey, derived: Mapping[str, DesiredObject], keys: KeyRing, observed: Children
) -> tuple[DesiredObject, ...]:
    """Returns the derived Secrets to apply: those that are absent, or that were derived from one of these master keys.

    All others are left alone.
    """
    return tuple(one for component, one in derived.items() if may_write(key, component, keys, observed))


def _labels(key: PlatformKey, component: str, spec: Spec) -> dict[str, str]:
    """Returns the labels of a Secret, for those of a Cluster the one by which CloudNativePG takes over changes."""
    labels = {**CHILD_LABELS, LABEL_NAME: "credentials", LABEL_PLATFORM: key.name, LABEL_COMPONENT: component}
    is_read = spec.databases.provider == "cnpg" and component.endswith(("-db", "-db-tls"))
    return labels | ({_LABEL_RELOAD: "true"} if is_read else {})


_LABEL_RELOAD = "cnpg.io/reload"


def _annotations(
    key: PlatformKey,
    component: str,
    data: _SecretData,
    keys: KeyRing,
    tls: StoreTls,
    replaced_version: str,
    rotations: Rotations,
) -> dict[str, str]:
    rotation = rotations[kind_of(component)]
    annotations = {ANNOTATION_WAVE: "0", ANNOTATION_KEY_ID: kind_key_ids(rotation, keys)}
    if keys.current.salt:
        annotations[ANNOTATION_SALT] = keys.current.salt
    if component.endswith("-grpc") and replaced_version:
        annotations[ANNOTATION_REPLACES_WITHOUT_TOKENS] = replaced_version
    if component == AUTHORITY and tls.replaced_version:
        annotations[ANNOTATION_REPLACES_WITHOUT_TLS] = tls.replaced_version
    if component.endswith("-tls"):
        annotations[ANNOTATION_EXPIRES] = period_at(key, tls.now).end.isoformat()
    if rotation.mark:
        annotations[ANNOTATION_GENERATION] = rotation.mark
    if not data.keys().isdisjoint(_AUTHORITY_KEYS) and (trusted := trusted_generations(rotations)):
        annotations[ANNOTATION_AUTHORITIES] = trusted
    return annotations


_AUTHORITY_KEYS = ("DB_CA", "REDIS_CA", "RABBITMQ_CA")
"""The keys of the authority by which clients verify a store."""


def protected_secrets(key: PlatformKey, spec: Spec, observed: Children) -> frozenset[ObjectId]:
    """Returns the Secrets that are not pruned: those that the operator did not derive, those of stores that became
    external, since their volumes stay, and under Retain all of them."""
    removals = declared_removals(key, spec)
    return frozenset(
        identity
        for identity, seen in observed.items()
        if identity.kind == "Secret"
        and (spec.deletion_policy == "Retain" or not key_ids(seen) or removals.explain(identity))
    )


def may_write(key: PlatformKey, component: str, keys: KeyRing, observed: Children) -> bool:
    """Returns whether the Secret of a component is absent, or was derived from these master keys."""
    seen = observed.get(ObjectId("Secret", f"{key.name}-{component}"))
    return seen is None or (bool(ids := key_ids(seen)) and keys.ids.issuperset(ids))


def _components(
    key: PlatformKey, spec: Spec, keys: KeyRing, tls: StoreTls, rotations: Rotations
) -> Iterable[tuple[str, _SecretData]]:
    authority, period = rotations[RotationKind.AUTHORITY], period_at(key, tls.now)
    signer = keys.find(authority.key)
    valid = _authorities(key, authority, keys)
    pem = "".join(valid if authority.step is not RotationStep.USE else reversed(valid))  # the same as in Publish

    def password(component: str) -> _Password:
        rotation = rotations[kind_of(component)]

        def derive(field: str, generation: int = 0) -> str:
            id_ = rotation.key if generation == rotation.generation else rotation.other_key
            return keys.find(id_).password(key, component, field, generation)

        return derive

    def verified_by(store: str) -> str:
        return pem if store in tls.stores else ""

    yield AUTHORITY, {"ca.crt": pem}
    for store in own_stores(spec):
        yield (
            f"{store}-tls",
            {**store_certificate(key, signer, _service_of(store, spec), period), "ca.crt": "".join(valid)},
        )
    yield "jwt", _signing_secrets(rotations[RotationKind.SIGNING], password("jwt"))
    yield "admin", _first_admin(rotations[RotationKind.ADMIN], password("admin"))
    yield from _caller_tokens(rotations[RotationKind.GRPC], password)
    databases, owners = rotations[RotationKind.DATABASES], rotations[RotationKind.OWNERS]
    if spec.databases.provider != "external":
        for service in WITH_DATABASE:
            ca, host = verified_by(f"{service}-db"), f"{key.name}-{_service_of(f'{service}-db', spec)}"
            owner = _owner(host, service, password(f"{service}-db"), ca, owners)
            yield f"{service}-db", {**owner, **(_cluster_owner(owner) if spec.databases.provider == "cnpg" else {})}
            role = password(f"{service}-db-runtime")
            yield f"{service}-db-runtime", _runtime_role(host, service, role, ca, databases)
    if spec.cache.provider == "builtin":
        yield "redis", _redis(key, password("redis"), verified_by("redis"), rotations[RotationKind.CACHE])
    if spec.broker.provider != "external":
        ca, users = verified_by("rabbitmq"), rotations[RotationKind.BROKER]
        yield "rabbitmq", _rabbitmq(key, password("rabbitmq"), ca, users)
        for service in WITH_BROKER:
            yield f"{service}-broker", _broker_user(key, service, password(f"{service}-broker"), ca, users)


def _authorities(key: PlatformKey, rotation: Rotation, keys: KeyRing) -> tuple[str, ...]:
    """Returns the certificates of the valid authorities in PEM, first that of the one that signs."""
    ids = [rotation.key] if rotation.also_accepted is None else [rotation.key, rotation.other_key]
    return tuple(authority_certificate(key, one) for one in dict.fromkeys(map(keys.find, ids)))


def _signing_secrets(rotation: Rotation, password: _Password) -> _SecretData:
    """Returns the secret in use and the one that is valid beside it, as the user service reads them."""
    return _with_other("JWT_SECRET", "secret", rotation, password)


def _first_admin(rotation: Rotation, password: _Password) -> _SecretData:
    """Returns the first admin. In `Use`, the user service replaces the former password by the one in use."""
    admin = {"ADMIN_EMAIL": "admin@example.com", "ADMIN_PASSWORD": password("password", rotation.generation)}
    if rotation.step is not RotationStep.USE:
        return admin
    return admin | {"ADMIN_PASSWORD_PREVIOUS": password("password", rotation.generation - 1)}


def _with_other(name: str, field: str, rotation: Rotation, password: _Password) -> _SecretData:
    """Returns the value in use under a name, and the one that is accepted beside it with _NEXT or _PREVIOUS."""
    used = {name: password(field, rotation.generation)}
    if rotation.also_accepted is None:
        return used
    other = f"{name}_NEXT" if rotation.step is RotationStep.PUBLISH else f"{name}_PREVIOUS"
    return used | {other: password(field, rotation.also_accepted)}


def _caller_tokens(rotation: Rotation, password: Callable[[str], _Password]) -> Iterable[tuple[str, _SecretData]]:
    def token(caller: str, callee: str, generation: int) -> str:
        return password(f"{caller}-grpc")(callee, generation)

    other = rotation.also_accepted
    accepted = [rotation.generation] if other is None else [rotation.generation, other]
    return caller_tokens(token, rotation.generation, accepted)


def _service_of(store: str, spec: Spec) -> str:
    """Returns the component after which the Service of a store is named: that of a Cluster leads to its primary."""
    return f"{store}-rw" if spec.databases.provider == "cnpg" and store.endswith("-db") else store


def _cluster_owner(owner: _SecretData) -> dict[str, str]:
    """Returns the owner of a database under the keys that CloudNativePG reads."""
    return {"username": owner["DB_USER"], "password": owner["DB_PASSWORD"]}


def _owner(host: str, service: str, password: _Password, ca: str, rotation: Rotation) -> _SecretData:
    """Returns the owner of the database, which its store creates and its migration logs in as.

    In `Use`, the migration replaces the former password by the one in use. `ca` is the authority of the certificate,
    here and below; empty for a store without TLS.
    """
    owner = _login(host, service, _DATABASES[service], password("password", rotation.generation), ca)
    if rotation.step is not RotationStep.USE:
        return owner
    return owner | {"DB_PREVIOUS_PASSWORD": password("password", rotation.generation - 1)}


def _login(host: str, service: str, user: str, password: str, ca: str) -> dict[str, str]:
    return {
        "DB_HOST": host,
        "DB_PORT": "5432",
        "DB_USER": user,
        "DB_PASSWORD": password,
        "DB_NAME": f"{_DATABASES[service]}_db",
        **({"DB_CA": ca} if ca else {}),
    }


def _runtime_role(host: str, service: str, password: _Password, ca: str, rotation: Rotation) -> _SecretData:
    """Returns the role that the service logs in as, which the migration creates with its privileges.

    Two roles alternate. While the next one is published, the migration reads it from keys of its own; when the former
    one is retired, its name.
    """
    user = _runtime_user(service, rotation.generation)
    used = _login(host, service, user, password("password", rotation.generation), ca)
    if rotation.step is RotationStep.PUBLISH:
        following = rotation.generation + 1
        next_role = {
            "DB_NEXT_USER": _runtime_user(service, following),
            "DB_NEXT_PASSWORD": password("password", following),
        }
        return used | next_role
    is_retired = rotation.generation > 0 and rotation.step is not RotationStep.USE
    return used | ({"DB_RETIRED_USER": _runtime_user(service, rotation.generation - 1)} if is_retired else {})


def _runtime_user(service: str, generation: int) -> str:
    return f"{_DATABASES[service]}_runtime" + ("_2" if generation % 2 else "")


_DATABASES: Mapping[str, str] = {
    "user": "users",
    "product": "products",
    "inventory": "inventory",
    "order": "orders",
    "payment": "payments",
    "notification": "notifications",
    "review": "reviews",
}


def _redis(key: PlatformKey, password: _Password, ca: str, rotation: Rotation) -> _SecretData:
    secrets = _with_other("REDIS_PASSWORD", "password", rotation, password)
    url = f"{'rediss' if ca else 'redis'}://:{secrets['REDIS_PASSWORD']}@{key.name}-redis:6379/0"
    return {**secrets, "REDIS_URL": url, **({"REDIS_CA": ca} if ca else {})}


def _rabbitmq(key: PlatformKey, password: _Password, ca: str, rotation: Rotation) -> _SecretData:
    """Returns the administrator of the broker. No service logs in as this user: one password is enough."""
    secret = password("password", rotation.generation)
    return {"RABBITMQ_USER": "shop", "RABBITMQ_PASSWORD": secret, **_broker_access(key, "shop", secret, ca)}


def _broker_user(key: PlatformKey, service: str, password: _Password, ca: str, rotation: Rotation) -> _SecretData:
    """Returns the users of a service on the broker, which have the permissions of its definitions in charts/rabbitmq.

    Two users alternate, and the URL is that of the one in use. A user whose password is empty cannot log in.
    """
    valid = {
        one % 2: password("password", one) for one in (rotation.generation, rotation.also_accepted) if one is not None
    }
    is_second = rotation.generation % 2
    user = f"2.{service}" if is_second else service
    passwords = {"RABBITMQ_PASSWORD": valid.get(0, "")}
    passwords |= {"RABBITMQ_SECOND_PASSWORD": valid.get(1, "")} if rotation.mark else {}
    return passwords | _broker_access(key, user, valid[is_second], ca)


def _broker_access(key: PlatformKey, user: str, password: str, ca: str) -> dict[str, str]:
    url = f"{'amqps' if ca else 'amqp'}://{user}:{password}@{key.name}-rabbitmq:5672/"
    return {"RABBITMQ_URL": url, **({"RABBITMQ_CA": ca} if ca else {})}


def _secret(
    key: PlatformKey,
    component: str,
    data: _SecretData,
    shared: Objects,
    labels: dict[str, str],
    annotations: dict[str, str],
) -> DesiredObject:
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
    # The values follow from the ids of the keys, the generations, the salt and the names. A digest of the values would
    # only help to guess them.
    public = digest([metadata, sorted(data)])
    return DesiredObject(ObjectId("Secret", metadata["name"]), 0, public, json.dumps(manifest))
