"""The master key: stored once in the operator's namespace, the source of every generated credential.

docs/adr/0004-derived-credentials.md says why credentials are derived and not random.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from platform_operator.api.kinds import (
    ANNOTATION_KEY_ID,
    CHILD_KINDS,
    LABEL_INSTANCE,
    LABEL_NAME,
    LABEL_PLATFORM,
    Manifest,
    ObjectId,
    PlatformKey,
)
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError, MasterKeyChangedError, MasterKeyMissingError
from platform_operator.secrets.key_ids import key_id

MASTER_KEY_NAME = "ecommerce-operator-master-key"
KEY_BYTES = 32
SALTED = "-salted"
"""The end of the id on what was derived with a salt."""


@dataclass(frozen=True, repr=False)
class MasterKey:
    """Derives credentials. The secret itself never leaves this object."""

    secret: bytes
    salt: str = ""
    """Makes the credentials of a platform differ from those of an earlier one with its name (`secrets.salt`)."""

    @property
    def id(self) -> str:
        """Identifies the master key that a Secret's values come from, and reveals nothing about it.

        It says whether a salt was used: an operator of an earlier release, which would derive other values from the
        same key, takes it for the id of another key and changes nothing.
        """
        return f"{self._id}{SALTED}" if self.salt else self._id

    @property
    def ids(self) -> frozenset[str]:
        """The ids of this key, with and without a salt."""
        return frozenset((self._id, f"{self._id}{SALTED}"))

    @property
    def _id(self) -> str:
        return self._derive("id").hex()[:8]

    def password(self, key: PlatformKey, component: str, field: str, generation: int = 0) -> str:
        """Returns 256 bits in 43 characters that need no escaping in a URL.

        Each generation has others (docs/adr/0046).
        """
        derived = self.derive(key, component, field if not generation else f"{field}/{generation}")
        return base64.urlsafe_b64encode(derived).decode().rstrip("=")

    def derive(self, key: PlatformKey, component: str, field: str) -> bytes:
        """Returns 256 bits that belong to one field of one component of one platform."""
        salt = f"{self.salt}:" if self.salt else ""  # no name of a namespace has a colon
        return self._derive(f"{salt}{key}/{component}/{field}")

    def with_salt(self, salt: str) -> MasterKey:
        """Returns the key as it derives the credentials of the platform with this salt."""
        return replace(self, salt=salt)

    def _derive(self, purpose: str) -> bytes:
        return hmac.digest(self.secret, purpose.encode(), hashlib.sha256)


@dataclass
class MasterKeyStore:
    """The master key in the operator's namespace. It is created once, and never while credentials of another exist."""

    client: KubernetesClient
    namespace: str
    cache: Cache
    _known: MasterKey | None = None
    _generated: MasterKey = field(default_factory=lambda: MasterKey(secrets.token_bytes(KEY_BYTES)))
    """The key that is created if there is none."""

    async def key_for(self, platform: PlatformKey, *, may_create: bool = True) -> MasterKey:
        """Returns the key that a platform's credentials are derived from; without `may_create` perhaps one that is not
        stored yet.

        It is read again if it does not fit, so that a key that was restored is used without a restart. Raises
        MasterKeyMissingError, MasterKeyChangedError or ApiError: then nothing of the platform may be changed.
        """
        known = self._known
        if known is None or self._others(platform, known):
            known = await self._read(may_create=may_create)
            self._known = known if known is not self._generated or may_create else None
        if known is None:
            raise MasterKeyMissingError(self._missing())
        others = self._others(platform, known)
        if others:
            raise MasterKeyChangedError(self._changed(platform, known, others))
        return known

    async def _read(self, *, may_create: bool) -> MasterKey | None:
        kind = CHILD_KINDS["Secret"]
        stored = await self.client.get(kind, self.namespace, MASTER_KEY_NAME)
        if stored is not None:
            return _decode(stored)
        if any(key_id(seen) for seen in self.cache.all_children()):
            return None
        if not may_create:
            return self._generated
        try:
            await self.client.create(kind, self.namespace, _manifest(self.namespace, self._generated))
        except ApiError as error:
            if error.status != 409:
                raise
            stored = await self.client.get(kind, self.namespace, MASTER_KEY_NAME)
            return _decode(stored) if stored is not None else None
        return self._generated

    def _others(self, platform: PlatformKey, known: MasterKey) -> Mapping[ObjectId, str]:
        """Returns the platform's objects that were derived from another key, with its id."""
        derived = {identity: key_id(seen) for identity, seen in self.cache.children(platform).items()}
        return {identity: id_ for identity, id_ in derived.items() if id_ and id_ not in known.ids}

    def _missing(self) -> str:
        return (
            f"Secret {MASTER_KEY_NAME} in namespace {self.namespace} is missing or has no key of {KEY_BYTES} bytes, "
            "and credentials of shops were derived from it. No other key is created, and nothing is changed. Restore "
            "the Secret from its backup"
        )

    def _changed(self, platform: PlatformKey, known: MasterKey, others: Mapping[ObjectId, str]) -> str:
        names = ", ".join(str(identity) for identity in sorted(others))
        return (
            f"Derived from the master key {', '.join(sorted(set(others.values())))}, where the operator has "
            f"{known.id}: {names}. Nothing of this shop is changed. Restore Secret {MASTER_KEY_NAME} in namespace "
            f"{self.namespace} from its backup. If that key is lost, keep the credentials as they are: for label in "
            f"{LABEL_PLATFORM} {LABEL_INSTANCE}; do kubectl -n {platform.namespace} annotate secret,configmap "
            f"-l $label={platform.name} {ANNOTATION_KEY_ID}-; done"
        )


def _decode(manifest: Manifest) -> MasterKey | None:
    """Returns None if there is no key, or one that could be guessed."""
    try:
        secret = base64.b64decode(manifest["data"]["key"])
    except (KeyError, TypeError, ValueError):
        return None
    return MasterKey(secret) if len(secret) >= KEY_BYTES else None


def _manifest(namespace: str, key: MasterKey) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": MASTER_KEY_NAME, "namespace": namespace, "labels": {LABEL_NAME: "ecommerce-operator"}},
        "immutable": True,
        "data": {"key": base64.b64encode(key.secret).decode()},
    }
