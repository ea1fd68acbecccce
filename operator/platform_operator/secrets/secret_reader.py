"""Reads Secrets that have no label of the operator's, so that no watch shows them.

Those that a spec names are read in each pass of a shop that names any, those of a Helm release until it is adopted.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from platform_operator.api.kinds import CHILD_KINDS, Manifest, ObjectId, PlatformKey
from platform_operator.api.spec import Spec
from platform_operator.cache.observed import Children, observe
from platform_operator.client import KubernetesClient
from platform_operator.secrets.master_key import MasterKey
from platform_operator.secrets.named_secrets import NamedSecret, SecretState, named_secrets
from platform_operator.secrets.store_tls import url_secrets


async def read_named_secrets(
    client: KubernetesClient, namespace: str, spec: Spec, master_key: MasterKey, stored: Sequence[Mapping[str, Any]]
) -> tuple[SecretState, ...]:
    """Reads the Secrets that the spec names. `stored` are the rows of `status.secrets`. Raises ApiError."""
    named = named_secrets(spec)
    kind = CHILD_KINDS["Secret"]
    found = {name: await client.get(kind, namespace, name) for name in sorted({one.name for one in named})}
    known = {row["field"]: row.get("revision", "") for row in stored}
    return tuple(_state(one, found[one.name], master_key, known.get(one.field, "")) for one in named)


async def read_url_secrets(client: KubernetesClient, key: PlatformKey, spec: Spec, observed: Children) -> Children:
    """Reads the Secrets with the URLs of builtin stores that are not observed: those of a release that is adopted.

    They decide which stores have TLS before anything is applied. Raises ApiError.
    """
    names = (ObjectId("Secret", f"{key.name}-{component}") for component in url_secrets(spec))
    absent = [identity for identity in names if identity not in observed]
    found = [await client.get(CHILD_KINDS["Secret"], key.namespace, identity.name) for identity in absent]
    return {identity: observe(stored) for identity, stored in zip(absent, found, strict=True) if stored}


def _state(secret: NamedSecret, manifest: Manifest | None, master_key: MasterKey, known: str) -> SecretState:
    data: Mapping[str, str] = (manifest or {}).get("data") or {}
    lacking = tuple(key for key in secret.keys if key not in data)
    if lacking:
        return SecretState(secret, lacking, known, exists=manifest is not None)
    return SecretState(secret, revision=_revision(secret, data, master_key))


def _revision(secret: NamedSecret, data: Mapping[str, str], master_key: MasterKey) -> str:
    """Returns a keyed digest of what is read: one without a key would help to guess short values."""
    optional = [data[key] for key in secret.optional if key in data]
    text = json.dumps([secret.name, [data[key] for key in secret.keys], *optional])
    return hmac.digest(master_key.secret, f"named-secret/{text}".encode(), hashlib.sha256).hex()[:16]
