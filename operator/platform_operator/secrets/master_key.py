"""The master key: stored once in the operator's namespace, the source of every generated credential.

docs/adr/0004-derived-credentials.md says why credentials are derived and not random.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from platform_operator.api.kinds import CHILD_KINDS, LABEL_NAME, PlatformKey
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError

MASTER_KEY_NAME = "ecommerce-operator-master-key"


@dataclass(frozen=True, repr=False)
class MasterKey:
    """Derives credentials. The secret itself never leaves this object."""

    secret: bytes

    @property
    def id(self) -> str:
        """Identifies the master key that a Secret's values come from, and reveals nothing about it."""
        return self._derive("id").hex()[:8]

    def password(self, key: PlatformKey, component: str, field: str) -> str:
        """Returns 256 bits in 43 characters that need no escaping in a URL.

        A platform made again under the same name gets the same ones.
        """
        return base64.urlsafe_b64encode(self._derive(f"{key}/{component}/{field}")).decode().rstrip("=")

    def _derive(self, purpose: str) -> bytes:
        return hmac.digest(self.secret, purpose.encode(), hashlib.sha256)


async def load_master_key(client: KubernetesClient, namespace: str) -> MasterKey:
    """Reads the master key. Creates it if there is none: `create` cannot overwrite an existing one."""
    kind = CHILD_KINDS["Secret"]
    stored = await client.get(kind, namespace, MASTER_KEY_NAME)
    if stored is None:
        generated = base64.b64encode(secrets.token_bytes(32)).decode()
        manifest = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": MASTER_KEY_NAME, "namespace": namespace, "labels": {LABEL_NAME: "ecommerce-operator"}},
            "immutable": True,
            "data": {"key": generated},
        }
        try:
            stored = await client.create(kind, namespace, manifest)
        except ApiError as error:
            if error.status != 409:
                raise
            return await load_master_key(client, namespace)
    return MasterKey(base64.b64decode(stored["data"]["key"]))
