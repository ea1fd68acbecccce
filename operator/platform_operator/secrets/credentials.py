"""The credentials of a platform's builtin parts: derived from one master key, so that a lost Secret comes back the same.

Why derived and not random, and what happens when somebody brings their own: docs/adr/0004-derived-credentials.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from platform_operator.api.kinds import (
    ANNOTATION_WAVE,
    CHILDREN,
    GROUP,
    LABEL_COMPONENT,
    LABEL_INSTANCE,
    LABEL_NAME,
    OURS,
    Key,
    Manifest,
    ObjectId,
)
from platform_operator.api.spec import WITH_DATABASE, Spec
from platform_operator.cache.observed import Document, digest
from platform_operator.client import Api
from platform_operator.errors import ApiError
from platform_operator.plan.planner import Children, state_of
from platform_operator.render.renderer import Rendered, owner_reference

ANNOTATION_KEY_ID = f"{GROUP}/master-key-id"
MASTER_KEY_NAME = "ecommerce-operator-master-key"

Password = Callable[[str], str]
Content = dict[str, str]


@dataclass(frozen=True, repr=False)
class Keyring:
    """The master key, which never leaves this object."""

    master: bytes

    @property
    def id(self) -> str:
        """Tells which master key a Secret's values come from, and nothing about the key."""
        return self._derive("id").hex()[:8]

    def password(self, key: Key, component: str, field: str) -> str:
        """256 bits in 43 characters that need no escaping in a URL. The same for a platform made again by that name."""
        return base64.urlsafe_b64encode(self._derive(f"{key}/{component}/{field}")).decode().rstrip("=")

    def _derive(self, purpose: str) -> bytes:
        return hmac.digest(self.master, purpose.encode(), hashlib.sha256)


async def load_keyring(api: Api, namespace: str) -> Keyring:
    """Reads the master key, or makes it once: `create` cannot overwrite one."""
    secret = CHILDREN["Secret"]
    stored = await api.get(secret, namespace, MASTER_KEY_NAME)
    if stored is None:
        fresh = base64.b64encode(secrets.token_bytes(32)).decode()
        manifest = {
            "apiVersion": secret.api_version,
            "kind": secret.kind,
            "metadata": {"name": MASTER_KEY_NAME, "namespace": namespace, "labels": {LABEL_NAME: "ecommerce-operator"}},
            "immutable": True,
            "data": {"key": fresh},
        }
        try:
            stored = await api.create(secret, namespace, manifest)
        except ApiError as error:
            if error.status != 409:
                raise
            return await load_keyring(api, namespace)
    return Keyring(base64.b64decode(stored["data"]["key"]))


def credentials(key: Key, uid: str, spec: Spec, keyring: Keyring, observed: Children) -> tuple[Rendered, ...]:
    """The Secrets to apply: those that are absent or that hold this master key's values. Others are never touched."""
    return tuple(
        _secret(key, uid, spec, keyring, component, content)
        for component, content in _contents(key, spec, keyring)
        if _may_write(state_of(ObjectId("Secret", f"{key.name}-{component}"), observed), keyring)
    )


def kept(spec: Spec, observed: Children) -> frozenset[ObjectId]:
    """Secrets that are not pruned: somebody else's always, and under Retain all, since volumes may still need them."""
    return frozenset(
        identity
        for identity, seen in observed.items()
        if isinstance(seen.state, Document)
        and identity.kind == "Secret"
        and (spec.deletion_policy == "Retain" or ANNOTATION_KEY_ID not in seen.state.annotations)
    )


def _may_write(state: object, keyring: Keyring) -> bool:
    return not isinstance(state, Document) or state.annotations.get(ANNOTATION_KEY_ID) == keyring.id


def _contents(key: Key, spec: Spec, keyring: Keyring) -> Iterable[tuple[str, Content]]:
    def password(component: str) -> Password:
        return lambda field: keyring.password(key, component, field)

    yield "jwt", {"JWT_SECRET": password("jwt")("secret")}
    yield "admin", {"ADMIN_EMAIL": "admin@example.com", "ADMIN_PASSWORD": password("admin")("password")}
    if spec.databases.provider == "builtin":
        for service in WITH_DATABASE:
            yield f"{service}-db", _database(key, service, password(f"{service}-db"))
    if spec.cache.provider == "builtin":
        yield "redis", _redis(key, password("redis"))
    if spec.broker.provider == "builtin":
        yield "rabbitmq", _rabbitmq(key, password("rabbitmq"))


def _database(key: Key, service: str, password: Password) -> Content:
    name = _DATABASES[service]
    return {
        "DB_HOST": f"{key.name}-{service}-db",
        "DB_PORT": "5432",
        "DB_USER": name,
        "DB_PASSWORD": password("password"),
        "DB_NAME": f"{name}_db",
    }


_DATABASES: Mapping[str, str] = {
    "user": "users",
    "product": "products",
    "inventory": "inventory",
    "order": "orders",
    "payment": "payments",
    "notification": "notifications",
    "review": "reviews",
}


def _redis(key: Key, password: Password) -> Content:
    secret = password("password")
    return {"REDIS_PASSWORD": secret, "REDIS_URL": f"redis://:{secret}@{key.name}-redis:6379/0"}


def _rabbitmq(key: Key, password: Password) -> Content:
    user, secret = "shop", password("password")
    url = f"amqp://{user}:{secret}@{key.name}-rabbitmq:5672/"
    return {"RABBITMQ_USER": user, "RABBITMQ_PASSWORD": secret, "RABBITMQ_URL": url}


def _secret(key: Key, uid: str, spec: Spec, keyring: Keyring, component: str, content: Content) -> Rendered:
    metadata: Manifest = {
        "name": f"{key.name}-{component}",
        "namespace": key.namespace,
        "labels": {**OURS, LABEL_NAME: "credentials", LABEL_INSTANCE: key.name, LABEL_COMPONENT: component},
        "annotations": {ANNOTATION_WAVE: "0", ANNOTATION_KEY_ID: keyring.id},
    }
    if spec.deletion_policy == "Delete":
        metadata["ownerReferences"] = [owner_reference(key, uid)]
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in content.items()},
    }
    # The values follow from the key's id and the names: a digest of them would only help somebody who guesses.
    public = digest([metadata, sorted(content)])
    return Rendered(ObjectId("Secret", metadata["name"]), 0, public, json.dumps(manifest))
