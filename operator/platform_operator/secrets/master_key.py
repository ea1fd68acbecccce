"""Master keys: the sources of every generated credential, and those that a shop derives from. Pure.

docs/adr/0004-derived-credentials.md says why credentials are derived and not random, and
docs/adr/0069-shops-move-to-the-next-master-key.md how a shop comes to derive them from another key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, replace
from functools import lru_cache

from platform_operator.api.kinds import INVENTORY_COMPONENT, ROTATION_COMPONENT, SALT_COMPONENT, ObjectId, PlatformKey
from platform_operator.cache.observed import Children
from platform_operator.errors import MasterKeyChangedError
from platform_operator.secrets.key_ids import key_ids

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
        return _id(self.secret)

    def password(self, key: PlatformKey, component: str, field: str, generation: int = 0) -> str:
        """Returns 256 bits in 43 characters that need no escaping in a URL.

        Each generation has others (docs/adr/0046).
        """
        derived = self.derive(key, component, field if not generation else f"{field}/{generation}")
        return base64.urlsafe_b64encode(derived).decode().rstrip("=")

    def derive(self, key: PlatformKey, component: str, field: str) -> bytes:
        """Returns 256 bits that belong to one field of one component of one platform."""
        salt = f"{self.salt}:" if self.salt else ""  # no name of a namespace has a colon
        return _derive(self.secret, f"{salt}{key}/{component}/{field}")

    def with_salt(self, salt: str) -> MasterKey:
        """Returns the key as it derives the credentials of the platform with this salt."""
        return replace(self, salt=salt)


@lru_cache(maxsize=16)
def _id(secret: bytes) -> str:
    """Returns the id of a key without a salt. It is cached, since each pass compares it with that of every Secret."""
    return _derive(secret, "id").hex()[:8]


def _derive(secret: bytes, purpose: str) -> bytes:
    return hmac.digest(secret, purpose.encode(), hashlib.sha256)


@dataclass(frozen=True, repr=False)
class KeyRing:
    """The master keys that the operator has: the one that the next credentials derive from, and the one before it."""

    current: MasterKey
    previous: MasterKey | None = None
    base_id: str = ""
    """The id of the key of all credentials of a shop that no rotation has moved; empty for the current one."""

    @property
    def base(self) -> MasterKey:
        return self.find(self.base_id) if self.base_id else self.current

    @property
    def ids(self) -> frozenset[str]:
        """The ids of both keys, with and without a salt."""
        return self.current.ids | (self.previous.ids if self.previous else frozenset())

    def find(self, id_: str) -> MasterKey:
        """Returns the key with an id, which is empty for that of what was never moved. Raises MasterKeyChangedError."""
        if not id_:
            return self.base
        for key in (self.current, self.previous):
            if key is not None and id_ in key.ids:
                return key
        raise MasterKeyChangedError(
            f"Credentials of this shop derive from the master key {id_}, which the operator does not have. Nothing of "
            "this shop is changed. Restore the Secret of the master key from its backup, with that key as `previous`"
        )

    def is_current(self, id_: str) -> bool:
        return id_ in self.current.ids

    def with_salt(self, salt: str) -> KeyRing:
        """Returns the keys as they derive the credentials of the platform with this salt."""
        previous = self.previous.with_salt(salt) if self.previous else None
        return replace(self, current=self.current.with_salt(salt), previous=previous)

    def for_shop(self, key: PlatformKey, observed: Children) -> KeyRing:
        """Returns the keys with the base that the records of a shop name first, or else its Secrets."""
        named = (key_ids(observed[one]) for one in _records(key) if one in observed)
        recorded = next((ids[0] for ids in named if ids), "")
        return replace(self, base_id=recorded or self._base_of_secrets(observed))

    def _base_of_secrets(self, observed: Children) -> str:
        """Returns the former key as long as a Secret derives from it: rotations move to the current one."""
        named = {id_ for identity, seen in observed.items() if identity.kind == "Secret" for id_ in key_ids(seen)}
        former = self.previous.ids & named if self.previous else frozenset[str]()
        return next(iter(sorted(former)), "")


def _records(key: PlatformKey) -> tuple[ObjectId, ...]:
    """Returns the objects whose first id is that of the base, beginning with the one that decides."""
    components = (SALT_COMPONENT, INVENTORY_COMPONENT, ROTATION_COMPONENT)
    return tuple(ObjectId("ConfigMap", f"{key.name}-{component}") for component in components)
